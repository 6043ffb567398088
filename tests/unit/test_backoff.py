"""Pauses grow, are drawn from their upper half, and are forgotten on success."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.backoff import FIRST_S, MAX_S, Backoff


class Hands:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at_s, UTC)

    def monotonic_s(self) -> float:
        return self.at_s


class Die:
    """Chance that always falls at one place of its range: 0 is the low end, 1 the high end."""

    def __init__(self, place: float) -> None:
        self.place = place

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.place

    def token(self) -> str:
        return "0" * 16


def backoff(place: float = 1.0) -> tuple[Backoff[str], Hands]:
    clock = Hands()
    return Backoff(clock, Die(place)), clock


def test_pauses_double_up_to_the_longest() -> None:
    made, _ = backoff()
    waits = [made.failed("a") for _ in range(10)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, MAX_S, MAX_S]


@given(st.floats(0, 1), st.integers(1, 12))
def test_a_pause_is_drawn_from_its_upper_half(place: float, failures: int) -> None:
    made, _ = backoff(place)
    for _ in range(failures):
        wait = made.failed("a")
    pause = min(MAX_S, FIRST_S * 2 ** (failures - 1))
    assert pause / 2 <= wait <= pause


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0.5, 2.0), (2.0, 2.0), (7.5, 7.5), (3600.0, 3600.0)])
def test_what_the_server_asks_for_is_the_least(asked_s: float, wait_s: float) -> None:
    made, _ = backoff()
    assert made.failed("a", asked_s) == wait_s


def test_a_key_waits_until_its_pause_is_over_and_no_longer() -> None:
    made, clock = backoff()
    made.failed("a")
    assert made.waiting() == {"a"}
    assert made.next_s() == FIRST_S
    clock.at_s += 1.5
    assert made.next_s() == 0.5
    clock.at_s += 0.5
    assert made.waiting() == frozenset()
    assert made.next_s() is None


def test_a_pause_that_is_over_is_not_forgotten_before_a_success() -> None:
    made, clock = backoff()
    made.failed("a")
    clock.at_s += 1000
    assert made.failed("a") == 4.0
    made.succeeded("a")
    assert made.waiting() == frozenset()
    assert made.failed("a") == 2.0


def test_keys_wait_apart_and_the_first_to_end_is_told() -> None:
    made, _ = backoff()
    made.failed("a")
    made.failed("a")
    made.failed("b")
    assert made.waiting() == {"a", "b"}
    assert made.next_s() == 2.0


def test_only_the_keys_that_are_kept_are_remembered() -> None:
    made, _ = backoff()
    for key in ("a", "b", "c"):
        made.failed(key)
    made.keep(frozenset({"b", "z"}))
    assert made.waiting() == {"b"}
    assert made.failed("a") == 2.0
    assert made.failed("b") == 4.0


def test_a_success_without_a_failure_is_nothing() -> None:
    made, _ = backoff()
    made.succeeded("a")
    assert made.next_s() is None
