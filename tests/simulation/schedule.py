"""What happens when in one run, as a list: drawn from the seed the first time, played again in full or in part.

An item says where it strikes (round, step of the round), what it is, and has a seed of its own for whatever it draws.
So taking one out changes nothing of what the others do: that is what makes a failing list short (`shrink`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from tests.simulation.faults import Fault, Weather


class Kind(StrEnum):
    EVENT = "event"
    """Something happens in the world."""
    PASS = "pass"
    """A process has its turn."""
    TAKEOVER = "takeover"
    """Another process has its turn in the middle of one's step."""
    FAULT = "fault"
    JANITOR = "janitor"
    """The janitor has a run."""
    AIMED = "aimed"
    """Something happens that the very step has to bear."""
    CLUSTER = "cluster"
    """Something happens in the cluster."""
    MEDDLE = "meddle"
    """Somebody meddles with the world that has come to rest."""


class Item(NamedTuple):
    round: int
    step: int
    """Of the round, from 1 on; 0 is before its pass."""
    kind: Kind
    seed: int
    fault: Fault | None = None

    def chance(self) -> Random:
        return Random(self.seed)


REST: Final = 1_000_000
"""The round after the last one."""


class Schedule:
    """The items of one run. Without `items` they are drawn as the run goes on; `items` has them all afterwards."""

    def __init__(self, seed: int, weather: Weather, items: Iterable[Item] | None = None) -> None:
        self._rng = Random(f"schedule {seed}")
        self._weather = weather
        self._drawing = items is None
        self._fault: Fault | None = None
        """What befell the newest call."""
        self.items: list[Item] = [] if items is None else list(items)
        self._at: defaultdict[tuple[int, int], list[Item]] = defaultdict(list)
        for item in self.items:
            self._at[item.round, item.step].append(item)

    def rounds(self) -> Iterable[int]:
        return range(self._weather.rounds) if self._drawing else sorted({i.round for i in self.items if i.round < REST})

    def before_round(self, number: int) -> list[Item]:
        """Events, and the pass."""
        if not self._drawing:
            return self._at[number, 0]
        events = self._rng.randint(0, 1 if self._weather.narrow or 0 < number < self._weather.calm else 4)
        events += 6 if number in {0, self._weather.calm} else 0
        made = [self._made(number, 0, Kind.EVENT) for _ in range(events)] + [self._made(number, 0, Kind.PASS)]
        if self._weather.cluster:
            made += [self._made(number, 0, Kind.CLUSTER) for _ in range(self._rng.randint(0, 2))]
            made += [self._made(number, 0, Kind.JANITOR)] if self._rng.random() < 0.7 else []
        return made

    def before_step(
        self, number: int, step: int, possible: tuple[Fault, ...], *, alone: bool, aim: bool, publishing: bool
    ) -> list[Item]:
        """What strikes one outside call: events, perhaps another process, at most one fault of those `possible`."""
        if not self._drawing:
            items = self._at[number, step]
            return [i for i in items if (i.fault is None or i.fault in (*possible, *CRASHES))]
        rng, weather, made = self._rng, self._weather, []
        if number < weather.calm or (weather.narrow and not publishing):
            return made
        while rng.random() < weather.event:
            cluster = self._weather.cluster and rng.random() < 0.3
            made.append(self._made(number, step, Kind.CLUSTER if cluster else Kind.EVENT))
        if aim and rng.random() < weather.aimed:
            made.append(self._made(number, step, Kind.AIMED))
        if alone and rng.random() < weather.takeover:
            made.append(self._made(number, step, Kind.TAKEOVER))
        self._fault = weather.strikes(rng, possible, self._fault)
        if self._fault is not None:
            made.append(self._made(number, step, Kind.FAULT, self._fault))
        return made

    def at_rest(self) -> list[Item]:
        if self._drawing and self._rng.random() < 0.5:
            self._made(REST, 0, Kind.MEDDLE)
        return self._at[REST, 0]

    def _made(self, number: int, step: int, kind: Kind, fault: Fault | None = None) -> Item:
        item = Item(number, step, kind, self._rng.getrandbits(64), fault)
        self.items.append(item)
        self._at[number, step].append(item)
        return item


CRASHES: Final = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
