"""kill -9 of `gitops propose`, `janitor run` and `tags gc` half way, as processes: the next run ends all, once.

`python -m tests.faults` kills them before each of their boundaries.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import command_kills
from tests.faults.forks import Forks, forks, killed_along_the_way
from tests.fixtures.janitor import Bench
from tests.thorough import thorough

KILLS = 2 if thorough() else 1


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    home = tmp_path_factory.mktemp("home")
    with forks(command_kills.environment(home), home / "stderr") as made:
        yield made


def test_a_proposal_that_was_killed_becomes_one_pull_request(forked: Forks, tmp_path: Path) -> None:
    assert killed_along_the_way(command_kills.proposing(forked), tmp_path, KILLS) == KILLS


def test_a_janitor_that_was_killed_deletes_each_namespace_once(forked: Forks, tmp_path: Path) -> None:
    with ExitStack() as stack:
        world = command_kills.deleting_namespaces(forked, stack)
        assert killed_along_the_way(world, tmp_path, KILLS) == KILLS


def test_a_removal_of_tags_that_was_killed_ends_as_if_it_was_not(forked: Forks, tmp_path: Path) -> None:
    with ExitStack() as stack:
        world = command_kills.removing_tags(forked, stack)
        assert killed_along_the_way(world, tmp_path, KILLS) == KILLS


@pytest.mark.parametrize("moment", ["before_delete", "after_delete"])
def test_a_janitor_that_is_killed_around_the_delete_itself(forked: Forks, janitor_bench: Bench, moment: str) -> None:
    bench = janitor_bench
    bench.marked(7)
    arguments = ["janitor", "run", "--once", "--config", str(bench.config())]
    pid = forked.start(arguments, bench.root)
    setattr(bench.simulated, moment, lambda: os.kill(pid, signal.SIGKILL))
    assert forked.ended().code == -9
    assert bench.kinds()[-1] == "intent"
    setattr(bench.simulated, moment, lambda: None)
    assert forked.run(arguments, bench.root).code == 0, forked.said()
    assert bench.simulated.deletes[:1] == ["pr-7"]
    assert set(bench.results().values()) == {"deleted"}
    command_kills.each_intent_has_one_outcome(bench.entries())
    assert bench.verified()
