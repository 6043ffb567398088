"""`python -m tests.simulation`: many runs; a failing one is told with its seed and the shortest trace that still fails.

One run again: `--start SEED --seeds 1`. Many on all cores: `--steps 1000000`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial

from tests.arguments import natural, positive
from tests.simulation.mutations import MUTATIONS, search
from tests.simulation.run import SimulationFailed, shortest, simulate

CHUNK = 50


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=positive, default=300, help="how many runs")
    parser.add_argument("--steps", type=natural, default=0, help="at least so many steps, however many runs that takes")
    parser.add_argument("--start", type=natural, default=0, help="the first seed")
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="how many processes")
    parser.add_argument("--trace", action="store_true", help="print what happened in each run")
    parser.add_argument("--mutations", action="store_true", help="break each rule on purpose; how many seeds find it")
    parser.add_argument("--anew", action="store_true", help="with --mutations: from seed 0 on, not by the known seeds")
    given = parser.parse_args()
    if given.mutations:
        return _mutations(given.seeds, given.workers, anew=given.anew)
    if given.trace:
        return _traced(range(given.start, given.start + given.seeds))
    began, total, failed = time.monotonic(), Counter[str](), list[str]()
    with ProcessPoolExecutor(given.workers) as pool:
        start = given.start
        while total["steps"] < given.steps if given.steps else start < given.start + given.seeds:
            ahead = given.workers * CHUNK if given.steps else given.start + given.seeds - start
            starts = range(start, start + ahead, CHUNK)
            for done, wrong in pool.map(_chunk, [(at, min(CHUNK, start + ahead - at)) for at in starts]):
                total.update(done)
                failed += wrong
                for text in wrong:
                    print(text, flush=True)  # noqa: T201
            start += ahead
            print(_summary(total, time.monotonic() - began), flush=True)  # noqa: T201
            if failed:
                break
    print(f"{len(failed)} of {total['runs'] + len(failed)} runs failed")  # noqa: T201
    return 1 if failed else 0


def _chunk(what: tuple[int, int]) -> tuple[Counter[str], list[str]]:
    """`count` runs from a seed on: what they did, and the text of each that failed."""
    start, count = what
    done, failed = Counter[str](), []
    began = time.process_time()
    for seed in range(start, start + count):
        try:
            ran = simulate(seed)
        except SimulationFailed as failure:
            least = shortest(failure)
            failed.append("\n".join([*least.trace, f"{least} (first: {failure.what}; {len(least.items)} items left)"]))
            continue
        done.update(runs=1, **{name: value for name, value in asdict(ran).items() if isinstance(value, int)})
    done["cpu_ms"] += int(1000 * (time.process_time() - began))
    return done, failed


def _summary(total: Counter[str], seconds: float) -> str:
    shown = {name: count for name, count in total.items() if name != "cpu_ms"}
    rate = 1000 * total["steps"] / max(1, total["cpu_ms"])
    return f"{seconds:.0f} s, {rate:.0f} steps a second and core: {shown}"


def _traced(seeds: range) -> int:
    for seed in seeds:
        try:
            print("\n".join(simulate(seed).trace))  # noqa: T201
        except SimulationFailed as failure:
            print("\n".join([*failure.trace, str(failure)]))  # noqa: T201
            return 1
    return 0


def _mutations(seeds: int, workers: int, *, anew: bool) -> int:
    """Each rule of the list, its invariant (0: does not come to rest), and the seed that finds it broken."""
    missed = 0
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(partial(_sought, seeds=seeds, anew=anew), range(len(MUTATIONS)))
        for mutation, (seed, runs, cpu_s) in zip(MUTATIONS, found, strict=True):
            missed += seed is None
            took = f"NOT FOUND in {runs} runs" if seed is None else f"seed {seed}, {runs} runs, {cpu_s:.1f} s"
            print(f"invariant {mutation.invariant:2}  {mutation.name}: {took}", flush=True)  # noqa: T201
    print(f"{missed} of {len(MUTATIONS)} mutations were not found")  # noqa: T201
    return 1 if missed else 0


def _sought(number: int, *, seeds: int, anew: bool) -> tuple[int | None, int, float]:
    """The seed that finds a mutation of the list, how many runs and how many CPU seconds that took."""
    began = time.process_time()
    seed, runs, _ = search(MUTATIONS[number], seeds, anew=anew)
    return seed, runs, time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
