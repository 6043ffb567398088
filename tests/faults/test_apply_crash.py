"""Process death at every call of a pass, lost answers and a full disk: the next start finishes what was begun.

A pass of one worker is a sequence of calls, and memory dies with the process: so death after call n leaves the same
world as death before call n+1, and "before every call, and after the last" is the whole matrix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest

from reconciler.matrix import State
from state.entry import Kind
from state.errors import Denied, Unavailable
from state.git import CommitId
from state.oci import Manifest, Repository, Tag
from tests.fixtures.shop import Death, Ports, Shop, cells, changes, open_shop
from tests.thorough import thorough

EFFECTS = frozenset({"log.append", "log.push", "registry.put_manifest"})
CUT_OFF = None if thorough() else EFFECTS
"""Reading leaves the world as it is: a death before a read is one before the next call that has an effect."""
PREVIEWED = ("billing", "orders", "web")


@dataclass
class Process:
    """Counts the calls of all its ports; dies before the effect of call number `dies_at`, and nothing happens after."""

    dies_at: int | None = None
    counting: frozenset[str] | None = None
    """Which calls are counted; None for all of them."""
    calls: list[str] = field(default_factory=list)
    dead: bool = False

    def wrap(self, ports: Ports) -> Ports:
        sources = replace(
            ports.sources,
            forge=Around(self, "forge", ports.sources.forge),
            registry=Around(self, "registry", ports.sources.registry),
        )
        log, store = Around(self, "log", ports.log), Around(self, "store", ports.store)
        return Ports(sources, Around(self, "registry", ports.writer), log, store)

    def call(self, name: str, method: Callable[..., Any], arguments: Any) -> Any:
        self.calls.append(name)
        counted = [c for c in self.calls if self.counting is None or c in self.counting]
        if self.dead or len(counted) == self.dies_at:
            self.dead = True
            raise Death(name)
        return method(*arguments)


class Around:
    """A port whose every method is a call of its process."""

    def __init__(self, process: Process, name: str, port: Any) -> None:
        self._process = process
        self._name = name
        self._port = port

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return lambda *arguments: self._process.call(f"{self._name}.{name}", method, arguments)


class Scene(NamedTuple):
    """A new head with one changed image that CI has built, and two unchanged ones."""

    number: int
    head: CommitId
    wanted: Mapping[str, str]


class Stage:
    """One shop, and one pull request after another in it; the one before is closed, so its head ends in the pass."""

    def __init__(self, shop: Shop) -> None:
        shop.previews(*PREVIEWED)
        self.shop = shop
        self._open: int | None = None
        self._count = 0

    def next(self) -> Scene:
        if self._open is not None:
            self.shop.pulls.close(self._open)
        self._count += 1
        self._open, head = self.shop.opens(f"orders-{self._count}", changes("orders", f"{self._count}\n"))
        built = self.shop.world.ci_builds("orders", head)
        return Scene(
            self._open, head, {"orders": built, "billing": self.shop.main("billing"), "web": self.shop.main("web")}
        )

    def dies(self, at: int | None, counting: frozenset[str] | None = None) -> Process:
        """One start and one pass of a process that dies at call `at`, if it makes so many."""
        self.shop.configure(workers=1)
        process = Process(at, counting)
        try:
            with self.shop.reconciler(process.wrap) as running:
                running.one_pass()
        except Death:
            assert process.dead
        return process

    def dies_never(self) -> Process:
        """A whole pass over a new scene."""
        scene = self.next()
        process = self.dies(None)
        self.heals(scene)
        return process

    def heals(self, scene: Scene) -> None:
        """A fresh start brings about what was decided: each tag once, each intent with one outcome."""
        shop = self.shop
        with shop.reconciler() as running:
            report = running.until_quiet()
        rows = cells(report, scene.number)
        assert {name: row.digest for name, row in rows.items()} == scene.wanted
        assert {name: row.state for name, row in rows.items()} == {
            "orders": State.BUILT, "billing": State.RETAGGED, "web": State.RETAGGED
        }  # fmt: skip
        for image, digest in scene.wanted.items():
            made = shop.tag(image, scene.head)
            assert made is not None
            assert made.digest == digest
            if image != "orders":
                assert made == shop.tag(image, "main")
        assert written(shop, scene.head) == dict.fromkeys(PREVIEWED, 1)
        decisions = [e for e in shop.entries(Kind.DECISION) if e.entry.body["head"] == scene.head]
        assert len(decisions) == 1
        every_intent_has_one_outcome(shop)


def written(shop: Shop, head: CommitId) -> dict[str, int]:
    """Image → how often its tag of this head was written, by whomever."""
    assert shop.registry is not None
    puts = Counter(path for method, path, status in shop.registry.answered if (method, status) == ("PUT", 201))
    return {image: count for image in PREVIEWED if (count := puts[f"/v2/shop/{image}/manifests/{head}"])}


def every_intent_has_one_outcome(shop: Shop) -> None:
    intents = [e.id for e in shop.entries(Kind.INTENT)]
    closed = [e.entry.body["intent"] for e in shop.entries(Kind.OUTCOME) if e.entry.body["intent"] is not None]
    assert sorted(closed) == sorted(intents)  # type: ignore[type-var]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One world for all tests here: each plays scenes of its own in it, and leaves it healed."""
    with open_shop(tmp_path_factory.mktemp("stage")) as shop:
        made = Stage(shop)
        made.dies_never()
        yield made
        shop.verified()


