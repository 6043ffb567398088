"""`python -m tests.simulation --seeds N --start S`: many runs; a failing one is told with its seed and its trace."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.run import SimulationFailed, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--keep-going", action="store_true", help="run all seeds, tell each failure in one line")
    given = parser.parse_args()
    began, total, failed = time.monotonic(), Counter[str](), 0
    for seed in range(given.start, given.start + given.seeds):
        try:
            ran = simulate(seed)
        except SimulationFailed as failure:
            failed += 1
            if given.keep_going:
                print(failure)  # noqa: T201
                continue
            print("\n".join(failure.trace))  # noqa: T201
            print(failure)  # noqa: T201
            raise
        total.update(
            runs=1, steps=len(ran.trace), entries=ran.entries, puts=ran.puts, adopts=ran.adopts, passes=ran.passes
        )
        total["restarts"] += ran.restarts
        if (seed + 1 - given.start) % 100 == 0:
            print(f"{seed + 1 - given.start} runs in {time.monotonic() - began:.1f} s: {dict(total)}", flush=True)  # noqa: T201
    print(f"{failed} of {given.seeds} runs failed; {dict(total)} in {time.monotonic() - began:.1f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
