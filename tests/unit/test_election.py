"""Who leads: laws of the election over random schedules, and the cases that are feared."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
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
    """True time, one record with compare-and-swap, and candidates whose clocks are set to anything."""

    now_s: float = 0.0
    lease: Lease | None = None
    version: int = 0
    offsets: dict[str, float] = field(default_factory=dict)


@dataclass
class Candidate:
    """A process: it may be paused between any two of its steps, and its requests may be lost either way."""

    world: World
    election: Election
    read: tuple[Lease | None, int] | None = None
    sent_at_s: float = 0.0

    def clock(self) -> float:
        return self.world.now_s + self.world.offsets[self.election.identity]

    def step(self, loses: str) -> None:
        """Its next step: read, then write what it decided on what it read then."""
        if self.read is None:
            if loses != "request":
                self.read = self.world.lease, self.world.version
                self.election.saw(self.world.lease, self.clock())
            return
        (_, version), self.read = self.read, None
        if not self.election.may_take(self.clock()):
            return
        wanted = self.election.wanted(str(self.world.now_s))
        if loses == "request" or version != self.world.version:
            return
        self.world.lease, self.world.version = wanted, self.world.version + 1
        if loses != "answer":
            self.election.won(wanted, self.sent_at_s)

    def acts(self) -> bool:
        return self.election.holds(self.clock())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.0, 0.5, 2.0, 5.0, 9.9, 10.0, 14.9, 15.1, 40.0]),
        st.sampled_from(["", "", "", "request", "answer"]),
    ),
    max_size=60,
)


@given(steps=STEPS, offset_s=st.sampled_from([-1e9, 0.0, 1e9]))
def test_two_never_act_at_the_same_moment(steps: list[tuple[str, float, str]], offset_s: float) -> None:
    world = World(offsets={"a": 0.0, "b": offset_s})
    both = {name: Candidate(world, Election(name, TIMING)) for name in ("a", "b")}
    for name, wait_s, loses in steps:
        made = both[name]
        # When it is sent is taken before whatever pause comes between that and the server's answer.
        made.sent_at_s = made.clock()
        world.now_s += wait_s
        made.step(loses)
        assert not (both["a"].acts() and both["b"].acts())


@given(steps=STEPS)
def test_whoever_goes_on_trying_leads_once_the_other_has_gone(steps: list[tuple[str, float, str]]) -> None:
    world = World(offsets={"a": 0.0, "b": 0.0})
    both = {name: Candidate(world, Election(name, TIMING)) for name in ("a", "b")}
    for name, wait_s, loses in steps:
        both[name].sent_at_s = both[name].clock()
        world.now_s += wait_s
        both[name].step(loses)
    last = both["b"]
    for _ in range(40):
        world.now_s += TIMING.retry_period_s / 2
        last.sent_at_s = last.clock()
        last.step("")
    assert last.acts()
