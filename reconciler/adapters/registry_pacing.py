"""Write pacing and cool-down per registry owner, shared by all threads of a client.

A token bucket paces writes. A rate limit halves its rate and every later write raises it a little (additive increase,
multiplicative decrease), and whatever pause the registry asked for holds back reads too: asking on prolongs the limit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from reconciler.adapters.registry_limits import Limits
from reconciler.ports import Clock
from state.errors import RateLimited

_RISE: Final = 0.01
"""Each write that went through adds this share of the configured rate: from half to full in 50 writes."""
_FLOOR: Final = 1 / 64
"""The rate never falls below this share of the configured one."""


@dataclass(slots=True)
class _Owner:
    rate: float
    tokens: float
    filled_at: float
    halved_at: float = float("-inf")
    blocked_until: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pacer:
    """Admits requests to the owners of one registry."""

    def __init__(self, host: str, limits: Limits, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._host = host
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._owners: dict[str, _Owner] = {}
        self._lock = threading.Lock()

    def admit(self, owner: str, *, write: bool, until: float) -> float:
        """Wait for this request's turn and return the monotonic time it may go.

        Raises RateLimited, without taking a turn, if the turn comes after `until` or further off than
        `Limits.retry_after_cap_s`.
        """
        state = self._owner(owner)
        with state.lock:
            now = self._clock.monotonic_s()
            wait = max(0.0, state.blocked_until - now)
            if write and state.rate:
                state.tokens = min(self._limits.writes_burst, state.tokens + (now - state.filled_at) * state.rate)
                state.filled_at = now
                wait = max(wait, (1 - state.tokens) / state.rate)
            if wait > self._limits.retry_after_cap_s or now + wait > until:
                raise RateLimited(
                    f"{self._host}/{owner}: held back for {wait:.1f} s, since the registry limited our rate or too "
                    "many writes wait; nothing was sent",
                    retry_after_s=wait,
                )
            if write:
                state.tokens -= 1
        if wait > 0:
            self._sleep(wait)
        return now + wait

    def wrote(self, owner: str) -> None:
        """A write went through: raise the rate a little."""
        if full := self._limits.writes_per_s:
            state = self._owner(owner)
            with state.lock:
                state.rate = min(full, state.rate + full * _RISE)

    def limited(self, owner: str, *, sent_at: float, pause_s: float) -> None:
        """The registry limited a request sent at `sent_at`: halve the rate and hold everything back for `pause_s`.

        Many threads meet the same limit at once; only a request sent after the last halving halves again.
        """
        state = self._owner(owner)
        with state.lock:
            now = self._clock.monotonic_s()
            state.blocked_until = max(state.blocked_until, now + pause_s)
            if sent_at > state.halved_at:
                state.halved_at = now
                state.rate = max(state.rate / 2, (self._limits.writes_per_s or 0) * _FLOOR)
                state.tokens = min(state.tokens, 1)

    def rate(self, owner: str) -> float:
        """Writes per second at present; 0 where pacing is off."""
        return self._owner(owner).rate

    def _owner(self, name: str) -> _Owner:
        with self._lock:
            if name not in self._owners:
                self._owners[name] = _Owner(
                    rate=self._limits.writes_per_s or 0,
                    tokens=self._limits.writes_burst,
                    filled_at=self._clock.monotonic_s(),
                )
            return self._owners[name]
