"""`python -m tests.faults`: kill -9 at every boundary of a first and of a later run, and many random kills."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.crash_matrix import Start, every_answer, every_boundary
from tests.faults.kill_bench import open_bench
from tests.faults.kill_loop import random_kills
from tests.faults.standby_loop import standby_kills

KILLS_PER_WORLD = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many random kills")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; each world of 20 kills has the next one")
    parser.add_argument("--standby-kills", type=int, default=40, help="how many kills of the replica that works")
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
            with open_bench(root / "answers") as bench:
                say(f"killed at {every_answer(bench, each=True)} answers")
        for seed in range(given.seed, given.seed + -(-given.kills // KILLS_PER_WORLD)):
            with open_bench(root / f"seed-{seed}") as bench:
                random_kills(bench, KILLS_PER_WORLD, seed)
            say(f"seed {seed}: {KILLS_PER_WORLD} random kills")
        for seed in range(given.seed, given.seed + -(-given.standby_kills // KILLS_PER_WORLD)):
            kills = min(KILLS_PER_WORLD, given.standby_kills)
            standby_kills(root / f"standby-{seed}", kills, seed)
            say(f"seed {seed}: {kills} kills of the replica that works, the other standing by")
    return 0


if __name__ == "__main__":
    sys.exit(main())
