"""Time, chance and work: injected, so that the loop runs under simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Clock(Protocol):
    """Wall time for records, monotonic time for waiting."""

    def now(self) -> datetime:
        """The current UTC time, timezone-aware."""

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""


class Random(Protocol):
    """Chance, for jitter and identifiers; never for anything that a plan depends on."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""

    def token(self) -> str:
        """16 fresh hex digits."""


class Executor(Protocol):
    """Runs independent blocking calls side by side."""

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R | Exception]:
        """Each item's result, or the Exception it raised, in the order of the items. Never raises one itself."""
