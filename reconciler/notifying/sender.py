"""The thread that tells: one notice after another, at least once each, and never in the loop's way.

A receiver that does not answer is asked again after a growing pause, or the one that it asks for. Nothing waits in
memory meanwhile (`outbox`). A notice that is refused for its content is given up, so that one that a receiver cannot
read does not hold back the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol, Self

from reconciler.backoff import Backoff
from reconciler.events import Emitter, Event
from reconciler.notifying.outbox import Outbox, Standing
from reconciler.ports import Clock, Metrics, Random
from state.errors import ReconcilerError, Transient, Unavailable

_JOIN_S: Final = 5.0
"""At the end a request that hangs is left alone after so long: what it carried is sent again by the next process."""


class Delivery(StrEnum):
    """What a receiver made of a notice."""

    TAKEN = "taken"
    REFUSED = "refused"
    """For its content; the same one would be refused again."""


class Receiver(Protocol):
    """Who is told."""

    def deliver(self, notice_id: str, body: bytes) -> Delivery:
        """Send one CloudEvent, once.

        Raises Transient (with `retry_after_s` where it said so), Denied or ConfigError where it is to be sent again.
        """

    def close(self) -> None: ...


class Sender:
    """Tells one receiver of every repository's state changes, by a thread of its own.

    Args:
        open_box: the outbox of a repository by its name; asked at its first pass.
    """

    def __init__(
        self,
        receiver: Receiver,
        open_box: Callable[[str], tuple[int, Outbox]],
        *,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        emit: Emitter,
    ) -> None:
        self._receiver = receiver
        self._open_box = open_box
        self._metrics = metrics
        self._emit = emit
        self._backoff: Backoff[str] = Backoff(clock, random)
        self._boxes: dict[str, tuple[int, Outbox]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(_JOIN_S)
        self._receiver.close()

    def once(self, name: str) -> None:
        """Without the thread: tell what the log of `name` has, until a failure, and close the receiver."""
        try:
            self.passed(name, Standing(frozenset(), None))
            self.turn()
        finally:
            self._receiver.close()

    def passed(self, name: str, standing: Standing) -> None:
        """A pass over the repository `name` ended and left this. Never blocks and never raises."""
        with self._lock:
            if name not in self._boxes:
                self._boxes[name] = self._open_box(name)
                for result in ("delivered", "failed", "dropped"):
                    self._metrics.count("notifications", 0, repository=name, result=result)
            self._boxes[name][1].passed(standing)
        self._wake.set()

    def violated(self, name: str) -> None:
        """A whole pass over `name` ended in an integrity error. Never blocks and never raises."""
        with self._lock:
            found = self._boxes.get(name)
            if found is not None:  # before its first pass nothing is known that could be told from
                found[1].violated()
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(self._backoff.next_s())
            self._wake.clear()
            if not self._backoff.waiting():
                try:
                    self.turn()
                except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread unheard
                    self._failed("", f"{type(error).__name__}: {error}", 0.0)

    def turn(self) -> None:
        """Tell all that there is; stops at the first failure, to go on with the same notice after a pause."""
        with self._lock:
            boxes = dict(self._boxes)
        for name, (repository_id, outbox) in boxes.items():
            try:
                self._tell(name, repository_id, outbox)
            except ReconcilerError as error:
                asked_s = error.retry_after_s if isinstance(error, Transient) else None
                self._failed(name, str(error), asked_s or 0.0)
                return
        self._backoff.succeeded(_RECEIVER)

    def _tell(self, name: str, repository_id: int, outbox: Outbox) -> None:
        unsaved: Unavailable | None = None
        for piece in outbox.pieces():
            self._give_up(name, piece.expired, "expired")
            self._metrics.gauge("notifications_waiting", len(piece.notices), repository=name)
            for notice in piece.notices:
                if self._stop.is_set():
                    return
                taken = self._receiver.deliver(notice.id, notice.cloud_event(name, repository_id))
                self._backoff.succeeded(_RECEIVER)
                if taken is Delivery.TAKEN:
                    self._metrics.count("notifications", repository=name, result="delivered")
                else:
                    self._give_up(name, 1, "refused")
            try:
                outbox.remember(piece)
            except Unavailable as error:
                unsaved = error
        self._metrics.gauge("notifications_waiting", 0, repository=name)
        if unsaved is not None:
            raise unsaved  # all is told; only a crash would tell it twice

    def _failed(self, name: str, why: str, asked_s: float) -> None:
        wait_s = self._backoff.failed(_RECEIVER, asked_s)
        self._metrics.count("notifications", repository=name, result="failed")
        self._emit.emit(Event.NOTIFICATION_FAILED, name=name, error=why, retry_after_s=wait_s)

    def _give_up(self, name: str, count: int, reason: str) -> None:
        if count:
            self._metrics.count("notifications", count, repository=name, result="dropped")
            self._emit.emit(Event.NOTIFICATION_DROPPED, name=name, reason=reason, count=count)


_RECEIVER: Final = "receiver"
