"""kill -9 before every boundary of a run, and after the effects of others: the next pass finishes what was begun.

The run is `ameide reconciler once` with one worker, so its boundaries come in one order. Two runs are cut: the very
first one, which makes log, mirrors and remembered tips, and a later one, which finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from state.errors import ReconcilerError
from tests.faults.forks import Ran
from tests.faults.kill_bench import Bench
from tests.fixtures.shop import IMAGE_NAMES

WORLD_LASTS = 25
"""Scenes after which log and state are made anew: checking all of a log takes as long as the log is."""
FLOOR = {"first": 250, "later": 150}
"""A run came to 326 and 178 boundaries when this was written; far fewer would mean that they are not seen any more."""
KINDS = frozenset(
    {
        "flock writer lock", "pwrite64 writer lock", "create writer lock",
        "create remembered tip", "fsync remembered tip", "rename remembered tip",
        "create log object", "fsync log object", "link log object", "unlink log object",
        "create log branch lock", "fsync log branch lock", "link log branch", "rename log branch", "fsync log branch",
        "create log tracking ref lock",
        "send ask log remote for upload", "send ask log remote for receive", "send receive to log remote",
        "flock code mirror", "create code mirror", "rename code mirror", "flock GitOps mirror", "create GitOps mirror",
        "send GET baseline tag", "send HEAD baseline tag", "send HEAD head tag", "send PUT head tag",
        "create status object", "fsync status object", "create status ref lock", "fsync status ref lock",
        "link status ref", "unlink status ref lock", "fsync status ref",
    }
)  # fmt: skip
"""What a later run must come to at least."""
ANSWERED = {"HEAD head tag": 10, "PUT head tag": 3, "receive to log remote": 2}
"""Answers of the servers that a run waits for, and how many of each."""


EFFECTS = (
    "link log branch", "rename remembered tip", "send PUT head tag", "send receive to log remote", "link status ref",
)  # fmt: skip
"""Where what was decided, written or told becomes known: the log, what is remembered of it, tag, remote and status."""


class Start(StrEnum):
    FIRST = "first"
    LATER = "later"


class Matrix:
    """Scenes on one bench: a new pull request, a run that is killed, and the pass after it."""

    def __init__(self, bench: Bench, start: Start) -> None:
        self._bench = bench
        self._start = start
        self._scenes = 0
        bench.shop.configure(workers=1)

    def whole(self) -> list[str]:
        """Every boundary of a run that nobody kills, by kind, in order."""
        ran = self._scene({})
        assert ran.killed is None
        kinds = Counter(ran.came_to)
        assert len(ran.came_to) >= FLOOR[self._start], kinds
        missing = KINDS - kinds.keys() if self._start is Start.LATER else set()
        assert not missing, f"boundaries that no run comes to any more: {sorted(missing)}"
        return ran.came_to

    def cut(self, **kill: Any) -> bool:
        """One scene; whether the process came to the boundary, and so was killed."""
        ran = self._scene(kill)
        assert (ran.code == -9) == (ran.killed is not None), ran.code
        return ran.code == -9

    def _scene(self, kill: dict[str, Any]) -> Ran:
        bench = self._bench
        if self._start is Start.FIRST or self._scenes % WORLD_LASTS == 0:
            for number in list(bench.wanted):
                bench.closes(number)
            bench.renew()
            if self._start is Start.LATER:
                bench.opens(None)
                bench.heals()
                bench.heals()
        # The one before is closed, so that a head ends in the pass too.
        for number in list(bench.wanted):
            bench.closes(number)
        self._scenes += 1
        bench.opens(IMAGE_NAMES[self._scenes % len(IMAGE_NAMES)])
        ran = bench.runs(**kill)
        try:
            bench.heals()
        except (AssertionError, ReconcilerError) as error:
            raise AssertionError(f"{self._start} start, {kill}, killed before {ran.killed}: {error}") from error
        return ran


def every_kind(bench: Bench, start: Start, part: slice) -> int:
    """Kill once at each kind of boundary, in the middle of those of its kind. The number of kinds there are.

    `part` of the kinds, in order of name, so that several tests may share the work.
    """
    matrix = Matrix(bench, start)
    kinds = Counter(matrix.whole())
    for family, (kind, times) in enumerate(sorted(kinds.items())[part]):
        assert matrix.cut(kind=kind, nth=(times + 1) // 2, family=bool(family % 2)), kind
    return len(kinds)


def every_effect(bench: Bench) -> int:
    """Kill once before each effect, and once behind each that a server has not answered for. The number of kills."""
    matrix = Matrix(bench, Start.LATER)
    kinds = Counter(matrix.whole())
    for number, kind in enumerate(EFFECTS):
        assert matrix.cut(kind=kind, nth=(kinds[kind] + 1) // 2, family=bool(number % 2)), kind
    for kind, times in ANSWERED.items():
        assert matrix.cut(answer=kind, nth=times), f"answer {kind} {times}"
    return len(EFFECTS) + len(ANSWERED)


def every_answer(bench: Bench) -> int:
    """Kill where the effect is there and the answer is not. The number of kills."""
    matrix = Matrix(bench, Start.LATER)
    matrix.whole()
    deaths = 0
    for kind, times in ANSWERED.items():
        for nth in range(1, times + 1):
            assert matrix.cut(answer=kind, nth=nth), f"answer {kind} {nth}"
            deaths += 1
    return deaths


def every_boundary(bench: Bench, start: Start, *, family: bool) -> Iterator[int]:
    """Kill at boundary 1, 2, 3, …, until a run comes to its end."""
    matrix = Matrix(bench, start)
    matrix.whole()
    at = 1
    while matrix.cut(at=at, family=family):
        yield at
        at += 1
    assert at > FLOOR[start], f"only {at - 1} boundaries"
