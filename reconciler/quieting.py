"""A bound on how often log lines repeat themselves: an outage is told, and not told at every turn.

Two bounds over a window of WINDOW_S. The same line (all but its time, pass and durations) is written SAME_MAX times,
and one event ONE_EVENT_MAX times, whatever its fields: ten thousand heads that fail alike are one piece of news. What
was left out is counted, and the count is a line of its own at the event's next line after the window. Errors are never
left out by the second bound, so that no flood of others can hide one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from reconciler.events import Event, Field, Level, Sink
from reconciler.ports import Clock

WINDOW_S: Final = 300.0
SAME_MAX: Final = 5
"""A line that says the same is written so often in a window."""
ONE_EVENT_MAX: Final = 500
_KEPT_MAX: Final = 5000
"""Different lines that are remembered; beyond it the oldest is forgotten, and its next one is written."""
_VARYING: Final = frozenset({"ts", "pass_id", "duration_s", "retry_after_s", "attempt"})


@dataclass(slots=True)
class _Window:
    began_s: float
    written: int = 0
    left_out: int = 0


class Quietened:
    """A sink before another one. Lines of level info pass through: each of them is its own news."""

    def __init__(self, sink: Sink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._lock = threading.Lock()
        self._same: OrderedDict[tuple[tuple[str, Field], ...], _Window] = OrderedDict()
        self._events: dict[str, _Window] = {}

    def __call__(self, record: Mapping[str, Field]) -> None:
        if record["level"] == Level.INFO:
            self._sink(record)
            return
        with self._lock:
            written, ended = self._judge(record)
        for left_out in ended:
            self._sink(left_out)
        if written:
            self._sink(record)

    def _judge(self, record: Mapping[str, Field]) -> tuple[bool, list[Mapping[str, Field]]]:
        now = self._clock.monotonic_s()
        event = str(record["event"])
        of_event = self._events.setdefault(event, _Window(now))
        ended = self._ended(of_event, record, event) if now - of_event.began_s >= WINDOW_S else []
        if now - of_event.began_s >= WINDOW_S:
            of_event.began_s, of_event.written, of_event.left_out = now, 0, 0
        key = tuple(sorted((name, value) for name, value in record.items() if name not in _VARYING))
        same = self._same.pop(key, None)
        if same is None or now - same.began_s >= WINDOW_S:
            same = _Window(now)
        self._same[key] = same  # the newest last
        if len(self._same) > _KEPT_MAX:
            self._same.popitem(last=False)
        flooded = record["level"] != Level.ERROR and of_event.written >= ONE_EVENT_MAX
        if same.written >= SAME_MAX or flooded:
            of_event.left_out += 1
            return False, ended
        same.written += 1
        of_event.written += 1
        return True, ended

    @staticmethod
    def _ended(window: _Window, record: Mapping[str, Field], event: str) -> list[Mapping[str, Field]]:
        if not window.left_out:
            return []
        told = Event.LINES_SUPPRESSED
        fields: dict[str, Field] = {"level": told.level.value, "event": told.value}
        return [{"ts": record["ts"], **fields, "action": event, "count": window.left_out}]
