"""Heads at rest: what is kept of them is what examining would give, whatever happens next."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.admission import admit
from reconciler.heads import Examiner
from reconciler.matrix import matrix
from reconciler.planner import plan
from reconciler.rest import Rest
from state.decision import RetagFrom, Unresolved
from state.git import CommitId
from state.hold import Reason
from state.observed import Absent, How, Listing, Present, Recorded, Snapshot, Unknown
from state.oci import Repository
from tests.unit.strategies import (
    BASELINES,
    COMPONENTS,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    RELEASE,
    REPOSITORIES,
    TIPS,
    catalogue,
    decision,
    inventory,
    pull_request,
    snapshot,
    snapshots,
)

A, B = HEADS
RECORDED = Recorded(BASELINES[0], How.RETAGGED)
RETAGGED = dict.fromkeys(REPOSITORIES, RetagFrom(BASELINES[0]))
COMPLETE = snapshot(
    pull_request(1, A),
    pull_request(2, B),
    tags={},
    decisions={head: decision(head, RETAGGED) for head in HEADS},
    recorded={(image, head): RECORDED for image in REPOSITORIES for head in HEADS},
)
_DRAWN = [f.name for f in fields(Snapshot) if f.name != "repository_id"]


class Versions:
    """A version for each head by what the log says of it, as `History.versions` has it."""

    def __init__(self) -> None:
        self._seen: list[object] = []

    def of(self, seen: Snapshot) -> dict[CommitId, int]:
        heads = {pr.head for pr in seen.listing.pull_requests}
        return {head: self._number(self._said(seen, head)) for head in heads}

    @staticmethod
    def _said(seen: Snapshot, head: CommitId) -> object:
        recorded = {r: done for (r, of), done in seen.recorded.items() if of == head}
        return head, seen.decisions.get(head), recorded, seen.released.get(head), seen.quarantined.get(head)

    def _number(self, said: object) -> int:
        if said not in self._seen:
            self._seen.append(said)
        return self._seen.index(said)


def agrees(rest: Rest, versions: Versions, seen: Snapshot) -> int:
    """Run the steps of a pass and hold them to what they give without a memory; how many heads were at rest in it."""
    numbered = versions.of(seen)
    works = rest.works(replace(seen, tags={}, swept={}), numbered)
    assert plan(seen, works) == plan(seen)
    for head in admit(seen).heads:
        assert Examiner(seen, works).examine(head) == Examiner(seen).examine(head)
        assert Examiner(seen, works).changes_needed(head) == Examiner(seen).changes_needed(head)
        assert Examiner(seen, works).baselines_needed(head) == Examiner(seen).baselines_needed(head)
    rows = rest.rows(seen, works, numbered)
    made = matrix(seen, plan(seen), rows)
    assert made.cells == matrix(seen).cells
    rest.keep(seen, made, rows, numbered)
    return len(rows)


@settings(max_examples=300)
@given(st.lists(st.tuples(snapshots(), st.sets(st.sampled_from(_DRAWN), max_size=4)), min_size=1, max_size=3))
def test_whatever_happens_a_pass_with_a_memory_comes_to_the_same(drawn: list[tuple[Snapshot, set[str]]]) -> None:
    rest, versions = Rest(), Versions()
    agrees(rest, versions, COMPLETE)
    for other, names in drawn:
        seen = replace(COMPLETE, **{name: getattr(other, name) for name in names})
        for one in (seen, seen, COMPLETE):
            agrees(rest, versions, one)


SETS = replace(COMPLETE.policy, release_sets=Repository("ghcr.io/acme/release-sets"))
NOTHING = replace(COMPLETE, inventory=inventory([]))
TWO_BASES = replace(
    COMPLETE,
    listing=Listing(True, (pull_request(1, A), pull_request(2, A, base=RELEASE))),
    decisions={A: decision(A, RETAGGED, bases=TIPS)},
)
UNRESOLVED = replace(COMPLETE, decisions={A: decision(A, {**RETAGGED, ORDERS: Unresolved(Reason.BASELINE_MISSING)})})
STRANGER = pull_request(3, A, head_repository_id=FORK)


@pytest.mark.parametrize(
    "passes",
    [
        pytest.param((COMPLETE, replace(COMPLETE, policy=SETS), COMPLETE), id="release sets from now on"),
        pytest.param((NOTHING, replace(NOTHING, bases={**TIPS, MAIN: Unknown("-")})), id="a base that is unread"),
        pytest.param(
            (TWO_BASES, replace(TWO_BASES, catalogues={**COMPLETE.catalogues, TIPS[RELEASE]: Unknown("-")})),
            id="one of two bases unread",
        ),
        pytest.param(
            (
                TWO_BASES,
                replace(TWO_BASES, catalogues={**COMPLETE.catalogues, TIPS[RELEASE]: catalogue(TIPS[RELEASE], [])}),
            ),
            id="two bases of which one declares less",
        ),
        pytest.param((replace(UNRESOLVED, main={}), UNRESOLVED), id="a baseline that is found later"),
        pytest.param(
            (replace(COMPLETE, listing=Listing(True, (pull_request(1, A), STRANGER))), COMPLETE),
            id="a stranger at the head",
        ),
        pytest.param((replace(COMPLETE, inventory=inventory([*COMPONENTS, "zebra"])),), id="an unknown component"),
    ],
)
def test_what_is_rarely_drawn(passes: tuple[Snapshot, ...]) -> None:
    rest, versions = Rest(), Versions()
    for seen in passes:
        for _ in range(3):
            agrees(rest, versions, seen)


def test_complete_heads_are_at_rest_from_the_second_pass_on_and_keep_their_rows() -> None:
    rest, versions = Rest(), Versions()
    assert [agrees(rest, versions, COMPLETE) for _ in range(3)] == [0, 2, 2]
    again = versions.of(COMPLETE)
    before, after = (rest.rows(COMPLETE, rest.works(COMPLETE, again), again) for _ in range(2))
    assert all(after[head] is rows for head, rows in before.items())


def test_one_tag_that_was_moved_disturbs_one_head() -> None:
    rest, versions = Rest(), Versions()
    agrees(rest, versions, COMPLETE)
    agrees(rest, versions, COMPLETE)
    for swept in ({(ORDERS, A): Present(BASELINES[1], None)}, {(ORDERS, A): Absent()}):
        assert agrees(rest, versions, replace(COMPLETE, swept=swept)) == 1
        agrees(rest, versions, COMPLETE)
