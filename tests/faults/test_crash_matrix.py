"""kill -9 of the real program at every kind of boundary; `python -m tests.faults` does it at every single one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crash_matrix import ANSWERED, EFFECTS, KINDS, Start, every_effect, every_kind
from tests.faults.kill_bench import Bench, open_bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path / "bench") as made:
        yield made


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(3))
def test_killed_at_any_kind_of_boundary_the_next_pass_finishes_what_was_begun(bench: Bench, part: int) -> None:
    assert every_kind(bench, Start.LATER, slice(part, None, 3)) >= len(KINDS)


def test_killed_before_each_effect_or_its_answer_the_next_pass_finishes_what_was_begun(bench: Bench) -> None:
    assert every_effect(bench) == len(EFFECTS) + len(ANSWERED)
