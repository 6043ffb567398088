"""Time and chance that tests decide, and a client made with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from state.oci import OCI_INDEX, Manifest, Repository, Tag

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
MANIFEST = Manifest.of(OCI_INDEX, b'{ "schemaVersion":2 ,\n"manifests":[] }')
TAG = Tag("0123456789abcdef0123456789abcdef01234567")


class ManualClock:
    """Stands still but for `sleep`, `step_s` per look, and `advance`."""

    def __init__(self, step_s: float = 0) -> None:
        self.at_s = 1000.0
        self.step_s = step_s
        self.slept: list[float] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s - 1000.0)

    def monotonic_s(self) -> float:
        self.at_s += self.step_s
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at_s += seconds

    def advance(self, seconds: float) -> None:
        self.at_s += seconds


class FixedRandom:
    """Always the same share of the interval."""

    def __init__(self, share: float = 0) -> None:
        self.share = share

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.share

    def token(self) -> str:
        return "0123456789abcdef"


class CountingMetrics:
    """Keeps the counters."""

    def __init__(self) -> None:
        self.counted: Counter[tuple[str, ...]] = Counter()

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        self.counted[name, *(f"{k}={v}" for k, v in sorted(labels.items()))] += int(by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        raise AssertionError((name, value, labels))

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        raise AssertionError((name, seconds, labels))

    def timed(self, name: str, **labels: str) -> AbstractContextManager[None]:
        raise AssertionError((name, labels))


Connect = Callable[..., OrasRegistry]


def connect(host: str, **more: Any) -> OrasRegistry:
    """A plain-http client with a clock that stands still, no jitter and no pacing, unless said otherwise."""
    clock = more.setdefault("clock", ManualClock())
    more.setdefault("sleep", getattr(clock, "sleep", None))
    more.setdefault("random", FixedRandom())
    more.setdefault("limits", Limits(writes_per_s=None))
    more.setdefault("plain_http", True)
    return OrasRegistry(host, **more)


def repository(host: str, path: str = "acme/orders") -> Repository:
    return Repository(f"{host}/{path}")