def test_death_before_any_call_of_a_pass_heals_at_the_next_start(stage: Stage) -> None:
    calls = 0
    while True:
        calls += 1
        scene = stage.next()
        process = stage.dies(calls, CUT_OFF)
        stage.heals(scene)
        if not process.dead:
            break
    # The pass that was cut everywhere: a tombstone, a decision, an adoption, and one batch of two writes.
    made = Counter(process.calls)
    assert made["log.append"] == len(["observation", "tombstone", "decision", "outcome", "intent", "outcome"])
    assert made["registry.put_manifest"] == 2
    assert calls == len([c for c in process.calls if CUT_OFF is None or c in CUT_OFF]) + 1


def test_death_in_the_middle_of_recovering_heals_at_the_start_after_it(stage: Stage) -> None:
    whole = stage.dies_never()
    second_put = [n for n, call in enumerate(whole.calls, 1) if call == "registry.put_manifest"][1]
    # Reading leaves the world as it is, so here only the calls with an effect are cut off.
    deaths = 0
    while True:
        scene = stage.next()
        assert stage.dies(second_put).calls[-1] == "registry.put_manifest"
        assert sorted(written(stage.shop, scene.head)) == ["billing", "orders"]
        recovering = stage.dies(deaths + 1, EFFECTS)
        stage.heals(scene)
        if not recovering.dead:
            break
        deaths += 1
    # The open intent is closed; then one batch makes the write that is missing.
    assert [c for c in recovering.calls if c in EFFECTS] == [
        *["log.append"] * 3, "registry.put_manifest", "log.append", "log.push"
    ]  # fmt: skip
    assert deaths == 6


@pytest.mark.parametrize("reaches", ["billing", "web"])
def test_death_while_writes_run_side_by_side_heals_whichever_of_them_arrived(stage: Stage, reaches: str) -> None:
    stage.shop.configure(workers=4)
    scene = stage.next()

    def dying(put: Callable[..., None], repository: Repository, *rest: Any) -> None:
        if not repository.endswith(reaches):
            raise Death
        put(repository, *rest)

    with pytest.raises(Death), stage.shop.reconciler(writing(dying)) as running:
        running.one_pass()
    assert sorted(written(stage.shop, scene.head)) == sorted({"orders", reaches})
    stage.heals(scene)


def test_a_write_whose_answer_is_lost_is_found_in_place_and_not_repeated(stage: Stage) -> None:
    scene = stage.next()

    def unanswered(put: Callable[..., None], *arguments: Any) -> None:
        put(*arguments)
        raise Unavailable("no answer came")

    with stage.shop.reconciler(writing(unanswered)) as running:
        report = running.one_pass()
        assert {c.state for name, c in cells(report, scene.number).items() if name != "orders"} == {State.PLANNED}
        rows = [row for e in stage.shop.entries(Kind.OUTCOME)[-1:] for row in e.entry.body["writes"]]  # type: ignore[union-attr]
        assert {row["result"] for row in rows} == {"uncertain"}  # type: ignore[index, call-overload]
        running.clock.skew_s += 10
        assert running.one_pass().converged
    stage.heals(scene)


def test_a_write_that_fails_is_tried_again_after_a_pause_and_not_before(stage: Stage) -> None:
    scene = stage.next()
    tries: list[Repository] = []

    def refused(put: Callable[..., None], repository: Repository, *rest: Any) -> None:
        tries.append(repository)
        if len(tries) <= 2:
            raise Unavailable("503")
        put(repository, *rest)

    with stage.shop.reconciler(writing(refused)) as running:
        running.one_pass()
        held = running.one_pass().plan.holds
        assert {h.reason.value for h in held} == {"backing-off"}
        assert len(tries) == 2
        running.clock.skew_s += 10
        running.one_pass()
        assert len(tries) == 4
    stage.heals(scene)


