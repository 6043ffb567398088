"""Standing by: a replica that serves health and waits until the lease is its own (docs/operations.md, ADR 20)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from reconciler.adapters.clock import WakefulClock
from reconciler.adapters.kubernetes_lease import KubernetesLease
from reconciler.election import Timing
from reconciler.events import Emitter, Event
from reconciler.leadership import Leadership
from reconciler.ports import Clock, Random
from reconciler.settings.log import LogSettings
from reconciler.settings.model import Settings
from reconciler.settings.standby import StandbySettings
from state.errors import Denied, Terminal, Transient

WRITER_MAX_CHARS: Final = 64


def writer_name(settings: Settings, log: LogSettings) -> str:
    """The name of this process in the log: replicas share one configuration, so the host's name tells them apart."""
    if settings.standby is None:
        return log.writer
    host = re.sub(r"[^a-z0-9._-]", "-", socket.gethostname().lower())
    return f"{log.writer}.{host}"[:WRITER_MAX_CHARS]


def lease_of(settings: StandbySettings, clock: Clock, call_timeout_s: float) -> KubernetesLease:
    """The client of the Lease that the settings name, which the caller closes."""
    return KubernetesLease(
        settings.server,
        settings.namespace,
        settings.lease,
        token_file=settings.token_file,
        ca_file=settings.ca_file,
        clock=clock,
        call_timeout_s=call_timeout_s,
    )


@contextmanager
def leadership_of(
    settings: StandbySettings, random: Random, emit: Emitter, *, alive: Callable[[], bool], lost: Callable[[], None]
) -> Iterator[Leadership]:
    """A candidate for the lease of the settings, under a name that no other process has; given back at the end."""
    clock = WakefulClock()
    # Two calls, a read and a write, fit into the deadline twice.
    leases = lease_of(settings, clock, settings.renew_deadline_s / 4)
    timing = Timing(settings.lease_duration_s, settings.renew_deadline_s, settings.retry_period_s)
    identity = f"{socket.gethostname()}_{random.token()}"
    try:
        with Leadership(leases, identity, timing, clock, emit, alive=alive, lost=lost) as made:
            yield made
    finally:
        leases.close()


class Waiting:
    """The time before this replica leads. Implements what health asks of the loop."""

    def __init__(self, leadership: Leadership, retry_s: float, clock: Clock, random: Random, emit: Emitter) -> None:
        self._leadership = leadership
        self._retry_s = retry_s
        self._clock = clock
        self._random = random
        self._emit = emit
        self._beat_s = clock.monotonic_s()
        self._why = "standing by: the lease was not read yet"

    def heartbeat_age_s(self) -> float:
        return self._clock.monotonic_s() - self._beat_s

    @property
    def why(self) -> str:
        """Why it does not work, in one line."""
        return self._why

    def until_leading(self, stopping: threading.Event, beat: Callable[[], None]) -> bool:
        """Wait; True once the lease is held, False once `stopping` is set. `beat` is called with every try."""
        told = ""
        while not stopping.is_set():
            self._beat_s = self._clock.monotonic_s()
            beat()
            try:
                if self._leadership.attempt():
                    return True
                holder = self._leadership.holder
                self._why = f"standing by: {holder or 'nobody'} holds the lease"
                if holder != told:
                    told = holder
                    self._emit.emit(Event.STANDING_BY, detail=holder)
            except (Transient, Denied, Terminal) as error:
                self._why = f"standing by: the lease cannot be read: {error}"
                self._emit.emit(Event.LEASE_NOT_READ, error=str(error))
            # Two that stand by do not ask in step.
            stopping.wait(self._retry_s * self._random.uniform(1.0, 1.2))
        return False
