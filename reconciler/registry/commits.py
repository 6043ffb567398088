"""Group commit: changes that arrive while one write is under way share the next one.

A caller puts its change in the queue and then waits for the write lock. Whoever gets the lock first applies every
queued change to a draft, writes the draft once and publishes it; the others find their change done. A reader sees only
what is durable, and never waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar, cast

from reconciler.registry.errors import WireError


class Copied(Protocol):
    """State that can be changed on a copy."""

    def copy(self) -> Self:
        """A copy whose changes do not show in the original."""


S = TypeVar("S", bound=Copied)
R = TypeVar("R")


class _Ticket(Generic[S]):
    def __init__(self, change: Callable[[S], object]) -> None:
        self.change = change
        self.done = False
        self.value: object = None
        self.refused: WireError | None = None
        self.failed: BaseException | None = None


class GroupCommit(Generic[S]):
    """State with one durable writer and any number of readers."""

    def __init__(self, initial: S, write: Callable[[S], None]) -> None:
        """`write` makes a state durable or raises; `initial` is durable already."""
        self._published = initial
        self._write = write
        self._queue: list[_Ticket[S]] = []
        self._queue_lock = threading.Lock()
        self._write_lock = threading.Lock()

    @property
    def published(self) -> S:
        """The last durable state. Not to be changed."""
        return self._published

    def apply(self, change: Callable[[S], R]) -> R:
        """Change the state; what `change` returns is returned once the change is durable.

        `change` gets a draft that other changes of the same group share: it either raises WireError before it changes
        anything, or it succeeds.

        Raises:
            WireError: what `change` raised; nothing of it is kept.
            OSError: the write failed; none of the group's changes is kept.
        """
        ticket: _Ticket[S] = _Ticket(change)
        with self._queue_lock:
            self._queue.append(ticket)
        with self._write_lock:
            if not ticket.done:
                with self._queue_lock:
                    group, self._queue = self._queue, []
                self._commit(group)
        if ticket.refused is not None:
            raise ticket.refused
        if ticket.failed is not None:
            raise OSError(f"not written: {ticket.failed}") from ticket.failed
        return cast("R", ticket.value)

    def _commit(self, group: list[_Ticket[S]]) -> None:
        try:
            draft = self._published.copy()
            for ticket in group:
                try:
                    ticket.value = ticket.change(draft)
                except WireError as error:
                    ticket.refused = error
            if any(ticket.refused is None for ticket in group):
                self._write(draft)
                self._published = draft
        except BaseException as error:
            for ticket in group:
                ticket.failed = error
            raise
        finally:
            for ticket in group:
                ticket.done = True