@pytest.mark.parametrize("same_process", [True, False])
@pytest.mark.parametrize("kind", [Kind.OBSERVATION, Kind.DECISION, Kind.INTENT, Kind.OUTCOME])
def test_an_entry_that_does_not_fit_on_the_disk_stops_the_pass_and_is_made_up_for(
    stage: Stage, kind: Kind, same_process: bool
) -> None:
    scene = stage.next()
    full = FullDisk(kind)
    with stage.shop.reconciler(full.wrap) as running:
        with pytest.raises(Unavailable, match="disk"):
            running.one_pass()
        assert set(written(stage.shop, scene.head)) == set(PREVIEWED if kind is Kind.OUTCOME else ["orders"])
        if same_process:
            full.is_full = False
            assert running.until_quiet().converged
    stage.heals(scene)


def _dies_before(_put: Callable[..., Any], *_: Any) -> frozenset[Tag]:
    raise Death


def _dies_after(put: Callable[..., Any], *arguments: Any) -> frozenset[Tag]:
    put(*arguments)
    raise Death


def _answer_is_lost(put: Callable[..., Any], *arguments: Any) -> frozenset[Tag]:
    put(*arguments)
    raise Unavailable("no answer came")


def _is_refused_partway(
    put: Callable[..., Any], repository: Repository, tags: Sequence[Tag], manifest: Manifest, *rest: Any
) -> frozenset[Tag]:
    put(repository, tags[:1], manifest, *rest)
    raise Denied("403 for the second tag")


def _some_are_confirmed(
    put: Callable[..., Any], repository: Repository, tags: Sequence[Tag], *rest: Any
) -> frozenset[Tag]:
    confirmed: frozenset[Tag] = put(repository, tags[:1], *rest)
    return confirmed


@pytest.mark.parametrize(
    "befalls", [_dies_before, _dies_after, _answer_is_lost, _is_refused_partway, _some_are_confirmed]
)
def test_each_tag_of_one_request_is_made_whatever_befalls_it(stage: Stage, befalls: Callable[..., Any]) -> None:
    shop = stage.shop
    docs = [shop.opens(f"{befalls.__name__}-{n}", {"README.md": f"{befalls.__name__} {n}\n"}) for n in range(2)]
    asked: list[int] = []

    def together(put: Callable[..., Any], repository: Repository, tags: Sequence[Tag], *rest: Any) -> frozenset[Tag]:
        asked.append(len(tags))
        answer: frozenset[Tag] = befalls(put, repository, tags, *rest)
        return answer

    try:
        with shop.reconciler(writing_together(together)) as running:
            running.one_pass()
    except Death:
        assert "dies" in befalls.__name__
    assert set(asked) == {2}
    with shop.reconciler() as running:
        report = running.until_quiet()
    for number, head in docs:
        assert {row.state for row in cells(report, number).values()} == {State.RETAGGED}
        assert {i: shop.tags(head)[i] for i in PREVIEWED} == {i: shop.main(i) for i in PREVIEWED}
        shop.pulls.close(number)
    every_intent_has_one_outcome(shop)


class FullDisk:
    """A log that cannot take entries of one kind. Of the outcomes, adoptions still fit: the one of a batch does not."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._log: Any = None
        self.is_full = True

    def wrap(self, ports: Ports) -> Ports:
        self._log = ports.log
        return Ports(ports.sources, ports.writer, self)

    def append(self, kind: Kind, body: Mapping[str, Any], blobs: Mapping[str, bytes] | None = None) -> Any:
        if self.is_full and kind is self._kind and body.get("intent", "") is not None:
            raise Unavailable("log: nothing was appended: no space left on the disk")
        return self._log.append(kind, body, blobs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class Writer:
    def __init__(self, writer: Any, around: Callable[..., None]) -> None:
        self._writer = writer
        self._around = around

    def put_manifest(self, *arguments: Any) -> None:
        self._around(self._writer.put_manifest, *arguments)

    def put_tags(self, *_: Any) -> None:
        """One tag per request, so that there is a boundary between any two."""


class TogetherWriter:
    def __init__(self, writer: Any, around: Callable[..., frozenset[Tag]]) -> None:
        self._writer = writer
        self._around = around
        self.put_manifest = writer.put_manifest

    def put_tags(self, *arguments: Any) -> frozenset[Tag]:
        return self._around(self._writer.put_tags, *arguments)


def writing_together(around: Callable[..., frozenset[Tag]]) -> Callable[[Ports], Ports]:
    """A registry writer with something around each request for several tags."""
    return lambda ports: Ports(ports.sources, TogetherWriter(ports.writer, around), ports.log)


def writing(around: Callable[..., None]) -> Callable[[Ports], Ports]:
    """A registry writer with something around each write."""

    def wrap(ports: Ports) -> Ports:
        return Ports(ports.sources, Writer(ports.writer, around), ports.log)

    return wrap
