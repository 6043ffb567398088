"""Growing pauses after failures, per key, with full jitter so that keys do not come back in step."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from reconciler.ports import Clock, Random

K = TypeVar("K")

FIRST_S: Final = 2.0
MAX_S: Final = 300.0


class Backoff(Generic[K]):
    """Which keys must wait. A pause doubles from FIRST_S to MAX_S; each is drawn from its upper half."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._until: dict[K, float] = {}
        self._pause: dict[K, float] = {}

    def failed(self, key: K, at_least_s: float = 0.0) -> float:
        """Note a failure; return the seconds until the key may be tried again."""
        pause = self._pause[key] = min(MAX_S, self._pause.get(key, FIRST_S / 2) * 2)
        wait = max(at_least_s, self._random.uniform(pause / 2, pause))
        self._until[key] = self._clock.monotonic_s() + wait
        return wait

    def succeeded(self, key: K) -> None:
        """Forget the key's failures."""
        self._until.pop(key, None)
        self._pause.pop(key, None)

    def keep(self, keys: frozenset[K]) -> None:
        """Forget every other key."""
        for key in self._pause.keys() - keys:
            self.succeeded(key)

    def waiting(self) -> frozenset[K]:
        """The keys whose pause is not over."""
        now = self._clock.monotonic_s()
        return frozenset(key for key, until in self._until.items() if until > now)

    def next_s(self) -> float | None:
        """Seconds until the first pause that is running ends; None if none is."""
        now = self._clock.monotonic_s()
        running = [until - now for until in self._until.values() if until > now]
        return min(running, default=None)
