"""One head: what is judged of each tag, and what has to be read for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from reconciler.admission import admit
from reconciler.heads import Examiner, Work
from reconciler.judgement import Fill, Held, Judgement, Take
from state.decision import AwaitBuild, RetagFrom, Unresolved
from state.hold import Reason
from state.observed import Absent, BaselinePolicy, How, Present, Recorded, Snapshot, TagState, Unknown
from state.quarantine import Breach
from tests.thorough import examples
from tests.unit.strategies import (
    ACCEPTED,
    BASELINES,
    BILLING,
    BUILT,
    HEADS,
    MAIN,
    ORDERS,
    REFUSED,
    RELEASE,
    TIPS,
    UNCHECKED,
    decision,
    inventory,
    pull_request,
    snapshot,
    snapshots,
)

A, _ = HEADS
BASE = BASELINES[0]
ONLY_ORDERS = inventory(["orders"])


def examined(seen: Snapshot) -> Work:
    (head,) = admit(seen).heads
    return Examiner(seen).examine(head)


def judged(wanted: Any, **seen: Any) -> Judgement:
    """What becomes of the one tag of a head that was decided."""
    pinned = {A: decision(A, {ORDERS: wanted, BILLING: AwaitBuild()})}
    made = examined(snapshot(pull_request(1, A), decisions=pinned, inventory=ONLY_ORDERS, **seen)).judgements
    assert made.keys() == {ORDERS}
    return made[ORDERS]


def same(found: Judgement, expected: Judgement) -> None:
    """Equal and of one kind: two named tuples of different kinds may be equal."""
    assert type(found) is type(expected)
    assert found == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, Held(Reason.NOT_YET_READ)),
        (Unknown("-"), Held(Reason.TAG_UNKNOWN)),
        (Absent(), Fill(BASE)),
        (Present(BASE), Take(BASE, How.RETAGGED, False)),
        (Present(BASE, ACCEPTED), Take(BASE, How.RETAGGED, True)),
        (Present(BASE, UNCHECKED), Take(BASE, How.RETAGGED, False)),
        (Present(BUILT), Held(Reason.FOUND_UNPROVEN, BUILT)),
        (Present(BUILT, UNCHECKED), Held(Reason.FOUND_UNPROVEN, BUILT)),
        (Present(BUILT, REFUSED), Held(Reason.FOUND_UNPROVEN, BUILT)),
        (Present(BUILT, ACCEPTED), Take(BUILT, How.RETAGGED, True)),
    ],
)
def test_the_tag_of_an_unchanged_image(state: TagState | None, expected: Judgement) -> None:
    same(judged(RetagFrom(BASE), tags={} if state is None else {(ORDERS, A): state}), expected)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, Held(Reason.NOT_YET_READ)),
        (Unknown("-"), Held(Reason.TAG_UNKNOWN)),
        (Absent(), Held(Reason.AWAITS_BUILD)),
        (Present(BUILT), Held(Reason.FOUND_UNPROVEN, BUILT)),
        (Present(BUILT, REFUSED), Held(Reason.BUILD_REFUSED, BUILT)),
        (Present(BUILT, UNCHECKED), Take(BUILT, How.BUILT, False)),
        (Present(BUILT, ACCEPTED), Take(BUILT, How.BUILT, True)),
        (Present(BASE, REFUSED), Held(Reason.BUILD_REFUSED, BASE)),
    ],
)
def test_the_tag_of_a_changed_image(state: TagState | None, expected: Judgement) -> None:
    same(judged(AwaitBuild(), tags={} if state is None else {(ORDERS, A): state}), expected)


@pytest.mark.parametrize("state", [None, Absent(), Present(BASE, ACCEPTED)])
def test_the_tag_of_an_undecided_image_is_left_alone(state: TagState | None) -> None:
    found = judged(
        Unresolved(Reason.BASELINE_MISSING), main={ORDERS: Absent()}, tags={} if state is None else {(ORDERS, A): state}
    )
    same(found, Held(Reason.BASELINE_MISSING))


@pytest.mark.parametrize(
    ("state", "overdue", "expected"),
    [
        (None, True, Held(Reason.TAG_SETTLING, BASE)),
        (Unknown("-"), True, Held(Reason.TAG_SETTLING, BASE)),
        (Absent(), False, Held(Reason.TAG_SETTLING, BASE)),
        (Absent(), True, Held(Reason.TAG_LOST, None, BASE)),
        (Present(BASE), False, Take(BASE, How.RETAGGED, True)),
        (Present(BUILT, ACCEPTED), False, Held(Reason.TAG_CONFLICT, BUILT, BASE)),
    ],
)
def test_an_own_write_that_no_read_has_shown_is_never_repeated(
    state: TagState | None, overdue: bool, expected: Judgement
) -> None:
    found = judged(
        RetagFrom(BASE),
        recorded={(ORDERS, A): Recorded(BASE, How.RETAGGED, proven=True, settled=False)},
        tags={} if state is None else {(ORDERS, A): state},
        overdue=frozenset({(ORDERS, A)}) if overdue else frozenset(),
    )
    same(found, expected)


@pytest.mark.parametrize(
    ("how", "state", "expected"),
    [
        (How.RETAGGED, Unknown("-"), Recorded(BASE, How.RETAGGED)),
        (How.RETAGGED, Present(BASE), Recorded(BASE, How.RETAGGED)),
        (How.RETAGGED, Absent(), Held(Reason.TAG_LOST, None, BASE)),
        (How.RETAGGED, Present(BUILT, ACCEPTED), Held(Reason.TAG_CONFLICT, BUILT, BASE)),
        (How.BUILT, Present(BUILT, ACCEPTED), Take(BUILT, How.BUILT, True, BASE)),
        (How.BUILT, Present(BUILT, REFUSED), Held(Reason.TAG_CONFLICT, BUILT, BASE)),
        (How.BUILT, Present(BUILT, UNCHECKED), Held(Reason.TAG_CONFLICT, BUILT, BASE)),
        (How.BUILT, Present(BUILT), Held(Reason.TAG_CONFLICT, BUILT, BASE)),
    ],
)
def test_a_settled_record_that_the_sweep_finds_otherwise(how: How, state: TagState, expected: Judgement) -> None:
    wanted = RetagFrom(BASE) if how is How.RETAGGED else AwaitBuild()
    same(judged(wanted, recorded={(ORDERS, A): Recorded(BASE, how)}, swept={(ORDERS, A): state}), expected)


def test_a_quarantined_head_is_neither_filled_nor_adopted_and_what_was_found_stays_shown() -> None:
    breach = Breach(BILLING, BASE, None)
    for state in (Absent(), Present(BASE, ACCEPTED)):
        same(judged(RetagFrom(BASE), tags={(ORDERS, A): state}, quarantined={A: (breach,)}), Held(Reason.QUARANTINED))
    found = judged(RetagFrom(BASE), quarantined={A: (Breach(ORDERS, BASE, BUILT),)}, tags={(ORDERS, A): Present(BASE)})
    same(found, Held(Reason.TAG_CONFLICT, BUILT, BASE))


# --- what has to be read


def test_a_new_head_is_compared_with_each_of_its_bases() -> None:
    seen = snapshot(pull_request(1, A), pull_request(2, A, base=RELEASE))
    (head,) = admit(seen).heads
    assert Examiner(seen).changes_needed(head) == ((TIPS[MAIN], MAIN), (TIPS[RELEASE], RELEASE))


def test_a_decided_head_is_compared_again_only_for_another_base_or_a_new_image() -> None:
    both = {A: decision(A, {ORDERS: RetagFrom(BASE), BILLING: AwaitBuild()})}
    one = {A: decision(A, {ORDERS: RetagFrom(BASE)})}
    for decisions, base, needed in ((both, MAIN, ()), (both, RELEASE, (RELEASE,)), (one, MAIN, (MAIN,))):
        seen = snapshot(pull_request(1, A, base=base), decisions=decisions)
        (head,) = admit(seen).heads
        assert Examiner(seen).changes_needed(head) == tuple((TIPS[b], b) for b in needed)


@pytest.mark.parametrize(
    "unread",
    [
        {"bases": {}},
        {"bases": {MAIN: Unknown("-")}},
        {"catalogues": {}},
        {"catalogues": {TIPS[MAIN]: Unknown("-")}},
        {"inventory": Unknown("-")},
    ],
)
def test_nothing_is_compared_or_asked_of_the_registry_while_the_base_cannot_be_read(unread: dict[str, Any]) -> None:
    for decisions in ({}, {A: decision(A, {ORDERS: Unresolved(Reason.BASELINE_UNKNOWN)})}):
        seen = snapshot(pull_request(1, A), decisions=decisions, **unread)
        (head,) = admit(seen).heads
        assert Examiner(seen).changes_needed(head) == ()
        assert Examiner(seen).baselines_needed(head) == ()


def test_baselines_are_read_for_unchanged_images_that_are_not_decided() -> None:
    pinned = {BILLING: AwaitBuild(), ORDERS: Unresolved(Reason.BASELINE_UNKNOWN)}
    for decisions, needed in (
        ({}, (BILLING, ORDERS)),
        ({A: decision(A, pinned)}, (ORDERS,)),
        ({A: decision(A, {**pinned, ORDERS: RetagFrom(BASE)})}, ()),
    ):
        seen = snapshot(pull_request(1, A), decisions=decisions, main={})
        (head,) = admit(seen).heads
        assert Examiner(seen).baselines_needed(head) == needed


@examples(300)
@given(snapshots())
def test_what_a_decision_rests_on_is_among_what_was_asked_for(seen: Snapshot) -> None:
    """An observer that reads only what is asked for gives the planner the same work as one that reads everything."""
    heads = admit(seen).heads
    asked = {(tip, h.commit) for h in heads for tip, _ in Examiner(seen).changes_needed(h)}
    lean = replace(seen, changes={key: record for key, record in seen.changes.items() if key in asked})
    wanted = {h.commit: set(Examiner(lean).baselines_needed(h)) for h in heads}
    every = {r for repositories in wanted.values() for r in repositories}
    lean = replace(
        lean,
        main={r: state for r, state in lean.main.items() if r in every},
        faithful={(r, h): state for (r, h), state in lean.faithful.items() if r in wanted.get(h, ())},
    )
    for head in heads:
        assert Examiner(lean).examine(head) == Examiner(seen).examine(head)


def test_a_policy_of_faithful_baselines_does_not_fall_back_to_main() -> None:
    seen = snapshot(pull_request(1, A))
    work = examined(replace(seen, policy=replace(seen.policy, baseline=BaselinePolicy.FAITHFUL)))
    assert {type(j) for j in work.judgements.values()} == {Held}
    assert {j.reason for j in work.judgements.values() if isinstance(j, Held)} == {Reason.BASELINE_UNKNOWN}


@pytest.mark.parametrize(
    ("main", "reason"), [(Absent(), Reason.BASELINE_MISSING), (Unknown("-"), Reason.BASELINE_UNKNOWN)]
)
def test_an_undecided_image_is_held_for_the_reason_of_now_and_not_for_the_one_that_was_pinned(
    main: Any, reason: Reason
) -> None:
    for before in (Reason.NOT_PREVIEWED, Reason.BASELINE_REFUSED):
        same(judged(Unresolved(before), main={ORDERS: main}), Held(reason))


@examples(300)
@given(snapshots())
def test_no_previewed_image_is_held_for_not_being_previewed(seen: Snapshot) -> None:
    for head in admit(seen).heads:
        judgements = Examiner(seen).examine(head).judgements.values()
        assert Reason.NOT_PREVIEWED not in {j.reason for j in judgements if isinstance(j, Held)}
