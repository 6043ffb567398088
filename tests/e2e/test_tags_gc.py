"""`ameide tags gc` on real registries: two runs, only our own tags, one at a time, and refusals with their reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pygit2
import pytest
import requests

from reconciler.demo.world import MAIN
from reconciler.tag_gc.running import Report
from state.entry import Kind, subject
from state.errors import IntegrityError, ReconcilerError
from state.git import CommitId, RefName
from state.log_verify import verify
from state.oci import Tag
from tests.fixtures.approving import Approving
from tests.fixtures.distribution import run_distribution
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, changes, open_shop, refs
from tests.fixtures.tag_yard import OPERATOR, WEEK_S, Yard
from tools import go_tools


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    with open_shop(tmp_path / "shop") as shop:
        yield Yard.of(shop)


def reasons(report: Report) -> dict[str, str]:
    return {r.custody.repository.path.rpartition("/")[2]: r.reason.value for r in report.decision.rulings}


def left(yard: Yard, head: CommitId) -> list[str]:
    return sorted(image for image, digest in yard.shop.tags(head).items() if digest is not None)


def test_two_runs_a_grace_apart_remove_the_tags_and_nothing_else(yard: Yard) -> None:
    mirror, remote = yard.shop.root / "mirror.git", yard.shop.root / "remote.git"
    pygit2.init_repository(str(mirror), bare=True).free()
    yard.shop.configure(shop={"log": {**yard.shop.repository_settings["log"], "mirror": str(mirror)}})
    _, head = yard.closes("words", DOCS)
    before = {image: yard.shop.main(image) for image in IMAGE_NAMES}
    first = yard.run()
    assert set(reasons(first).values()) == {"closed"}
    assert left(yard, head) == list(IMAGE_NAMES)
    assert set(reasons(yard.run()).values()) == {"in-grace"}
    yard.clock.skew_s += WEEK_S
    report = yard.run()
    assert report.clean
    assert {d.result.value for d in report.done} == {"removed"}
    assert left(yard, head) == []
    assert {image: yard.shop.main(image) for image in IMAGE_NAMES} == before
    assert [e.entry.kind.value for e in yard.entries()] == [
        "genesis", "epoch", "tombstone", "epoch", "intent", "outcome"
    ]  # fmt: skip
    assert subject(yard.entries()[4].entry) == f"intent 4: {len(IMAGE_NAMES)} tags to remove"
    assert yard.run().decision.rulings == ()
    assert verify(remote, OPERATOR).clean
    assert refs(mirror) == {OPERATOR: refs(remote)[OPERATOR]}, "each role brings its own branch"
    yard.shop.verified()


def test_without_apply_nothing_is_written_anywhere(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    with yard.shop.requests_made() as made:
        assert set(reasons(yard.plan()).values()) == {"closed"}
    assert {method for method, _, _ in made} <= {"GET", "HEAD"}
    yard.marked()
    before = yard.entries()
    with yard.shop.requests_made() as made:
        assert set(reasons(yard.plan()).values()) == {"due"}
    assert {method for method, _, _ in made} <= {"GET", "HEAD"}
    assert yard.entries() == before
    assert left(yard, head) == list(IMAGE_NAMES)


def test_the_daemon_writes_its_log_while_gc_writes_its_own(yard: Yard) -> None:
    yard.closes("words", DOCS)
    yard.marked()
    with yard.shop.reconciler() as running:
        running.one_pass()
        report = yard.run()
        running.until_quiet()
    assert {d.result.value for d in report.done} == {"removed"}
    yard.shop.verified()


def test_the_last_tag_of_a_digest_stays_unless_asked_for(yard: Yard) -> None:
    number, head = yard.shop.opens("orders", changes("orders"))
    yard.shop.world.ci_builds("orders", head)
    with yard.shop.reconciler() as running:
        running.until_quiet()
        yard.shop.pulls.close(number)
        running.until_quiet()
    assert reasons(yard.run())["orders"] == "last-tag"
    yard.clock.skew_s += WEEK_S
    yard.run()
    assert left(yard, head) == ["orders"]
    yard.marked(last_tags=True)
    yard.run(last_tags=True)
    assert left(yard, head) == []


def test_the_only_tag_of_a_digest_that_was_proposed_to_gitops_stays(approving: Approving) -> None:
    """Also where last tags are asked for: an environment may run it long after the pull request is closed."""
    shop, yard = approving.shop, Yard.of(approving.shop)
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
        approving.approves(number, "alice")
        running.one_pass()
        assert [r.state.value for r in approving.opened()] == ["open"]
        shop.pulls.close(number)
        running.until_quiet()
    yard.marked(last_tags=True)
    report = yard.run(last_tags=True)
    assert reasons(report)["orders"] == "published"
    assert left(yard, head) == ["orders"]


def test_an_open_head_is_never_touched(yard: Yard) -> None:
    number, head = yard.closes("words", DOCS)
    yard.marked()
    yard.shop.pulls.reopen(number)
    report = yard.run()
    assert set(reasons(report).values()) == {"open-head"}
    assert len(report.decision.withdrawn) == len(IMAGE_NAMES)
    assert left(yard, head) == list(IMAGE_NAMES)


def test_another_pull_request_at_the_same_head_keeps_it(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    yard.marked()
    yard.shop.pulls.open(head, MAIN)
    assert set(reasons(yard.run()).values()) == {"open-head"}
    assert left(yard, head) == list(IMAGE_NAMES)


def test_a_pull_request_opened_again_after_the_decision_keeps_its_tags(yard: Yard) -> None:
    number, head = yard.closes("words", DOCS)
    yard.marked()
    with yard.gc() as gc:
        real = gc.forge.pull_request

        def reopened(asked: int) -> Any:
            if real(number) is None:
                yard.shop.pulls.reopen(number)
            return real(asked)

        object.__setattr__(gc, "forge", _Around(gc.forge, pull_request=reopened))
        report = gc.run()
    assert {d.result.value for d in report.done} == {"changed"}
    assert left(yard, head) == list(IMAGE_NAMES)


def test_a_tag_that_somebody_moved_is_not_ours(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    yard.shop.world.ci_builds("orders", head)
    yard.marked()
    report = yard.run()
    assert reasons(report)["orders"] == "moved"
    assert left(yard, head) == ["orders"]


def test_a_tag_that_was_never_in_our_log_is_no_candidate(yard: Yard) -> None:
    yard.closes("words", DOCS)
    foreign = CommitId("f" * 40)
    yard.shop.world.ci_builds("orders", foreign)
    yard.marked()
    report = yard.run()
    assert foreign not in {r.custody.head for r in report.decision.rulings}
    assert left(yard, foreign) == ["orders"]


def test_a_head_that_main_was_fast_forwarded_to_keeps_its_tags(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    repository = pygit2.Repository(str(yard.shop.code))
    repository.references["refs/heads/main"].set_target(head)
    assert set(reasons(yard.run()).values()) == {"on-base"}
    assert left(yard, head) == list(IMAGE_NAMES)


def test_an_incomplete_listing_removes_nothing(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    yard.marked()
    with yard.gc() as gc:
        listing = gc.forge.open_pull_requests()
        gc.looker.forge = _Around(gc.forge, open_pull_requests=lambda: listing._replace(complete=False))
        report = gc.run()
    assert not report.decision.complete
    assert not report.clean
    assert left(yard, head) == list(IMAGE_NAMES)


def test_a_registry_that_fails_is_unknown_and_keeps_the_tag(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    yard.marked()
    with yard.gc() as gc:
        gc.looker.registry = _Around(gc.looker.registry, resolve=lambda _r, _t: None, tags=lambda _: None)
        report = gc.run()
    assert set(reasons(report).values()) == {"unknown"}
    assert left(yard, head) == list(IMAGE_NAMES)


def test_no_more_than_the_cap(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    yard.shop.configure(shop={"tag_gc": {"max_deletes": 1}})
    yard.marked()
    assert len(yard.run().done) == 1
    assert len(left(yard, head)) == len(IMAGE_NAMES) - 1


def test_the_intent_is_on_the_remote_before_the_first_removal(yard: Yard) -> None:
    yard.closes("words", DOCS)
    yard.marked()
    seen: list[list[str]] = []
    with yard.gc() as gc:
        real = gc.registry.untag

        def looks(*arguments: Any) -> bool:
            seen.append([e.entry.kind.value for e in yard.entries()])
            return real(*arguments)

        gc.registry.untag = looks
        gc.run()
    assert {tuple(kinds) for kinds in seen} == {("genesis", "epoch", "tombstone", "epoch", "intent")}


def test_a_crash_after_the_intent_is_closed_by_looking(yard: Yard) -> None:
    class Killed(BaseException):
        pass

    _, head = yard.closes("words", DOCS)
    yard.marked()
    with yard.gc() as gc:

        def dies(*_: Any) -> bool:
            raise Killed

        gc.registry.untag = dies
        with pytest.raises(Killed):
            gc.run()
    assert yard.entries()[-1].entry.kind is Kind.INTENT
    report = yard.run()
    outcomes = [e.entry.body["untags"] for e in yard.entries() if e.entry.kind is Kind.OUTCOME]
    assert {row["result"] for row in outcomes[0]} == {"dropped"}
    assert {d.result.value for d in report.done} == {"removed"}
    assert left(yard, head) == []


def test_a_registry_that_takes_siblings_along_is_stopped_after_the_first(yard: Yard) -> None:
    """It was measured as safe, and then it is not: one tag is the most that is ever lost."""
    yard.closes("words", DOCS)
    yard.marked()
    calls: list[Any] = []
    with yard.gc() as gc:

        def takes_all(repository: Any, tag: Tag, confirm: Callable[[], None]) -> bool:
            calls.append(tag)
            digest = yard.shop.main(repository.path.rpartition("/")[2])
            requests.delete(f"http://{yard.shop.host}/v2/{repository.path}/manifests/{digest}", timeout=20)
            return True

        gc.registry.untag = takes_all
        with pytest.raises(IntegrityError, match="nothing more is removed"):
            gc.run()
    assert len(calls) == 1
    results = [row["result"] for row in yard.entries()[-1].entry.body["untags"]]
    assert results == ["removed"] + ["dropped"] * (len(IMAGE_NAMES) - 1)


def test_ghcr_is_refused_by_name_with_the_reason() -> None:
    from reconciler.settings.model import RegistrySettings
    from reconciler.tag_gc.untagging import refused_by_name

    ghcr = RegistrySettings(host="ghcr.io", anonymous=True, scratch_repository="ghcr.io/acme/scratch")
    assert "package version" in str(refused_by_name(ghcr))
    assert "scratch_repository" in str(refused_by_name(RegistrySettings(host="127.0.0.1:5000", anonymous=True)))


# --- other registries


@pytest.mark.distribution3
def test_distribution_3_removes_one_tag_alone(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    with run_distribution(folder, program=str(go_tools.path_of("distribution3"))) as server:
        yard = Yard.of(Shop(tmp_path, server.host))
        _, head = yard.closes("words", DOCS)
        before = {image: yard.shop.main(image) for image in IMAGE_NAMES}
        yard.marked()
        assert yard.run().clean
        assert left(yard, head) == []
        assert {image: yard.shop.main(image) for image in IMAGE_NAMES} == before


@pytest.mark.distribution
@pytest.mark.parametrize("delete", [True, False])
def test_distribution_2_cannot_and_is_refused_with_what_it_answered(tmp_path: Path, delete: bool) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    with run_distribution(folder, delete=delete) as server:
        yard = Yard.of(Shop(tmp_path, server.host))
        _, head = yard.closes("words", DOCS)
        report = yard.run()
        assert set(reasons(report).values()) == {"host-refuses"}
        why = report.decision.rulings[0].why
        assert ("answers 400" if delete else "answers 405") in why
        assert "removes digests alone" in why
        assert left(yard, head) == list(IMAGE_NAMES)
        assert [e.entry.kind for e in yard.entries()][2:] == []


# --- the command


def test_the_command_marks_removes_and_tells(yard: Yard) -> None:
    _, head = yard.closes("words", DOCS)
    config = str(yard.shop.config)
    dry = yard.shop.runs("tags", "gc", "--config", config)
    assert dry.returncode == 1, dry.stderr
    assert "dry run; --apply does it" in dry.stdout
    assert "closed" in dry.stdout
    done = yard.shop.runs("tags", "gc", "--config", config, "--apply", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {row["act"] for row in told["tags"]} == {"mark"}
    assert told["applied"]
    assert left(yard, head) == list(IMAGE_NAMES)
    yard.shop.configure(mode="observe")
    refused = yard.shop.runs("tags", "gc", "--config", config, "--apply")
    assert refused.returncode == 2
    assert "write nothing" in refused.stderr


class _Around:
    """An object with some of its methods replaced."""

    def __init__(self, inner: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_an_unreadable_log_ends_it(yard: Yard) -> None:
    yard.closes("words", DOCS)
    (yard.shop.root / "remote.git").rename(yard.shop.root / "away.git")
    with pytest.raises(ReconcilerError):
        yard.run()
