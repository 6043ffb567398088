"""When each recorded tag is read again: once in an interval, those first that have waited longest."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

from state.git import CommitId
from state.history import Cell, History


class _Queued(NamedTuple):
    version: int
    cells: tuple[Cell, ...]


class Sweep:
    """The recorded tags of open heads and when they are due. A pass costs what is due and which heads have changed.

    Args:
        uniform: draws between two numbers, so that reads are spread.
    """

    def __init__(self, history: History, uniform: Callable[[float, float], float]) -> None:
        self._history = history
        self._uniform = uniform
        self._heads: dict[CommitId, _Queued] = {}
        self._due: dict[Cell, float] = {}
        self._queue: list[tuple[float, Cell]] = []
        """A heap; an entry counts if `_due` says the same of its tag."""

    def due(self, heads: Iterable[CommitId], now_s: float, interval_s: float, limit: int | None) -> list[Cell]:
        """The tags of `heads` to read at `now_s` (monotonic), at most `limit`; None for all there are.

        A tag that comes new is due after half an interval to one and a half: a start finds all of them at once.
        """
        self._follow(list(heads), now_s, interval_s)
        if limit is None:
            return [cell for _, cell in sorted((due, cell) for cell, due in self._due.items())]
        taken: list[Cell] = []
        while self._queue and len(taken) < limit and self._queue[0][0] <= now_s:
            due, cell = heapq.heappop(self._queue)
            if self._due.get(cell) == due:
                taken.append(cell)
        return taken

    def read(self, cell: Cell, now_s: float, interval_s: float) -> None:
        """The tag was read, or its read was tried: it is due again after about one interval."""
        self._queue_at(cell, now_s + interval_s * self._uniform(0.9, 1.1))

    def _follow(self, heads: list[CommitId], now_s: float, interval_s: float) -> None:
        for head in self._heads.keys() - set(heads):
            for cell in self._heads.pop(head).cells:
                self._due.pop(cell, None)
        for head in heads:
            version, queued = self._history.versions.get(head, 0), self._heads.get(head)
            if queued is not None and queued.version == version:
                continue
            cells = tuple(cell for cell in self._history.cells_of(head) if self._history.recorded[cell].settled)
            for cell in queued.cells if queued is not None else ():
                if cell not in cells:
                    self._due.pop(cell, None)
            for cell in cells:
                if cell not in self._due:
                    self._queue_at(cell, now_s + interval_s * self._uniform(0.5, 1.5))
            self._heads[head] = _Queued(version, cells)

    def _queue_at(self, cell: Cell, due_s: float) -> None:
        self._due[cell] = due_s
        heapq.heappush(self._queue, (due_s, cell))
