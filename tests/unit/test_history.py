"""The fold of the log: what entries add up to, and how an ended head is taken up again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.decision import AwaitBuild, Decision, RetagFrom, Unresolved
from state.entry import Entry, Kind, decode
from state.errors import IntegrityError, InvalidValue
from state.git import CommitId
from state.history import History, Trace
from state.hold import Reason
from state.observed import How, Recorded, Snapshot
from state.plan import ResolveDecision
from state.writes import Result, Write
from tests.thorough import examples
from tests.unit.strategies import (
    BASELINES,
    BILLING,
    BUILT,
    HEADS,
    ORDERS,
    START,
    Ledger,
    decision,
    ledger_of,
    outcome_row,
    snapshots,
)

A, B = HEADS
many = examples(150)
PINNED = decision(A, {BILLING: Unresolved(Reason.BASELINE_UNKNOWN), ORDERS: RetagFrom(BASELINES[0])})
RESOLUTION = ResolveDecision(A, (1,), {BILLING: RetagFrom(BASELINES[1])}).to_json()


def observation(*revived: object) -> dict[str, object]:
    """The body of an observation that saw nothing."""
    body: dict[str, object] = {"holds": BUILT, "removed": []}
    return {**body, "revived": list(revived)} if revived else body


@many
@given(snapshots())
def test_decisions_and_records_come_back_from_their_entries(seen: Snapshot) -> None:
    made = ledger_of(seen).history()
    assert made.decisions == seen.decisions
    assert made.recorded == seen.recorded
    assert made.written_at.keys() == {cell for cell, done in seen.recorded.items() if not done.settled}


@many
@given(snapshots())
def test_every_entry_survives_its_own_encoding(seen: Snapshot) -> None:
    for _, entry in ledger_of(seen).entries:
        assert decode(entry.encode()) == entry


@many
@given(snapshots(), st.sampled_from(HEADS))
def test_a_head_that_ended_and_came_back_has_its_decision_and_records_again_to_be_seen(
    seen: Snapshot, head: CommitId
) -> None:
    log = ledger_of(seen)
    made = log.history()
    log.append(Kind.TOMBSTONE, made.tombstone(head, (1,)))
    entry_id, entry = log.entries[-1]
    made.apply(entry_id, entry)
    assert made.ended == {head: entry_id}
    assert head not in made.decisions
    assert not any(h == head for _, h in (*made.recorded, *made.written_at))
    made.revive(head, log.read)
    assert made.decisions == seen.decisions
    # Custody had ended meanwhile, so each of its tags has to be seen again before it counts as settled.
    back = {cell: done._replace(settled=done.settled and cell[1] != head) for cell, done in seen.recorded.items()}
    assert made.recorded == back
    assert made.written_at.keys() == {cell for cell, done in back.items() if not done.settled}
    assert not made.ended


def ended_and_back() -> tuple[Ledger, History]:
    """A log whose head A was decided, filled, ended, taken up again, and told of in an observation."""
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    row = outcome_row(Write(ORDERS, A, BASELINES[0], (1,), True), Result.WRITTEN)
    log.append(Kind.OUTCOME, {"intent": None, "writes": [row]})
    live = log.history()
    log.append(Kind.TOMBSTONE, live.tombstone(A, (1,)))
    live.apply(*log.entries[-1])
    live.revive(A, log.read)
    log.append(Kind.OBSERVATION, observation(*live.revivals()))
    live.apply(*log.entries[-1])
    assert live.revivals() == []
    return log, live


def test_a_reader_of_the_log_knows_a_head_that_was_taken_up_again_and_resolved_since() -> None:
    log, live = ended_and_back()
    log.append(Kind.DECISION, RESOLUTION)
    live.apply(*log.entries[-1])
    read = log.history()
    assert read.decisions == live.decisions == {A: PINNED.resolved({BILLING: RetagFrom(BASELINES[1])})}
    assert (
        read.recorded
        == live.recorded
        == {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED, proven=True, settled=False)}
    )
    assert read.traces[A].decision == live.traces[A].decision
    assert not read.ended


def test_a_head_is_decided_since_its_first_decision_or_since_it_was_taken_up_again() -> None:
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    log.append(Kind.DECISION, RESOLUTION)
    live = log.history()
    assert live.decided_at == {A: log.entries[0][1].at}
    log.append(Kind.TOMBSTONE, live.tombstone(A, (1,)))
    live.apply(*log.entries[-1])
    assert live.decided_at == {}
    live.revive(A, log.read)
    assert live.decided_at == {A: log.entries[2][1].at}
    log.append(Kind.OBSERVATION, observation(*live.revivals()))
    assert log.history().decided_at == {A: log.entries[3][1].at}


def test_a_second_tombstone_remembers_what_was_resolved_in_between() -> None:
    log, live = ended_and_back()
    log.append(Kind.DECISION, RESOLUTION)
    live.apply(*log.entries[-1])
    log.append(Kind.TOMBSTONE, live.tombstone(A, (1,)))
    read = log.history()
    read.revive(A, log.read)
    assert read.decisions == live.decisions
    assert read.recorded == live.recorded


def test_a_head_stays_ended_when_its_tombstone_cannot_be_read() -> None:
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    log.append(Kind.TOMBSTONE, log.history().tombstone(A, (1,)))

    def broken(entry: CommitId) -> Entry:
        if entry == log.entries[0][0]:
            raise IntegrityError("the entry is gone")
        return log.read(entry)

    made = log.history()
    with pytest.raises(IntegrityError):
        made.revive(A, broken)
    assert A in made.ended
    made.revive(A, log.read)
    assert made.decisions == {A: PINNED}


def test_an_outcome_that_is_known_after_the_end_leaves_nothing_behind() -> None:
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    older = outcome_row(Write(ORDERS, A, BASELINES[0], (1,)), Result.WRITTEN, settled=False)
    log.append(Kind.OUTCOME, {"intent": None, "writes": [older]})
    log.append(Kind.TOMBSTONE, log.history().tombstone(A, (1,)))
    newer = outcome_row(Write(BILLING, A, BASELINES[0], (1,)), Result.WRITTEN)
    log.append(Kind.OUTCOME, {"intent": None, "writes": [newer]})
    made = log.history()
    assert (made.recorded, made.traces, made.written_at) == ({}, {}, {})
    made.revive(A, log.read)
    assert made.recorded == {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED, settled=False)}


def test_a_head_that_came_back_still_tells_which_entries_wrote_its_tags() -> None:
    log, live = ended_and_back()
    decided, written = log.entries[0][0], log.entries[1][0]
    for history in (live, log.history()):
        assert history.traces[A] == Trace((decided,), ((Kind.OUTCOME, written),))


# --- decisions are never changed


@pytest.mark.parametrize(
    "again", [PINNED.to_json(), ResolveDecision(A, (1,), {ORDERS: AwaitBuild()}).to_json()], ids=["pin", "resolve"]
)
def test_what_was_decided_is_not_decided_again(again: dict[str, object]) -> None:
    log = Ledger()
    log.append(Kind.DECISION, PINNED.to_json())
    log.append(Kind.DECISION, again)
    with pytest.raises(InvalidValue, match="decided already"):
        log.history()


def test_a_resolution_counts_once() -> None:
    log = Ledger()
    for body in (PINNED.to_json(), RESOLUTION, RESOLUTION):
        log.append(Kind.DECISION, body)
    with pytest.raises(InvalidValue, match="decided already"):
        log.history()


def test_a_resolution_adds_images_and_comparisons_and_leaves_the_rest() -> None:
    other = decision(A, {BILLING: AwaitBuild()}).changes
    before = decision(A, {ORDERS: RetagFrom(BASELINES[0])})
    after = before.resolved({BILLING: AwaitBuild()}, other)
    assert after.images == {BILLING: AwaitBuild(), ORDERS: RetagFrom(BASELINES[0])}
    assert after.changes == (*before.changes, *other)
    assert replace(after, images=before.images, changes=before.changes) == before


@many
@given(snapshots())
def test_a_decision_reads_back_as_it_was_written(seen: Snapshot) -> None:
    for made in seen.decisions.values():
        assert Decision.from_json(made.to_json()) == made


# --- intents and outcomes


def test_an_intent_is_open_until_its_outcome() -> None:
    log = Ledger()
    writes = (Write(ORDERS, A, BASELINES[0], (1,)), Write(ORDERS, B, BASELINES[0], (2,)))
    intent = log.append(Kind.INTENT, {"writes": [w.to_json() for w in writes]})
    assert log.history().open_intents == {intent: writes}
    rows = [outcome_row(w, Result.WRITTEN) for w in writes]
    outcome = log.append(Kind.OUTCOME, {"intent": intent, "writes": rows})
    made = log.history()
    assert made.open_intents == {}
    assert made.traces[A].writes == ((Kind.INTENT, intent), (Kind.OUTCOME, outcome))


@pytest.mark.parametrize("result", Result)
def test_only_a_written_or_adopted_tag_is_recorded(result: Result) -> None:
    log = Ledger()
    row = outcome_row(Write(ORDERS, A, BASELINES[0], (1,)), result, settled=False)
    log.append(Kind.OUTCOME, {"intent": None, "writes": [row]})
    made = log.history()
    recorded = {
        Result.WRITTEN: {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED, settled=False)},
        Result.ADOPTED: {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED)},
    }
    assert made.recorded == recorded.get(result, {})
    assert made.written_at.keys() == ({(ORDERS, A)} if result is Result.WRITTEN else set())


def test_an_adoption_settles_a_write_that_no_read_had_shown() -> None:
    log = Ledger()
    write = Write(ORDERS, A, BASELINES[0], (1,))
    log.append(Kind.OUTCOME, {"intent": None, "writes": [outcome_row(write, Result.WRITTEN, settled=False)]})
    log.append(Kind.OUTCOME, {"intent": None, "writes": [outcome_row(write, Result.ADOPTED)]})
    made = log.history()
    assert made.recorded[ORDERS, A].settled
    assert made.written_at == {}


# --- the write budget


def intents(*sizes: int, minutes: int = 1) -> History:
    log = Ledger()
    for size in sizes:
        writes = [Write(ORDERS, A, BASELINES[0], (1,)).to_json()] * size
        log.append(Kind.INTENT, {"writes": writes}, after_s=60 * minutes)
    return log.history()


def test_writes_are_counted_from_the_very_second_on() -> None:
    made = intents(1, 20, 300)
    second = timedelta(seconds=1)
    for moment, count in (
        (START - second, 321),
        (START, 321),
        (START + second, 320),
        (START + timedelta(minutes=2), 300),
        (START + timedelta(minutes=2, microseconds=900_000), 300),
        (START + timedelta(minutes=2) + second, 0),
    ):
        assert made.writes_since(moment) == count, moment


def test_a_clock_that_was_set_back_does_not_keep_old_writes_in_the_count() -> None:
    made = intents(1, 20, 300, minutes=-10)
    assert made.writes_since(START - timedelta(minutes=15)) == 21
    assert made.writes_since(START - timedelta(minutes=5)) == 1


# --- observations


def test_observations_add_up_part_by_part() -> None:
    log = Ledger()
    one, two, three = "1" * 40, "2" * 40, "3" * 40
    first = log.append(Kind.OBSERVATION, observation(), {"pr.1": one, "pr.2": two})
    second = log.append(Kind.OBSERVATION, {**observation(), "removed": ["pr.2"]}, {"pr.1": three})
    made = log.history()
    assert made.parts == {"pr.1": three}
    assert made.last_holds == BUILT
    assert made.seen_in[1] == second
    assert first != second


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.DECISION, {}),
        (Kind.DECISION, {**PINNED.to_json(), "images": [{"do": "retag", "repository": ORDERS, "digest": "sha256:"}]}),
        (Kind.DECISION, {**PINNED.to_json(), "images": [{"do": "guess", "repository": ORDERS}]}),
        (Kind.DECISION, {**PINNED.to_json(), "images": [{"do": "unresolved", "repository": ORDERS, "reason": "so"}]}),
        (Kind.INTENT, {"writes": [{}]}),
        (Kind.INTENT, {"writes": None}),
        (Kind.OUTCOME, {"intent": 5, "writes": []}),
        (Kind.OUTCOME, {"intent": "HEAD", "writes": []}),
        (Kind.OUTCOME, {"intent": None, "writes": [Write(ORDERS, A, BUILT, (1,)).to_json()]}),
        (Kind.OUTCOME, {"intent": None, "writes": [{**Write(ORDERS, A, BUILT, (1,)).to_json(), "result": "fine"}]}),
        (Kind.OBSERVATION, {"holds": "", "removed": []}),
        (Kind.OBSERVATION, {"holds": BUILT, "removed": "pr.1"}),
        (Kind.TOMBSTONE, {"head": A[:12]}),
    ],
)
def test_a_body_that_is_not_of_its_kind_is_refused(kind: Kind, body: dict[str, object]) -> None:
    log = Ledger()
    log.append(kind, body)
    with pytest.raises(InvalidValue):
        log.history()
