"""When recorded tags are read again."""

from __future__ import annotations

from random import Random

import pytest

from reconciler.sweeping import Sweep
from state.git import CommitId
from state.history import Cell, History
from state.observed import How, Recorded
from tests.unit.strategies import BASELINES, BILLING, HEADS, ORDERS

A, B = HEADS
EVERY_S = 100.0


class Book(History):
    """A history that is told what is recorded."""

    def record(self, *cells: Cell, settled: bool = True) -> None:
        for cell in cells:
            self._remember(cell, Recorded(BASELINES[0], How.RETAGGED, settled=settled))


@pytest.fixture
def book() -> Book:
    made = Book()
    made.record((ORDERS, A), (BILLING, A), (ORDERS, B))
    return made


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def due(sweep: Sweep, now_s: float, *heads: CommitId, limit: int | None = 10) -> list[Cell]:
    return sweep.due(heads or HEADS, now_s, EVERY_S, limit)


def test_a_tag_is_due_after_one_interval_and_again_after_another(book: Book) -> None:
    sweep = Sweep(book, middle)
    assert due(sweep, 0) == []
    assert due(sweep, 99) == []
    assert sorted(due(sweep, 100)) == sorted([(ORDERS, A), (BILLING, A), (ORDERS, B)])
    for cell in ((ORDERS, A), (BILLING, A), (ORDERS, B)):
        sweep.read(cell, 100, EVERY_S)
    assert due(sweep, 199) == []
    assert len(due(sweep, 200)) == 3


def test_those_that_have_waited_longest_come_first_and_no_more_than_the_limit(book: Book) -> None:
    sweep = Sweep(book, Random(1).uniform)
    due(sweep, 0)
    first = due(sweep, 1000, limit=2)
    assert len(first) == 2
    assert len(due(sweep, 1000)) == 1
    for n, cell in enumerate(first):
        sweep.read(cell, 10.0 * n, EVERY_S)
    assert due(sweep, 1000) == first


def test_with_no_limit_every_recorded_tag_is_read(book: Book) -> None:
    book.record((BILLING, B), settled=False)
    assert set(due(Sweep(book, middle), 0, limit=None)) == {(ORDERS, A), (BILLING, A), (ORDERS, B)}


def test_a_head_that_is_gone_is_not_read_and_comes_back_anew(book: Book) -> None:
    sweep = Sweep(book, middle)
    due(sweep, 0)
    assert due(sweep, 100, B) == [(ORDERS, B)]
    assert due(sweep, 150, A) == []
    assert len(due(sweep, 250, A)) == 2


def test_what_changes_of_a_head_is_followed_and_the_rest_keeps_its_turn(book: Book) -> None:
    sweep = Sweep(book, middle)
    due(sweep, 0)
    book.record((BILLING, B))
    book.record((ORDERS, A), settled=False)
    assert sorted(due(sweep, 50)) == []
    assert set(due(sweep, 100)) == {(BILLING, A), (ORDERS, B)}
    assert due(sweep, 150) == [(BILLING, B)]
