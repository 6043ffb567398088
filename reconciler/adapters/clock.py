"""The system's clock and chance."""

from __future__ import annotations

import random
import secrets
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


class WakefulClock(SystemClock):
    """Its monotonic time goes on while the machine sleeps, where the system has such a clock."""

    def monotonic_s(self) -> float:
        asleep_too = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return time.clock_gettime(asleep_too)


class SystemRandom:
    """Implements `ports.Random` on the operating system's source."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token(self) -> str:
        return secrets.token_hex(8)
