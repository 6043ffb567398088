"""The texts that the log keeps for ever: a change here is a change of format, and must be meant."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.planner import plan
from state import canonical
from state.decision import AwaitBuild, RetagFrom, Unresolved
from state.entry import Entry, Kind, decode
from state.history import History
from state.hold import Reason
from state.observed import Absent, How, Present, Recorded, Snapshot, Unknown
from state.parts import blob_id, join, split
from state.plan import EndHead, PinDecision, ResolveDecision
from state.writes import Result, Write
from tests.unit.strategies import (
    ACCEPTED,
    BASELINES,
    BILLING,
    BUILT,
    COMPONENTS,
    ENDED,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    RELEASE,
    TIPS,
    Ledger,
    change_record,
    commit,
    decision,
    inventory,
    ledger_of,
    outcome_row,
    pull_request,
    snapshot,
)

Compare = Callable[[str, bytes], None]
A, B = HEADS
WRITE = Write(ORDERS, A, BASELINES[0], (1, 2), proven=True)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
PINNED = decision(
    A,
    {BILLING: Unresolved(Reason.BASELINE_UNKNOWN), ORDERS: RetagFrom(BASELINES[0], main=BASELINES[1])},
    bases=(MAIN, RELEASE),
    numbers=(1, 2),
)


def everything() -> Snapshot:
    """A snapshot that leads to every action and to holds of a head and of an image."""
    return snapshot(
        pull_request(1, A, labels=("größe",)),
        pull_request(2, B, base=RELEASE),
        pull_request(3, commit("c"), head_repository_id=FORK),
        inventory=inventory([*COMPONENTS, "zebra"]),
        decisions={
            A: decision(A, {BILLING: Unresolved(Reason.BASELINE_MISSING), ORDERS: AwaitBuild()}),
            ENDED: decision(ENDED, {ORDERS: RetagFrom(BASELINES[0])}, numbers=(4, 5)),
        },
        changes={
            (TIPS[RELEASE], B): change_record(TIPS[RELEASE], B, {BILLING: False, ORDERS: True}, moved=[BILLING]),
            (TIPS[MAIN], B): Unknown("not kept"),
        },
        tags={(BILLING, A): Absent(), (ORDERS, A): Present(BUILT, ACCEPTED), (BILLING, B): Absent()},
        recorded={(ORDERS, ENDED): Recorded(BASELINES[0], How.RETAGGED, proven=True)},
        admitted_forks=frozenset({(FORK, 9, A)}),
        backing_off=frozenset({commit("c")}),
        overdue=frozenset({(ORDERS, B)}),
    )


def ended_history() -> History:
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    log.append(Kind.OUTCOME, {"intent": None, "writes": [outcome_row(WRITE, Result.WRITTEN)]})
    return log.history()


BODIES: Mapping[Kind, Mapping[str, Any]] = {
    Kind.GENESIS: {"key": KEY, "repository_id": 4711, "role": "reconciler"},
    Kind.EPOCH: {"orphan": commit("f"), "writer": "test"},
    Kind.KEY: {"key": KEY},
    Kind.CONFIG: {"digest": BUILT},
    Kind.OBSERVATION: {"holds": BUILT, "pass": "00ff", "plan": BUILT, "planner_version": 1, "removed": ["pr.7"]},
    Kind.DECISION: PINNED.to_json(),
    Kind.INTENT: {"writes": [WRITE.to_json()]},
    Kind.OUTCOME: {"intent": commit("d"), "writes": [outcome_row(WRITE, Result.WRITTEN, How.RETAGGED, settled=False)]},
    Kind.PLAN: {"head": A, "pull_requests": [1]},
    Kind.MARKER: {"text": 'quotes " and \\ and ü and \u2028 and \x7f'},
    Kind.REVOCATION: {},
    Kind.QUARANTINE: {"head": A, "pull_requests": [1, 2, 3, 4, 5, 6]},
    Kind.TOMBSTONE: ended_history().tombstone(A, (1, 2)),
    Kind.ANCHOR: {"list": [None, True, -1, 2**53 - 1]},
}


def test_there_is_a_golden_entry_of_every_kind() -> None:
    assert BODIES.keys() == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_an_entry_is_written_as_it_always_was(kind: Kind, golden: Compare) -> None:
    blobs = {"pr.1": "e" * 40} if kind is Kind.OBSERVATION else {}
    entry = Entry(kind, 7, 2, "test", "2026-01-31T23:59:59Z", BODIES[kind], blobs)
    golden(f"entries/{kind.value}.txt", entry.encode())
    assert decode(entry.encode()) == entry


def test_the_end_of_a_year_is_written_as_it_always_was(golden: Compare) -> None:
    entry = Entry(Kind.ANCHOR, 7, 2, "test", "2027-01-01T00:00:03Z", {"closes": 2026})
    golden("entries/anchor-closes.txt", entry.encode())
    epoch = Entry(Kind.EPOCH, 7, 3, "test", "2027-01-01T00:00:03Z", {"closes": 2026, "orphan": None, "writer": "test"})
    golden("entries/epoch-closes.txt", epoch.encode())


def test_a_resolution_is_written_as_it_always_was(golden: Compare) -> None:
    records = (change_record(TIPS[RELEASE], A, {BILLING: False}),)
    body = ResolveDecision(A, (1, 2), {BILLING: RetagFrom(BASELINES[1])}, records).to_json()
    golden("entries/decision-resolved.txt", Entry(Kind.DECISION, 8, 2, "test", "2026-01-31T23:59:59Z", body).encode())


def test_a_plan_is_written_as_it_always_was(golden: Compare) -> None:
    made = plan(everything())
    kinds = {type(action).__name__ for action in made.actions}
    assert kinds == {"PinDecision", "ResolveDecision", "Retag", "Adopt", "EndHead"}
    assert {hold.repository is None for hold in made.holds} == {True, False}
    golden("plan.json", _readable(made.to_json()))
    golden("plan.digest", made.digest().encode() + b"\n")


def test_a_decision_is_written_as_it_always_was(golden: Compare) -> None:
    (pinned,) = [a.decision for a in plan(everything()).actions if isinstance(a, PinDecision)]
    golden("decision.json", _readable(pinned.to_json()))


def test_a_snapshot_is_written_as_it_always_was(golden: Compare) -> None:
    seen = everything()
    made = split(seen)
    golden("parts.json", _readable({name: json.loads(raw) for name, raw in made.items()}))
    golden("parts.ids", "".join(f"{blob_id(raw)} {name}\n" for name, raw in sorted(made.items())).encode())


def test_the_golden_snapshot_still_gives_the_golden_plan(golden: Compare) -> None:
    recorded = json.loads((Path(__file__).parent / "parts.json").read_bytes())
    parts = {name: canonical.dumps(value) for name, value in recorded.items()}
    made = plan(join(parts, ledger_of(everything()).history()))
    assert any(isinstance(action, EndHead) for action in made.actions)
    golden("plan.digest", made.digest().encode() + b"\n")


def _readable(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
