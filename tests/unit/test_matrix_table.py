"""The matrix on a terminal, however narrow."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from reconciler.cli.tables import show_matrix
from tests.unit.test_pull_request_status import HELD, READY

CELLS = (READY._replace(pr=1234, component="a-component-with-a-long-name"), HELD._replace(pr=1235))


@pytest.mark.parametrize("width", [20, 40, 60, 80, 99, 100, 120])
def test_no_width_cuts_a_number_a_state_or_a_reason(width: int) -> None:
    out = StringIO()
    show_matrix(Console(file=out, width=width), CELLS, "shop: now")
    table = out.getvalue().split("tag-unknown:")[0]
    for whole in ("#1234", "#1235", READY.head.short, "retagged", "inputs-unchanged", "tag-unknown"):
        assert whole in table
    if width >= 80:
        assert all(len(line) <= width for line in table.splitlines())
