"""`python -m tests.simulation --seeds N --start S`: many runs; a failing one is told with its seed and its trace."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.simulation.mutations import MUTATIONS, search
from tests.simulation.run import SimulationFailed, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many runs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--keep-going", action="store_true", help="run all seeds, tell each failure in one line")
    parser.add_argument("--mutations", action="store_true", help="break each rule on purpose; how many seeds find it")
    given = parser.parse_args()
    if given.mutations:
        return _mutations(given.seeds)
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
        total.update(restarts=ran.restarts, groups=ran.groups)
        if (seed + 1 - given.start) % 100 == 0:
            print(f"{seed + 1 - given.start} runs in {time.monotonic() - began:.1f} s: {dict(total)}", flush=True)  # noqa: T201
    print(f"{failed} of {given.seeds} runs failed; {dict(total)} in {time.monotonic() - began:.1f} s")  # noqa: T201
    return 1 if failed else 0


def _mutations(seeds: int) -> int:
    """Each rule of the list, its invariant (0: does not come to rest), and how many seeds it took to find it broken."""
    missed = 0
    for mutation in MUTATIONS:
        found, _ = search(mutation, seeds)
        missed += found is None
        took = f"run {found} from seed {mutation.first_seed} on" if found else f"NOT FOUND in {seeds} runs"
        print(f"invariant {mutation.invariant:2}  {mutation.name}: {took}", flush=True)  # noqa: T201
    print(f"{missed} of {len(MUTATIONS)} mutations were not found")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
