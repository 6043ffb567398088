"""Leadership: taking a lease, keeping it in a thread of its own, and knowing at every moment whether it is still held.

The thread only renews. That nothing is written without the lease is asked by the writer itself, right before each
write (`confirm`), of the clock alone: a process that was stopped in between finds out although its thread has not run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from reconciler.election import Election, Lease, Timing
from reconciler.events import Emitter, Event
from reconciler.ports import Clock
from state.errors import Denied, Fenced, ReconcilerError, Terminal, Transient

_FORM: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_JOIN_S: Final = 30.0


class Found(NamedTuple):
    """A record, and what a compare-and-swap needs of it."""

    lease: Lease
    version: object


class Leases(Protocol):
    """One lease record. Every call ends within a part of the renewal deadline."""

    name: str
    """As people know it."""

    def read(self) -> Found | None:
        """The record; None if there is none. Raises Denied, Terminal or Transient."""

    def write(self, lease: Lease, before: Found | None) -> bool:
        """Put `lease` in place of exactly `before` (None: make it); False if it was another by then.

        Raises Denied, Terminal, or Transient: then it may have been written or not.
        """


class Leadership:
    """One candidate for one lease. `confirm` and `holds` may be called by any thread.

    Args:
        clock: its monotonic time has to count time asleep.
        alive: a process whose loop hangs lets its lease lapse.
        lost: told once, from the renewing thread, when a lease that was held is not any more.
    """

    def __init__(
        self,
        leases: Leases,
        identity: str,
        timing: Timing,
        clock: Clock,
        emit: Emitter,
        *,
        alive: Callable[[], bool],
        lost: Callable[[], None],
    ) -> None:
        self._leases = leases
        self._timing = timing
        self._clock = clock
        self._emit = emit
        self._alive = alive
        self._lost = lost
        self._election = Election(identity, timing)
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def holder(self) -> str:
        """Who held the lease when it was read last; empty for nobody."""
        return self._election.holder

    def attempt(self) -> bool:
        """One try to take or renew it; whether it is held now. Raises Denied, Terminal or Transient."""
        found = self._leases.read()
        with self._lock:
            now = self._clock.monotonic_s()
            self._election.saw(None if found is None else found.lease, now)
            if not self._election.may_take(now):
                return False
            wanted = self._election.wanted(self._clock.now().strftime(_FORM))
        sent = self._clock.monotonic_s()
        if not self._leases.write(wanted, found):
            return False
        with self._lock:
            self._election.won(wanted, sent)
        return self.holds()

    def keep(self) -> None:
        """Renew it from now on, until it is lost or this ends."""
        self._emit.emit(Event.LEADERSHIP_TAKEN, name=self._leases.name, writer=self._election.identity)
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._keeper.start()

    def holds(self) -> bool:
        """Whether this process may act at this moment."""
        with self._lock:
            return self._election.holds(self._clock.monotonic_s())

    def confirm(self) -> None:
        """Pass if this process may act at this moment. Raises Fenced."""
        if not self.holds():
            raise Fenced(
                f"lease {self._leases.name}: not renewed within {self._timing.renew_deadline_s:.0f} s, so that another "
                "process may lead by now; this one must stop"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing, and give it back where it is still held: whoever stands by need not wait for its end."""
        self._ending.set()
        if self._keeper is None:
            return
        self._keeper.join(_JOIN_S)
        if self.holds():
            # It lapses by itself where that fails.
            with suppress(Transient, Denied, Terminal):
                self._give_back()
        self._election.ended()

    def _give_back(self) -> None:
        found = self._leases.read()
        if found is not None and found.lease.holder == self._election.identity:
            wall = self._clock.now().strftime(_FORM)
            self._leases.write(found.lease._replace(holder="", duration_s=1, renewed_at=wall), found)

    def _keep(self) -> None:
        why = ""
        while not self._ending.wait(self._timing.retry_period_s):
            if not self.holds():
                self._end(why or "this process stood still")
                return
            if not self._alive():
                why = "the loop stands still"
                continue
            try:
                self.attempt()
            except ReconcilerError as error:
                why = str(error)
                continue
            if self._election.holder != self._election.identity:
                self._end(f"{self._election.holder or 'nobody'} holds it")
                return

    def _end(self, why: str) -> None:
        with self._lock:
            self._election.ended()
        self._emit.emit(Event.LEADERSHIP_LOST, name=self._leases.name, detail=why)
        self._lost()
