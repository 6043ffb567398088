"""Many worlds, drawn from seeds, under faults: the invariants of design §2 hold at every step, and all come to rest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, search
from tests.simulation.run import simulate

SEEDS = 300
CHUNK = 25
MUTATION_SEEDS = 150
"""A broken rule must be found within so many runs; most are in the first ten."""


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_under_faults_and_the_world_comes_to_rest(start: int) -> None:
    runs = [simulate(seed) for seed in range(start, start + CHUNK)]
    # A simulation in which nothing happens proves nothing.
    assert sum(run.puts for run in runs) > CHUNK
    assert sum(run.adopts for run in runs) > 0
    assert sum(run.groups for run in runs) > 0
    assert sum(run.restarts for run in runs) > CHUNK


@pytest.mark.parametrize("seed", [3, 11, 42])
def test_one_seed_gives_one_trace_whatever_the_hash_seed(seed: int) -> None:
    code = f"from tests.simulation.run import simulate; print('\\n'.join(simulate({seed}).trace))"
    traces = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert len(traces[0].splitlines()) > 50


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_rule_that_is_broken_on_purpose_is_found(mutation: Mutation) -> None:
    found, others = search(mutation, MUTATION_SEEDS)
    if found is None:
        pytest.fail(f"invariant {mutation.invariant} was not found broken in {MUTATION_SEEDS} runs: {others[:3]}")


def test_each_invariant_that_is_checked_here_is_broken_at_least_once() -> None:
    assert {mutation.invariant for mutation in MUTATIONS} == {0, 1, 2, 3, 4, 7, 8, 12, 13}
