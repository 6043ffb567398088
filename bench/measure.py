"""Rows of the report, and timing side by side."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

Contender = Callable[[], float]
"""Does the work once and returns the seconds it took; what has to be set up for it is not in them."""


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    SHOWN = "shown"
    """A number without a target."""
    SKIPPED = "skipped"


class Target(NamedTuple):
    """`relation` is one of `<=`, `>=`, `<`."""

    relation: str
    bound: float

    def holds(self, value: float) -> bool:
        match self.relation:
            case "<=":
                return value <= self.bound
            case ">=":
                return value >= self.bound
            case "<":
                return value < self.bound
        raise ValueError(f"no such relation: {self.relation}")

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


class Row(NamedTuple):
    """One line of the report. The target is for `ratio` where there is one, else for `ours`."""

    figure: str
    what: str
    ours: float | None = None
    peer: float | None = None
    unit: str = ""
    ratio: float | None = None
    target: Target | None = None
    note: str = ""
    """What the peer is, or why the row was skipped and what to do about it."""

    @property
    def verdict(self) -> Verdict:
        value = self.ours if self.ratio is None else self.ratio
        if value is None:
            return Verdict.SKIPPED
        if self.target is None:
            return Verdict.SHOWN
        return Verdict.MET if self.target.holds(value) else Verdict.MISSED

    def to_json(self) -> dict[str, object]:
        return {
            "figure": self.figure,
            "note": self.note,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "target": str(self.target) if self.target else None,
            "unit": self.unit,
            "verdict": self.verdict.value,
            "what": self.what,
        }


class Bench(NamedTuple):
    """What a figure gets: an empty directory of its own on a disk, and how often it shall repeat."""

    root: Path
    rounds: int

    def folder(self, name: str) -> Path:
        made = self.root / name
        made.mkdir(parents=True)
        return made


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes, the collector of garbage having run before it."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Versus(NamedTuple):
    """Ours against one peer: median seconds of each, and the median of the ratios of neighbouring runs."""

    peer_name: str
    ours: float
    peer: float
    ratio: float


def versus(what: str, rounds: int, ours: Contender, peers: Mapping[str, Contender]) -> dict[str, Versus]:
    """Measure ours next to each peer, after one round that does not count.

    A B A C, A B A C: on a machine that others use, too, only neighbours in time have met the same conditions, so the
    ratio is taken of each pair. In every other round the peer goes first.
    """
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for number in range(rounds + 1):
        say(f"  {what}: round {number} of {rounds}" if number else f"  {what}: warming up")
        for name, peer in peers.items():
            pair = (ours(), peer()) if number % 2 else (peer(), ours())[::-1]
            if number:
                pairs[name].append(pair)
    all_ours = statistics.median(mine for found in pairs.values() for mine, _ in found)
    return {
        name: Versus(
            name,
            all_ours,
            statistics.median(theirs for _, theirs in found),
            statistics.median(mine / theirs for mine, theirs in found),
        )
        for name, found in pairs.items()
    }


def fastest(found: Mapping[str, Versus]) -> Versus:
    """The one whose peer is the fastest."""
    return min(found.values(), key=lambda one: one.peer)
