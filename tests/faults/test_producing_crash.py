"""A publish that ends in the middle, at some of its steps; `make soak` ends it at every one."""

from __future__ import annotations

from pathlib import Path

from tests.faults.producing_matrix import Matrix
from tests.fixtures.producing import open_yard


def test_a_run_that_is_killed_leaves_nothing_half_done_and_the_next_one_finishes_it(tmp_path: Path) -> None:
    with open_yard(tmp_path / "yard") as yard:
        matrix = Matrix(yard)
        steps = matrix.whole()
        # Before the build, amid the uploads, amid the evidence, before each of the two tags.
        assert matrix.cut([2, steps // 3, steps * 2 // 3, steps - 1, steps]) == 5
