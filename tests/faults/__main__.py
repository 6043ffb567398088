"""`python -m tests.faults`: kill -9 at every boundary of a first and of a later run and of each command, and many
random kills.

And a publish of images that ends before each of its steps outside, and clocks that jump in one of two replicas.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.arguments import natural, positive
from tests.faults import command_kills
from tests.faults.clock_jumps import every_jump
from tests.faults.crash_matrix import Start, every_answer, every_boundary
from tests.faults.forks import forks, killed_along_the_way
from tests.faults.kill_bench import open_bench
from tests.faults.kill_loop import random_kills
from tests.faults.producing_matrix import Matrix
from tests.faults.standby_loop import standby_kills
from tests.fixtures.producing import open_yard

KILLS_PER_WORLD = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=positive, default=200, help="how many random kills")
    parser.add_argument(
        "--seed", type=natural, default=0, help="the first seed; each world of 20 kills has the next one"
    )
    parser.add_argument("--standby-kills", type=natural, default=40, help="how many kills of the replica that works")
    parser.add_argument("--no-clocks", action="store_true", help="no clock that jumps in one of two replicas")
    parser.add_argument("--no-matrix", action="store_true", help="random kills only")
    given = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{text}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201

    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for n, start in enumerate(() if given.no_matrix else Start):
            with open_bench(root / start) as bench:
                deaths = sum(1 for _ in every_boundary(bench, start, family=n == 0))
            say(f"killed at each of {deaths} boundaries of a {start} run")
        if not given.no_matrix:
            with open_yard(root / "producing") as yard:
                matrix = Matrix(yard)
                ended = matrix.cut(range(1, matrix.whole() + 1))
            say(f"ended a publish before each of {ended} steps")
            with open_bench(root / "answers") as bench:
                say(f"killed at {every_answer(bench)} answers")
            with ExitStack() as stack:
                (root / "home").mkdir()
                made_forks = stack.enter_context(forks(command_kills.environment(root / "home"), root / "stderr"))
                for name, world in {
                    "gitops propose": command_kills.proposing(made_forks),
                    "janitor run": command_kills.deleting_namespaces(made_forks, stack, one=2),
                    "tags gc": command_kills.removing_tags(made_forks, stack),
                }.items():
                    say(f"{name}: killed at {killed_along_the_way(world, root / name, None)} boundaries")
        for seed in range(given.seed, given.seed + -(-given.kills // KILLS_PER_WORLD)):
            with open_bench(root / f"seed-{seed}") as bench:
                random_kills(bench, KILLS_PER_WORLD, seed)
            say(f"seed {seed}: {KILLS_PER_WORLD} random kills")
        for seed in range(given.seed, given.seed + -(-given.standby_kills // KILLS_PER_WORLD)):
            kills = min(KILLS_PER_WORLD, given.standby_kills)
            standby_kills(root / f"standby-{seed}", kills, seed)
            say(f"seed {seed}: {kills} kills of the replica that works, the other standing by")
        for jump in () if given.no_clocks else every_jump(root / "clocks"):
            say(f"of two replicas' clocks {jump}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
