"""docs/hostile-inputs.md names tests: each of them exists, and no hostile test is missing there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "hostile-inputs.md").read_text()
NAMED = re.findall(r"`([a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)


def defined(file: Path) -> set[str]:
    return set(re.findall(r"^def (test_[a-z0-9_]+)\(", file.read_text(), re.MULTILINE))


def test_every_row_names_tests_and_every_test_named_exists() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|( input \||-)", line)]
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row] == []
    assert PAGE.count("::test_") == len(NAMED)
    assert [f"{file}::{name}" for file, name in NAMED if name not in defined(TESTS / file)] == []


def test_every_hostile_test_is_on_the_page() -> None:
    files = [*TESTS.glob("*/test_hostile_*.py"), TESTS / "faults" / "test_paused.py"]
    files.remove(Path(__file__))
    assert len(files) >= 6
    written = {(str(file.relative_to(TESTS)), name) for file in files for name in defined(file)}
    assert written - set(NAMED) == set()
