"""`python -m tests.publishing`: the whole matrix of a publish, and every rule broken once."""

from __future__ import annotations

import argparse
import sys
import time

from tests.publishing.matrix import Failed, Matrix
from tests.publishing.mutations import MUTATIONS, search
from tests.publishing.remembered import remembered
from tests.publishing.stages import IN_SOAK, IN_TEST, STAGES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.publishing", description=__doc__)
    parser.add_argument("--short", action="store_true", help="what `make test` runs")
    parser.add_argument("--stage", action="append", choices=STAGES, help="this stage alone; may be given again")
    parser.add_argument("--mutations", action="store_true", help="every rule broken once, not the matrix")
    given = parser.parse_args()
    return _mutations() if given.mutations else _matrix(given.stage or list(STAGES), short=given.short)


def _matrix(names: list[str], *, short: bool) -> int:
    matrix, failed = Matrix(), 0
    with remembered():
        for name in names:
            began, runs, result = time.monotonic(), matrix.runs, "holds"
            try:
                STAGES[name](matrix, IN_TEST if short else IN_SOAK)
            except Failed as failure:
                failed += 1
                result = f"FAILED: {failure}"
            print(f"{name}: {matrix.runs - runs} runs, {time.monotonic() - began:.0f} s: {result}", flush=True)  # noqa: T201
    print(f"{matrix.runs} runs, {failed} stages failed")  # noqa: T201
    return 1 if failed else 0


def _mutations() -> int:
    """In each stage, so that it shows how often a mutation would be found."""
    missed = 0
    for mutation in MUTATIONS:
        found = {stage: failed for stage in STAGES if (failed := search(mutation, IN_TEST, [stage])) is not None}
        missed += mutation.stage not in found
        where = ", ".join(f"{stage} ({failed.rule})" for stage, failed in found.items()) or "NOWHERE"
        print(f"{mutation.name}: {where}", flush=True)  # noqa: T201
    print(f"{missed} of {len(MUTATIONS)} mutations were not found where they should be")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
