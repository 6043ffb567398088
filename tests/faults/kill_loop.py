"""A loop of kills at random boundaries of `ameide reconciler run`, while developers open, push and close."""

from __future__ import annotations

import random
from typing import Any

from state.errors import ReconcilerError
from tests.faults.crash_matrix import ANSWERED
from tests.faults.kill_bench import Bench
from tests.fixtures.shop import IMAGE_NAMES

OPEN_MAX = 4
QUIET_S = 0.3
QUIET_MAX = 200
PASS_BOUNDARIES = 170
"""So many come at least in a start and a pass with a new head; later ones may lie in the next pass."""


class Developers:
    """Open, push and close at random; always at least one pull request is open."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self._bench = bench
        self._chance = chance
        self._opened = 0
        self._branches: dict[int, int] = {}

    def do(self, *, new_head: bool = False) -> None:
        bench, numbers = self._bench, sorted(self._bench.wanted)
        deed = self._chance.choice(["open", "push", "close"])
        if not numbers or (new_head and deed == "close"):
            deed = "open"
        if deed == "open" and len(numbers) >= OPEN_MAX:
            deed = "push"
        match deed:
            case "open":
                number = bench.opens(self._chance.choice([None, *IMAGE_NAMES]))
                self._branches[number] = bench.newest_branch
            case "push":
                number = self._chance.choice(numbers)
                bench.pushes(number, self._branches[number])
            case "close":
                bench.closes(self._chance.choice(numbers))


def random_kills(bench: Bench, kills: int, seed: int) -> None:
    """So many kills; after each, one pass must make everything right. Whatever fails is told with the seed."""
    chance = random.Random(seed)
    bench.shop.configure(workers=4)
    developers = Developers(bench, chance)
    for n in range(1, kills + 1):
        developers.do(new_head=True)
        if chance.random() < 0.2:
            kind = chance.choice(sorted(ANSWERED))
            kill: dict[str, Any] = {"answer": kind, "nth": chance.randint(1, 2)}
        else:
            kill = {"at": chance.randint(1, PASS_BOUNDARIES), "family": chance.random() < 0.5}
        bench.start("run", **kill)
        # While it runs: what it has looked at may not be so any more when it writes.
        for _ in range(chance.randint(0, 2)):
            developers.do()
        for _ in range(QUIET_MAX):
            if bench.ends_within(QUIET_S):
                break
            # The boundary was not among those of these heads: more work brings more.
            developers.do(new_head=True)
        ran = bench.ended()
        try:
            assert ran.code == -9, f"it ended with {ran.code}"
            assert ran.killed is not None
            bench.heals()
        except (AssertionError, ReconcilerError) as error:
            raise AssertionError(f"seed {seed}, kill {n} at {ran.killed} by {kill}: {error}") from error
