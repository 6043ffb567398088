"""The loop: which repository has its pass now, what follows from an error, and how to stop.

It works from the state of the world, never from an event: timers, file changes and webhooks only say that a repository
is worth a look now. The error's family alone decides what follows (`state.errors`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from reconciler.backoff import Backoff
from reconciler.events import Emitter, Event, carrying
from reconciler.looking import Rules
from reconciler.passes import PassReport
from reconciler.ports import Clock, Metrics, Random
from reconciler.tracing import span
from state.errors import (
    Fenced,
    IntegrityError,
    LedgerMoved,
    LogRollback,
    ReconcilerError,
    StaleObservation,
    Terminal,
    Transient,
)

STALLED_RETRY_S: Final = 300.0
"""A terminal error is looked at again this often: somebody may have mended its cause outside."""
LONGEST_WAIT_S: Final = 5.0
"""The loop shows a sign of life at least this often."""
MISSED_WAKE_FACTOR: Final = 1.5
"""A repository is due after this many poll intervals even if no timer woke the loop."""

_HINTS_MAX: Final = 10_000
"""Pull requests of one repository that may wait for a look of their own."""


class Passes(Protocol):
    """One repository, as the loop sees it (`passes.Repository`, `opening.OpenedLate`)."""

    name: str

    def run_pass(self, rules: Rules, hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport: ...


class Condition(StrEnum):
    READY = "ready"
    """The last pass was complete."""
    RECONCILING = "reconciling"
    """No pass has been complete yet, or the last one failed and is repeated."""
    STALLED = "stalled"
    """The same input fails again: a person has to act."""


@dataclass(slots=True)
class Standing:
    """Where one repository stands."""

    condition: Condition = Condition.RECONCILING
    why: str = "no pass yet"
    due_s: float = 0.0
    complete_at_s: float | None = None
    """When the last complete pass ended (monotonic)."""
    unread: int = 0
    """How many things the last pass could not read."""


class Loop:
    """Gives each repository its passes, one after another. `step` does what is due; `run` repeats it until stopped."""

    def __init__(
        self,
        repositories: Sequence[Passes],
        rules: Callable[[str], Rules],
        clock: Clock,
        random: Random,
        *,
        emit: Emitter,
        metrics: Metrics,
        on_report: Callable[[str, PassReport], None] = lambda _name, _report: None,
        on_failure: Callable[[str, ReconcilerError], None] = lambda _name, _error: None,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._repositories = {r.name: r for r in repositories}
        self._rules = rules
        self._clock = clock
        self._emit = emit
        self._metrics = metrics
        self._on_report = on_report
        self._on_failure = on_failure
        self._on_beat = on_beat
        self._backoff: Backoff[str] = Backoff(clock, random)
        self._lock = threading.Lock()
        # Not an Event: a signal handler puts into it while the same thread may be inside `get`, which an Event's lock
        # does not bear.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._stop = threading.Event()
        self._hints: dict[str, set[int]] = {}
        self._dirty: set[str] = set()
        self._standing = {name: Standing() for name in self._repositories}
        self._beat_s = clock.monotonic_s()
        for name in self._repositories:  # so that the first one of each can be seen as an increase
            metrics.count("integrity_violations", 0, repository=name)
            for condition in Condition:
                metrics.count("passes", 0, repository=name, result=condition.value)

    # --- said from outside, by any thread

    def hint(self, name: str | None = None, pull_request: int | None = None) -> None:
        """Something may have changed: one pull request, one repository, or (None) anything. Costs a look, no more."""
        with self._lock:
            for each in [name] if name is not None else list(self._repositories):
                if each in self._standing:
                    self._dirty.add(each)
                    hinted = self._hints.setdefault(each, set())
                    if pull_request is not None and len(hinted) < _HINTS_MAX:  # beyond it the repository is enough
                        hinted.add(pull_request)
        self._wake.put(None)

    def poll(self) -> None:
        """It is time to look at everything again, but for repositories that wait for somebody to act."""
        for name, standing in self._standing.items():
            if standing.condition is not Condition.STALLED:
                self.hint(name)

    def stop(self) -> None:
        """Finish the batch that was begun, then return from `run`. May be called from a signal handler."""
        self._stop.set()
        self._wake.put(None)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def beat(self) -> None:
        """A sign of life: a step of the loop, or from inside a long pass one of its steps, in whatever thread of it."""
        self._beat_s = self._clock.monotonic_s()
        self._on_beat()

    def heartbeat_age_s(self) -> float:
        """Seconds since the loop last showed that it lives."""
        return self._clock.monotonic_s() - self._beat_s

    def stale_after_s(self, name: str) -> float:
        """After so many seconds without a complete pass a repository does not count as ready."""
        return 3 * MISSED_WAKE_FACTOR * self._rules(name).poll_interval_s

    def standing(self) -> Mapping[str, Standing]:
        """Where each repository stands, by name."""
        return self._standing

    # --- the loop

    def run(self) -> None:
        """Step until stopped. Raises Fenced, LedgerMoved and LogRollback: this process must not go on writing."""
        while not self.stopping:
            self._sleep(min(self.step(), LONGEST_WAIT_S))

    def _sleep(self, seconds: float) -> None:
        """Until something was said from outside; what was said since the last time counts as one."""
        try:
            self._wake.get(timeout=seconds)
            while True:
                self._wake.get_nowait()
        except Empty:
            pass

    def step(self) -> float:
        """Give every repository that is due its pass; return the seconds until the next one is."""
        for name, repository in self._repositories.items():
            self.beat()
            if self.stopping:
                return 0.0
            if self._is_due(name):
                with carrying(name=name):
                    self._pass(name, repository)
        self.beat()
        now = self._clock.monotonic_s()
        with self._lock:
            dirty = self._dirty - self._backoff.waiting()
        if dirty:
            return 0.0
        waits = [s.due_s - now for name, s in self._standing.items() if name not in self._backoff.waiting()]
        if (paused := self._backoff.next_s()) is not None:
            waits.append(paused)
        return max(0.0, min(waits, default=60.0))

    def _is_due(self, name: str) -> bool:
        standing = self._standing[name]
        with self._lock:
            dirty = name in self._dirty
        if name in self._backoff.waiting():
            return False
        return dirty or self._clock.monotonic_s() >= standing.due_s

    def _pass(self, name: str, repository: Passes) -> None:
        rules = self._rules(name)
        with self._lock:
            self._dirty.discard(name)
            hints = frozenset(self._hints.pop(name, ()))
        standing = self._standing[name]
        try:
            with span("pass", ameide_repository=name), self._metrics.timed("pass", repository=name):
                report = repository.run_pass(rules, hints, self._asked_to_stop)
        except (Fenced, LedgerMoved, LogRollback) as error:
            # What this process remembers of the log is no longer the log: only a fresh start may go on (ADR 6).
            self._set(name, Condition.STALLED, error, STALLED_RETRY_S)
            self._emit.emit(Event.WRITER_FENCED, name=name, error=str(error))
            raise
        except StaleObservation as error:
            self._set(name, Condition.RECONCILING, error, self._backoff.failed(name))
            self._emit.emit(Event.PASS_FAILED, name=name, error=str(error))
        except Transient as error:
            if self.stopping:
                return
            wait_s = self._backoff.failed(name, error.retry_after_s or 0.0)
            self._set(name, Condition.RECONCILING, error, wait_s)
            self._emit.emit(Event.PASS_FAILED, name=name, error=str(error), retry_after_s=wait_s)
        except (Terminal, IntegrityError) as error:
            self._set(name, Condition.STALLED, error, STALLED_RETRY_S)
            integrity = isinstance(error, IntegrityError)
            self._metrics.count("integrity_violations", int(integrity), repository=name)
            self._on_failure(name, error)
            self._emit.emit(
                Event.INTEGRITY_VIOLATED if integrity else Event.REPOSITORY_STALLED, name=name, error=str(error)
            )
        else:
            self._backoff.succeeded(name)
            now = self._clock.monotonic_s()
            standing.condition = Condition.READY if report.complete else Condition.RECONCILING
            standing.why = "" if report.complete else "the forge's listing was not complete"
            standing.unread = len(report.problems)
            standing.complete_at_s = now if report.complete else standing.complete_at_s
            standing.due_s = now + MISSED_WAKE_FACTOR * rules.poll_interval_s
            if report.applied.written or report.applied.adopted:
                # What was done may allow more at once (the next batch, a settled read).
                standing.due_s = now
            self._on_report(name, report)
        self._metrics.count("passes", repository=name, result=standing.condition.value)

    def _asked_to_stop(self) -> bool:
        """For passes, which ask between two steps: that they ask is a sign of life."""
        self.beat()
        return self.stopping

    def _set(self, name: str, condition: Condition, error: ReconcilerError, wait_s: float) -> None:
        standing = self._standing[name]
        standing.condition, standing.why = condition, str(error)
        standing.due_s = self._clock.monotonic_s() + wait_s
