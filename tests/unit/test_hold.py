"""Reasons are a closed list: each has its remedy, and each is what some snapshot leads to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reconciler.matrix import matrix
from reconciler.planner import plan
from reconciler.pull_request_status import status
from state.decision import RetagFrom
from state.hold import REMEDY, Reason
from state.observed import Absent, Baseline, BaselinePolicy, How, Listing, Mode, Present, Recorded, Snapshot, Unknown
from state.quarantine import Breach
from tests.unit.strategies import (
    ACCEPTED,
    BASELINES,
    BILLING,
    BUILT,
    COMPONENTS,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    REFUSED,
    RELEASE,
    TIPS,
    change_record,
    decision,
    digest,
    inventory,
    pull_request,
    snapshot,
)

A, B = HEADS
OURS = pull_request(1, A)
CHANGED = {(TIPS[MAIN], A): change_record(TIPS[MAIN], A, {ORDERS: True, BILLING: True})}
UNCHANGED = dict.fromkeys((BILLING, ORDERS), RetagFrom(BASELINES[0]))
UNSETTLED = {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED, settled=False)}
MISMATCH = {
    (TIPS[MAIN], A): change_record(TIPS[MAIN], A, {ORDERS: False, BILLING: False}),
    (TIPS[RELEASE], A): change_record(TIPS[RELEASE], A, {ORDERS: True, BILLING: False}),
}


def ours(**changed: Any) -> Snapshot:
    return snapshot(OURS, **changed)


def ruled(**changed: Any) -> Snapshot:
    return replace(ours(), policy=replace(ours().policy, **changed))


def found(state: Any) -> dict[Any, Any]:
    return {(ORDERS, A): state, (BILLING, A): Absent()}


PRODUCED: Mapping[Reason, Snapshot] = {
    Reason.SUSPENDED: ours(suspended=True),
    Reason.FORK_NOT_ADMITTED: snapshot(OURS._replace(head_repository_id=FORK)),
    Reason.AUTHOR_OUTSIDE: ruled(members=(8,)),
    Reason.DRAFT: replace(snapshot(OURS._replace(draft=True)), policy=replace(snapshot(OURS).policy, drafts=False)),
    Reason.LABEL_MISSING: ruled(labels=("preview",)),
    Reason.BASE_NOT_PREVIEWED: ruled(base_branches=(RELEASE,)),
    Reason.HOLD_LABEL: snapshot(OURS._replace(labels=("hold",))),
    Reason.OVER_MAX_HEADS: ruled(max_heads=0),
    Reason.LISTING_INCOMPLETE: snapshot(listing=Listing(False, (OURS,))),
    Reason.CATALOGUE_INVALID: ours(catalogues={TIPS[MAIN]: Unknown("-")}),
    Reason.INVENTORY_UNKNOWN: ours(inventory=Unknown("-")),
    Reason.CHANGED_PATHS_UNKNOWN: ours(changes={}),
    Reason.DECISION_MISMATCH: snapshot(
        OURS._replace(base=RELEASE), decisions={A: decision(A, UNCHANGED)}, changes=MISMATCH
    ),
    Reason.COMPONENT_UNKNOWN: ours(inventory=inventory([*COMPONENTS, "zebra"])),
    Reason.BASELINE_MISSING: ours(main={ORDERS: Absent(), BILLING: Absent()}),
    Reason.BASELINE_UNKNOWN: ours(main={ORDERS: Unknown("-")}),
    Reason.BASELINE_REFUSED: ours(main={ORDERS: Baseline(BASELINES[0], REFUSED)}),
    Reason.NO_FAITHFUL_BASELINE: replace(ruled(baseline=BaselinePolicy.FAITHFUL), faithful={(ORDERS, A): Absent()}),
    Reason.AWAITS_BUILD: ours(changes=CHANGED),
    Reason.NOT_YET_READ: ours(tags={}),
    Reason.TAG_UNKNOWN: ours(tags=found(Unknown("-"))),
    Reason.TAG_CONFLICT: ours(
        decisions={A: decision(A, UNCHANGED)}, recorded=UNSETTLED, tags=found(Present(BUILT, ACCEPTED))
    ),
    Reason.TAG_SETTLING: ours(decisions={A: decision(A, UNCHANGED)}, recorded=UNSETTLED),
    Reason.TAG_LOST: ours(
        decisions={A: decision(A, UNCHANGED)},
        recorded=UNSETTLED,
        tags=found(Absent()),
        overdue=frozenset({(ORDERS, A)}),
    ),
    Reason.QUARANTINED: ours(quarantined={A: (Breach(BILLING, digest("was"), None),)}),
    Reason.FOUND_UNPROVEN: ours(tags=found(Present(BUILT))),
    Reason.BUILD_REFUSED: ours(changes=CHANGED, tags=found(Present(BUILT, REFUSED))),
    Reason.RELEASE_UNPROVEN: replace(
        ruled(release_sets=ORDERS),
        decisions={A: decision(A, UNCHANGED)},
        recorded={(image, A): Recorded(BASELINES[0], How.RETAGGED) for image in UNCHANGED},
        proofs={(ORDERS, A): ACCEPTED, (BILLING, A): REFUSED},
    ),
    Reason.RELEASE_REFUSED: replace(
        ruled(release_sets=ORDERS),
        decisions={A: decision(A, UNCHANGED)},
        recorded={(image, A): Recorded(BASELINES[0], How.RETAGGED) for image in UNCHANGED},
        unreleasable=frozenset({A}),
    ),
    Reason.OBSERVE_MODE: ours(mode=Mode.OBSERVE),
    Reason.BACKING_OFF: ours(backing_off=frozenset({A})),
    Reason.WRITE_BUDGET_SPENT: ours(writes_left=0),
}
NEVER_A_HOLD = {
    Reason.NOT_PREVIEWED,  # why an image is left undecided; no hold, since nothing asks for it
}


def test_every_reason_has_one_remedy_and_every_remedy_a_reason() -> None:
    assert REMEDY.keys() == set(Reason)
    assert all(text and text == text.strip() for text in REMEDY.values())
    assert len(set(Reason)) == len({reason.value for reason in Reason})


def test_every_reason_is_produced_by_one_of_the_snapshots_here() -> None:
    assert PRODUCED.keys() | NEVER_A_HOLD == set(Reason)
    assert not PRODUCED.keys() & NEVER_A_HOLD


@pytest.mark.parametrize("reason", PRODUCED)
def test_a_snapshot_leads_to_its_reason(reason: Reason) -> None:
    holds = {hold.reason for hold in plan(PRODUCED[reason]).holds}
    assert reason in holds


@pytest.mark.parametrize("reason", PRODUCED)
def test_every_hold_is_in_the_matrix_and_on_the_status_of_its_head_with_its_remedy(reason: Reason) -> None:
    seen = PRODUCED[reason]
    heads = matrix(seen).heads
    assert reason.value in {r for head in heads for rows in head.rows for r in rows.reasons}
    (text,) = {status(head.told.cells)[1] for head in heads if reason.value in head.told.reasons}
    assert f"- `{reason.value}`: {REMEDY[reason]}" in text
    assert reason.value in text.split("\n\n")[1]


def test_an_image_that_nothing_previews_is_decided_as_such_and_neither_held_nor_written() -> None:
    made = plan(ours(inventory=inventory(["orders"])))
    pinned = made.actions[0]
    assert pinned.decision.images[BILLING].reason is Reason.NOT_PREVIEWED  # type: ignore[union-attr]
    assert made.holds == ()
    assert all(action.repository == ORDERS for action in made.actions[1:])  # type: ignore[union-attr]


def test_what_the_registry_did_not_say_sends_an_operator_to_the_doctor() -> None:
    for reason in (Reason.BASELINE_UNKNOWN, Reason.TAG_UNKNOWN):
        assert "check the repository's name and the credential: `ameide doctor`" in REMEDY[reason]
