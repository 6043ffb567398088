"""Who leads: laws of the election over random schedules, and the cases that are feared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.election import DURATION_MAX_S, Election, Lease, Timing

TIMING = Timing(lease_duration_s=15, renew_deadline_s=10, retry_period_s=2)
FAR = "2100-01-01T00:00:00.000000Z"
PAST = "1970-01-01T00:00:00.000000Z"


def record(holder: str = "other", duration_s: int = 15, renewed_at: str = PAST) -> Lease:
    return Lease(holder, duration_s, PAST, renewed_at, 0)


def candidate(identity: str = "me") -> Election:
    return Election(identity, TIMING)


def test_a_record_is_taken_only_after_its_whole_duration_unchanged_as_seen_from_here() -> None:
    made = candidate()
    made.saw(record(), 1000)
    assert not made.may_take(1015)
    made.saw(record(), 1015)
    assert made.may_take(1015.1)
    made.saw(record(renewed_at=FAR), 1015.2)
    assert not made.may_take(1030)


@pytest.mark.parametrize("renewed_at", [PAST, FAR, "", "not a time"])
def test_times_in_the_record_decide_nothing(renewed_at: str) -> None:
    made = candidate()
    made.saw(record(renewed_at=renewed_at), 0)
    assert [made.may_take(t) for t in (0, 15, 15.1)] == [False, False, True]


def test_a_record_that_claims_a_longer_life_is_believed_up_to_a_bound() -> None:
    made = candidate()
    made.saw(record(duration_s=60), 0)
    assert [made.may_take(t) for t in (16, 60, 61)] == [False, False, True]
    made.saw(record(duration_s=10**9), 100)
    assert [made.may_take(t) for t in (100 + DURATION_MAX_S, 101 + DURATION_MAX_S)] == [False, True]


def test_nobodys_and_ones_own_record_is_taken_at_once() -> None:
    made = candidate()
    for lease in (None, record(holder=""), record(holder="me")):
        made.saw(lease, 0)
        assert made.may_take(0)


def test_a_change_of_holder_is_counted_and_a_renewal_is_not() -> None:
    made = candidate()
    made.saw(record()._replace(transitions=6), 0)
    won = made.wanted(FAR)
    assert won == Lease("me", 15, FAR, FAR, 7)
    made.won(won, 20)
    assert made.wanted(PAST) == won._replace(renewed_at=PAST)


def test_the_right_to_act_ends_with_the_deadline_counted_from_before_the_request() -> None:
    made = candidate()
    assert not made.holds(0)
    made.won(made.wanted(FAR), 100)
    assert [made.holds(t) for t in (100, 109.9, 110)] == [True, True, False]
    made.ended()
    assert not made.holds(101)


# --- two candidates and one record, under any schedule


@dataclass
class World:
    """True time and one record with compare-and-swap."""

    now_s: float = 0.0
    lease: Lease | None = None
    version: int = 0


class Try(NamedTuple):
    """One try of a candidate: after a wait it reads; after a pause, in which the other may have a try, it writes."""

    name: str
    wait_s: float
    pause_s: float = 0.0
    between: bool = False
    loses: str = ""
    """Its write: the `request`, or the `answer` to it."""


class Candidates:
    """Two processes, each with a clock that is set to anything. After every step at most one of them may act."""

    def __init__(self, offset_s: float) -> None:
        self.world = World()
        self.elections = {name: Election(name, TIMING) for name in ("a", "b")}
        self._offsets = {"a": 0.0, "b": offset_s}

    def clock(self, name: str) -> float:
        return self.world.now_s + self._offsets[name]

    def acting(self) -> list[str]:
        return [name for name, election in self.elections.items() if election.holds(self.clock(name))]

    def passes(self, seconds: float) -> None:
        self.world.now_s += seconds
        assert len(self.acting()) <= 1

    def tries(self, one: Try) -> None:
        world, election = self.world, self.elections[one.name]
        self.passes(one.wait_s)
        version = world.version
        election.saw(world.lease, self.clock(one.name))
        if not election.may_take(self.clock(one.name)):
            return
        wanted, sent_at_s = election.wanted(str(world.now_s)), self.clock(one.name)
        if one.between:
            self.tries(Try("b" if one.name == "a" else "a", one.pause_s))
        self.passes(one.pause_s)
        if one.loses == "request" or version != world.version:
            return
        world.lease, world.version = wanted, world.version + 1
        if one.loses != "answer":
            election.won(wanted, sent_at_s)
        self.passes(0)


TRIES = st.lists(
    st.builds(
        Try,
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.0, 0.0, 2.0, 5.0, 9.9, 15.1, 40.0]),
        st.sampled_from([0.0, 0.0, 0.0, 2.0, 12.0, 40.0]),
        st.booleans(),
        st.sampled_from(["", "", "", "request", "answer"]),
    ),
    max_size=30,
)


@given(tries=TRIES, offset_s=st.sampled_from([-1e6, 0.0, 1e6]))
@example(tries=[Try("a", 0), Try("b", 0), Try("b", 15.1)], offset_s=0.0)
@example(tries=[Try("a", 0), Try("b", 0), Try("a", 9.9), Try("b", 5.2), Try("b", 0)], offset_s=1e6)
@example(tries=[Try("a", 0, pause_s=12), Try("b", 0), Try("b", 15.1)], offset_s=0.0)
@example(tries=[Try("a", 0), Try("b", 0), Try("b", 15.1, pause_s=40, between=True), Try("a", 0)], offset_s=0.0)
def test_two_never_act_at_the_same_moment(tries: list[Try], offset_s: float) -> None:
    both = Candidates(offset_s)
    for one in tries:
        both.tries(one)


@given(tries=TRIES)
def test_whoever_goes_on_trying_leads_once_the_other_has_gone(tries: list[Try]) -> None:
    both = Candidates(0.0)
    for one in tries:
        both.tries(one)
    for _ in range(10):
        both.tries(Try("b", TIMING.retry_period_s))
    assert both.acting() == ["b"]
