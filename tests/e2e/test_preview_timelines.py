"""The life of a pull request as its preview sees it: one timeline by the plugin endpoint's answer, one by the label.

Passes run one after another on real parts; the listing can be cut short or be lost altogether.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pytest

from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.forge_local_writer import LocalLabels
from reconciler.ports import Clock, ForgeReader
from reconciler.previews import LabelMode, Previews
from state.errors import Unavailable
from state.git import CommitId, RefName
from state.observed import Listing
from tests.fixtures.shop import DOCS, Ports, Running, Shop, changes

LABEL = "preview-images"
MAX_AGE_S = 300
MAIN, ELSEWHERE = RefName("refs/heads/main"), RefName("refs/heads/elsewhere")


class Lossy(LocalForge):
    """The forge, whose listing may be cut short (`cut`) or not come at all (`down`)."""

    cut = False
    down = False

    def open_pull_requests(self) -> Listing:
        if self.down:
            raise Unavailable("the forge does not answer")
        found = super().open_pull_requests()
        return Listing(False, found.pull_requests[:-1]) if self.cut else found


@dataclass
class Story:
    shop: Shop
    forge: Lossy
    number: int = 0
    images: str = "orders"
    running: Running = field(init=False)
    previews: Previews = field(init=False)
    _process: ExitStack = field(default_factory=ExitStack)

    def starts(self) -> None:
        """A process, or the next one after the last has ended."""
        self._process.close()

        def previews(clock: Clock) -> Previews:
            self.previews = Previews(
                clock, released=False, max_age_s=MAX_AGE_S, label=LabelMode(LABEL, LocalLabels(self.shop.code))
            )
            return self.previews

        def wrap(ports: Ports) -> Ports:
            forge: ForgeReader = self.forge
            return Ports(replace(ports.sources, forge=forge), ports.writer, ports.log)

        self._process = ExitStack()
        self.running = self._process.enter_context(self.shop.reconciler(wrap, previews=previews))

    def ends(self) -> None:
        self._process.close()

    def opens(self) -> CommitId:
        self.number, head = self.shop.opens("one", DOCS)
        return head

    def pushes(self, name: str) -> CommitId:
        """A head that changes the orders, which CI has to build."""
        head = self.shop.world.branch(name, changes("orders", name), name)
        self.shop.pulls.push(self.number, head)
        return head

    def passes(self, times: int = 2) -> None:
        for _ in range(times):
            self.running.clock.skew_s += 60  # a tag that is waited for is asked for at growing intervals
            if self.forge.down:
                with pytest.raises(Unavailable):
                    self.running.one_pass()
            else:
                self.running.one_pass()

    @property
    def answer(self) -> dict[int, CommitId] | str:
        found = self.previews.answer()
        return found if isinstance(found, str) else dict(found)

    @property
    def labelled(self) -> bool:
        stored = self.shop.pulls.store.one(self.number)
        assert stored is not None
        return LABEL in stored.record.labels


@pytest.fixture
def story(shop: Shop) -> Iterator[Story]:
    made = Story(shop, Lossy(shop.code))
    made.starts()
    yield made
    made.ends()


def test_the_timeline_of_the_plugin_endpoint(story: Story) -> None:
    assert story.answer == "no complete listing yet"

    a = story.opens()
    story.passes()
    assert story.answer == {story.number: a}, "opened, and nothing to build: complete at once"

    b = story.pushes("b")
    story.passes()
    assert story.answer == {story.number: a}, "pushed, and CI has not built it: the head before stays"

    story.forge.cut = True
    story.passes()
    assert story.answer == {story.number: a}, "a listing without it that was cut short says nothing"

    story.forge.cut, story.forge.down = False, True
    story.passes()
    assert story.answer == {story.number: a}, "no listing at all says nothing either"
    story.running.clock.skew_s += MAX_AGE_S
    assert "s old" in str(story.answer), "but what is too old is not told any more"

    story.forge.down = False
    story.shop.world.ci_builds("orders", b)
    story.passes()
    assert story.answer == {story.number: b}, "built: the new head, and no moment without one"

    story.starts()
    assert story.answer == "no complete listing yet", "a new process knows nothing"
    c = story.pushes("c")
    story.passes()
    assert story.answer == {story.number: b}, "until it has looked; the log knows which head was complete"

    story.shop.pulls.close(story.number)
    story.passes(1)
    assert story.answer == "1 previews would become 0: waiting for a second listing"
    story.passes(1)
    assert story.answer == {}, "closed, as two listings say"

    story.shop.pulls.reopen(story.number)
    story.passes()
    assert story.answer == {story.number: b}, "reopened: what was complete, and not the head that is not"
    story.shop.world.ci_builds("orders", c)
    story.passes()
    assert story.answer == {story.number: c}


def test_the_timeline_of_the_label(story: Story) -> None:
    story.opens()
    assert not story.labelled
    story.passes()
    assert story.labelled, "set at the first complete head"

    b = story.pushes("b")
    story.passes()
    assert story.labelled, "a push never takes it away, although the new head is not complete"

    story.forge.cut = True
    story.passes()
    story.forge.cut, story.forge.down = False, True
    story.passes()
    story.forge.down = False
    assert story.labelled, "nor does a listing that was lost"

    story.starts()
    story.passes()
    assert story.labelled, "nor a new process"

    story.shop.world.ci_builds("orders", b)
    story.passes()
    assert story.labelled

    story.shop.pulls.retarget(story.number, ELSEWHERE)
    story.passes(3)
    assert not story.labelled, "the gate is lost"
    story.shop.pulls.retarget(story.number, MAIN)
    story.passes()
    assert story.labelled, "and is there again, with a complete head"

    story.shop.pulls.close(story.number)
    story.passes(1)
    assert story.labelled, "one listing that says so is not believed yet"
    story.passes(1)
    assert not story.labelled, "closed, as two listings say"

    story.shop.pulls.reopen(story.number)
    story.pushes("c")
    story.passes()
    assert (story.labelled, story.answer) == (True, {story.number: b}), "reopened: b was complete, as the log knows"
