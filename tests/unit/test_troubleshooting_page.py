"""docs/troubleshooting.md says what every hold, error and exit code means, and cannot fall behind them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from reconciler import cli
from state import errors
from state.hold import REMEDY, Reason

_PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


def _rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading: the code in a row's first cell → its other cells."""
    section = _PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        if found := re.fullmatch(r"\| `([^`]+)` \| (.+) \|", line):
            assert found[1] not in rows, f"{found[1]} is there twice"
            rows[found[1]] = found[2].split(" | ")
    return rows


def test_every_hold_has_its_entry_with_the_remedy_that_the_program_tells() -> None:
    rows = _rows("Holds")
    assert list(rows) == [reason.value for reason in Reason]
    assert {name: cells[1] for name, cells in rows.items()} == {r.value: REMEDY[r] for r in Reason}


def test_every_error_has_its_entry_with_its_exit_code() -> None:
    base = errors.ReconcilerError
    known = {
        name: made
        for name, made in inspect.getmembers(errors, inspect.isclass)
        if issubclass(made, base) and made is not base
    }
    rows = _rows("Errors")
    assert set(rows) == set(known)
    assert {name: cells[0] for name, cells in rows.items()} == {
        name: f"`{cli.exit_code(made('told'))}`" for name, made in known.items()
    }


def test_every_exit_code_has_its_entry() -> None:
    codes = {str(value) for name, value in vars(cli).items() if name.startswith("EXIT_")}
    assert set(_rows("Exit codes")) == codes
