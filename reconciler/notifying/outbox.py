"""What one log still has to tell: the log itself is the queue, and a file remembers how far it was told.

So nothing is kept in memory but the piece that is being sent, nothing is lost by a crash, and what is sent twice has
the same id. What is older than `max_age_s` is not told any more: that bounds how much a receiver that comes back, or a
memory that was lost, brings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from reconciler.conditions import VIOLATED, Condition
from reconciler.notifying.memory import Memory, Told
from reconciler.notifying.notices import Notice, NoticeType, of_condition, of_entry
from reconciler.ports import Clock
from state.entry import Logged
from state.errors import IntegrityError
from state.git import CommitId
from state.history import stamp
from state.log_read import LogReader

_ENTRIES_MAX: Final = 10_000
"""Log entries that are looked back at, at most."""
_TOGETHER_MAX: Final = 100
"""Changes of conditions that are remembered by one write."""


class Piece(NamedTuple):
    """Notices that are remembered together: once all of them are done, `told` is true."""

    notices: tuple[Notice, ...]
    told: Told
    expired: int = 0
    """Notices before these that became too old to be told."""


class Standing(NamedTuple):
    """What stood after the newest pass, and the log entry by which it is known."""

    conditions: frozenset[Condition]
    observed_in: CommitId | None


class Outbox:
    """One log's notices. `passed` may be called by any thread, the rest by one.

    Args:
        open_log: the log for reading, opened anew at each use.
        wanted: the types that are told; the others count as told.
    """

    def __init__(
        self,
        open_log: Callable[[], LogReader],
        memory: Memory,
        clock: Clock,
        *,
        wanted: Container[NoticeType],
        max_age_s: int,
        on_lost: Callable[[IntegrityError], None],
    ) -> None:
        self._open_log = open_log
        self._memory = memory
        self._clock = clock
        self._wanted = wanted
        self._max_age_s = max_age_s
        self._lock = threading.Lock()
        self._standing: Standing | None = None
        try:
            self._told = memory.load()
        except IntegrityError as error:
            on_lost(error)
            self._told = Told()

    def passed(self, standing: Standing) -> None:
        """A pass left this; what stood before it, and nobody was told of, is passed over."""
        with self._lock:
            self._standing = standing

    def violated(self) -> None:
        """A pass ended in an integrity error instead; what stood before it stands on."""
        with self._lock:
            if self._standing is not None:
                stood = self._standing.conditions | {VIOLATED}
                self._standing = self._standing._replace(conditions=stood)

    def pieces(self) -> Iterator[Piece]:
        """What is to be told, oldest first. Give each one that is done to `remember` before the next is taken.

        Raises IntegrityError or Terminal if the log cannot be read.
        """
        log = self._open_log()
        yield from self._of_entries(log)
        with self._lock:
            standing = self._standing
        if standing is not None and standing.observed_in is not None:
            yield from self._of_conditions(log, standing, standing.observed_in)

    def remember(self, piece: Piece) -> None:
        """It is done. Raises Unavailable if that cannot be written; it would be told again after a crash, no more."""
        self._told = piece.told
        self._memory.save(piece.told)

    def _of_entries(self, log: LogReader) -> Iterator[Piece]:
        oldest = stamp(self._clock.now() - timedelta(seconds=self._max_age_s))
        fresh: list[Logged] = []
        for logged in log.newest_first():
            if logged.id == self._told.entry or len(fresh) >= _ENTRIES_MAX:
                break
            if logged.entry.at < oldest and self._told.entry is None:
                break  # never told, and too old for it: as everything before it
            fresh.append(logged)
        expired = 0
        for logged in reversed(fresh):
            notices = tuple(n for n in of_entry(logged) if n.type in self._wanted)
            if logged.entry.at < oldest:
                expired += len(notices)
                continue
            if notices:
                yield Piece(notices, self._told._replace(entry=logged.id), expired)
                expired = 0
        if fresh and self._told.entry != fresh[0].id:
            yield Piece((), self._told._replace(entry=fresh[0].id), expired)

    def _of_conditions(self, log: LogReader, standing: Standing, observed_in: CommitId) -> Iterator[Piece]:
        known, now = {c.key: c for c in self._told.conditions}, {c.key: c for c in standing.conditions}
        changes = [(known[key], False) for key in sorted(known.keys() - now.keys())]
        changes += [(now[key], True) for key in sorted(now.keys() - known.keys())]
        if not changes:
            return
        at = log.read(observed_in).entry.at
        for first in range(0, len(changes), _TOGETHER_MAX):
            part = changes[first : first + _TOGETHER_MAX]
            notices = (of_condition(c, begins=begins, observed_in=observed_in, at=at) for c, begins in part)
            for condition, begins in part:
                if begins:
                    known[condition.key] = condition
                else:
                    del known[condition.key]
            told = self._told._replace(conditions=frozenset(known.values()))
            yield Piece(tuple(n for n in notices if n is not None and n.type in self._wanted), told)
