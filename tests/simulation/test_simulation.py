"""Many worlds, drawn from seeds, under faults: the invariants of design §2 hold at every step, and all come to rest."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation, search
from tests.simulation.run import SimulationFailed, shortest, simulate
from tests.simulation.shrink import shrunk
from tests.thorough import thorough

SEEDS = 30 if thorough() else 10
CHUNK = 5
MUTATION_SEEDS = 150
"""So many runs may find a mutation, should its known seed do so no more; `make soak` tries all of them."""


@pytest.mark.parametrize("start", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_under_faults_and_the_world_comes_to_rest(start: int) -> None:
    runs = [simulate(seed) for seed in range(start, start + CHUNK)]
    # A simulation in which nothing happens proves nothing.
    for what in ("puts", "adopts", "restarts"):
        assert sum(getattr(run, what) for run in runs) > 0, what


def test_one_seed_gives_one_trace() -> None:
    run = "from tests.simulation.run import simulate; "
    code = run + "print(*(line for s in (3, 11, 17) for line in simulate(s).trace), sep='\\n')"
    traces = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("0", "1")
    ]
    assert traces[0] == traces[1]
    assert len(traces[0].splitlines()) > 150


def _known() -> list[Any]:
    """Every mutation with a seed that finds it; by default the first of each invariant."""
    tried: set[int] = set()
    known = []
    for mutation in (m for m in MUTATIONS if m.found_by is not None):
        marks = [pytest.mark.thorough] if mutation.invariant in tried else []
        tried.add(mutation.invariant)
        known.append(pytest.param(mutation, id=mutation.name, marks=marks))
    return known


@pytest.mark.parametrize("mutation", _known())
def test_a_rule_that_is_broken_on_purpose_is_found(mutation: Mutation) -> None:
    found = search(mutation, MUTATION_SEEDS)
    if found.seed is None:
        pytest.fail(f"invariant {mutation.invariant} was not found broken in {found.runs} runs: {found.others[:3]}")


def test_each_invariant_is_broken_at_least_once() -> None:
    assert {mutation.invariant for mutation in MUTATIONS} == {*range(15)}


def test_a_failure_is_told_with_as_little_as_still_fails() -> None:
    mutation = next(m for m in MUTATIONS if m.name == "tags are not looked at again")
    with pytest.MonkeyPatch.context() as patch:
        mutation.break_it(patch)
        failed = _first_failure()
        least = shortest(failed)
        assert least.invariant == failed.invariant == mutation.invariant
        assert len(least.items) < len(failed.items)
        with pytest.raises(SimulationFailed) as again:
            simulate(least.seed, least.items)
    assert (again.value.what, again.value.trace) == (least.what, least.trace)


def _first_failure() -> SimulationFailed:
    for seed in range(MUTATION_SEEDS):
        try:
            simulate(seed)
        except SimulationFailed as failure:
            return failure
    pytest.fail("nothing was found")


@pytest.mark.parametrize("needed", [{3}, {0, 99}, {10, 11, 12}, set(range(0, 100, 7))])
def test_what_is_left_of_a_list_is_what_is_needed(needed: set[int]) -> None:
    assert set(shrunk(range(100), lambda left: needed <= set(left), tries=10_000)) == needed


def test_no_more_tries_are_made_than_given() -> None:
    asked: list[int] = []
    shrunk(range(100), lambda left: bool(asked.append(len(left))), tries=7)
    assert len(asked) == 7
