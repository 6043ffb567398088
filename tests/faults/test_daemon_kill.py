"""kill -9 of the daemon at random boundaries, while developers are at work; `python -m tests.faults` does many more."""

from __future__ import annotations

from pathlib import Path

from tests.faults.kill_bench import open_bench
from tests.faults.kill_loop import random_kills
from tests.thorough import thorough

KILLS = 10 if thorough() else 3
SEED = 20_260_105


def test_killed_again_and_again_the_next_pass_brings_everything_about(tmp_path: Path) -> None:
    with open_bench(tmp_path / "bench") as bench:
        random_kills(bench, KILLS, SEED)
