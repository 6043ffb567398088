"""The matrix: one row per pull request, one column per component, filtered and cut into pages (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from reconciler.matrix import DONE, Cell, State
from reconciler.web.status.params import Params
from state.canonical import Json
from state.git import CommitId
from state.hold import REMEDY, Reason
from state.oci import Digest

ROWS_PER_PAGE: Final = 50
PARAMETERS: Final = ("reason", "component", "pr", "q", "page")
WIDE_COLUMNS: Final = 10
"""With more columns than this a cell is a sign without its word, and headings stand upright."""


class Row(NamedTuple):
    """One pull request. Of `whole` and `cells` one is empty."""

    pr: int
    head: CommitId
    cells: Mapping[str, Cell]
    """By component."""
    whole: Cell | None
    """Where the pull request is held, or not previewed, as a whole."""
    release: Digest | None
    release_holds: tuple[Cell, ...]
    """Why it has no release set, although every image is there."""
    states: frozenset[State]
    reasons: frozenset[str]
    """Of all its cells, so that a search passes by the rows without a match."""

    @property
    def ready(self) -> int:
        return sum(cell.state in DONE for cell in self.cells.values())

    def every(self) -> Iterator[Cell]:
        """All cells of it."""
        if self.whole is not None:
            yield self.whole
        yield from self.cells.values()
        yield from self.release_holds


class Index(NamedTuple):
    """The cells of one pass, sorted out. Newest pull requests first."""

    rows: tuple[Row, ...]
    by_number: Mapping[int, Row]
    components: tuple[str, ...]
    states: Mapping[State, int]
    reasons: Mapping[str, int]
    """Of the cells that ask for something."""

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Index:
        found: dict[int, list[Cell]] = {}
        for cell in cells:
            found.setdefault(cell.pr, []).append(cell)
        rows = tuple(_row(number, found[number]) for number in sorted(found, reverse=True))
        every = [cell for row in rows for cell in row.every()]
        return cls(
            rows,
            {row.pr: row for row in rows},
            tuple(sorted({name for row in rows for name in row.cells})),
            Counter(cell.state for cell in every),
            Counter(cell.reason for cell in every if cell.state not in DONE),
        )

    def whole_summary(self) -> str:
        """One line for a person who cannot see the matrix, or only hears that it changed."""
        held, waiting = self.states.get(State.HELD, 0), self.states.get(State.WAITING, 0)
        done = sum(self.states.get(state, 0) for state in (State.RETAGGED, State.BUILT))
        total = sum(self.states.values()) - self.states.get(State.NOT_PREVIEWED, 0)
        pulls = f"{len(self.rows)} open pull request{'' if len(self.rows) == 1 else 's'}"
        return f"{pulls}: {done} of {total} images ready, {waiting} waiting for CI, {held} held"


class Filters(NamedTuple):
    """Which cells are looked for; None and empty mean any."""

    states: tuple[State, ...] = ()
    reason: str | None = None
    component: str | None = None
    pr: int | None = None
    text: str | None = None
    """In its case-folded form."""

    @classmethod
    def of(cls, params: Params) -> Filters:
        """Raises BadParameter."""
        text = params.text("q")
        reason = params.choice("reason", [r.value for r in Reason])
        states = tuple(State(value) for value in params.choices("state", [s.value for s in State]))
        return cls(states, reason, params.text("component"), params.number("pr"), text and text.casefold())

    def may_match(self, row: Row) -> bool:
        """False only if no cell of the row matches."""
        if self.states and row.states.isdisjoint(self.states):
            return False
        if self.component is not None and self.component not in row.cells:
            return False
        return self.reason is None or self.reason in row.reasons

    def match(self, cell: Cell) -> bool:
        if self.states and cell.state not in self.states:
            return False
        if self.reason is not None and cell.reason != self.reason:
            return False
        if self.component is not None and cell.component != self.component:
            return False
        return self.text is None or _speaks_of(cell, self.text)


class Found(NamedTuple):
    """One page of what was looked for."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    """The components with a match; all of them where nothing was asked for."""
    matched: frozenset[Cell] | None
    """The cells of these rows that match; None where all do."""
    total: int
    """Pull requests with a match."""
    page: int
    pages: int
    reasons: tuple[tuple[str, int, str | None], ...]
    """(reason, cells on this page, remedy) of those that match and ask for something, most frequent first."""

    @property
    def drifts(self) -> bool:
        """Whether a cell of the page was retagged from a `:main` that has moved on."""
        return any(cell.drift for row in self.rows for cell in row.cells.values())

    @property
    def wide(self) -> bool:
        return len(self.columns) > WIDE_COLUMNS


def find(index: Index, filters: Filters, page: int) -> Found:
    """The matching rows of a page; of a page behind the last one, the last one."""
    rows = index.rows
    if filters.pr is not None:
        row = index.by_number.get(filters.pr)
        rows = () if row is None else (row,)
    narrowed = filters._replace(pr=None) != Filters()
    matches: dict[int, list[Cell]] = {}
    if narrowed:
        possible = (row for row in rows if filters.may_match(row))
        matches = {row.pr: cells for row in possible if (cells := [c for c in row.every() if filters.match(c)])}
        rows = tuple(row for row in rows if row.pr in matches)
        named = {c.component for cells in matches.values() for c in cells}
        columns = tuple(name for name in index.components if name in named)
    else:
        columns = index.components
    pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    page = min(page, pages)
    here = rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE]
    cells = [c for row in here for c in (matches[row.pr] if narrowed else row.every())]
    counted = Counter(c.reason for c in cells if c.state not in DONE)
    reasons = tuple((reason, count, remedy_of(reason)) for reason, count in counted.most_common())
    return Found(here, columns, frozenset(cells) if narrowed else None, len(rows), page, pages, reasons)


def to_json(found: Found, index: Index) -> dict[str, Json]:
    """The matching cells of the page, and the counts of the whole matrix."""
    cells = [c for row in found.rows for c in row.every() if found.matched is None or c in found.matched]
    return {
        "cells": [c.to_json() for c in cells],
        "page": found.page,
        "pages": found.pages,
        "pull_requests": found.total,
        "states": {state.value: index.states.get(state, 0) for state in State},
    }


def remedy_of(reason: str) -> str | None:
    """What a person can do about it; None where it is no hold."""
    return REMEDY[Reason(reason)] if reason in _REASONS else None


_REASONS: Final = frozenset(r.value for r in Reason)


def _row(number: int, cells: list[Cell]) -> Row:
    of_set = tuple(c for c in cells if c.of_release_set)
    whole = next((c for c in cells if c.component is None and not c.of_release_set), None)
    # Where catalogue or inventory cannot be read, the matrix has the path of the image repository for the component.
    named = {c.component: c for c in cells if c.component is not None}
    release = next((c.release for c in cells if c.release is not None), None)
    states, reasons = frozenset(c.state for c in cells), frozenset(c.reason for c in cells)
    return Row(number, cells[0].head, named, whole, release, of_set, states, reasons)


def _speaks_of(cell: Cell, text: str) -> bool:
    if text in cell.reason or text in cell.head or (cell.component is not None and text in cell.component.casefold()):
        return True
    parts = (cell.image, cell.digest, cell.recorded)
    return any(part is not None and text in part for part in parts) or text in cell.detail.casefold()
