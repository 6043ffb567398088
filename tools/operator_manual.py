#!/usr/bin/env python3
"""Bring the tables of docs/operator-manual.md up to date: metrics, labels and log lines, as the code has them.

.venv/bin/python -m tools.operator_manual          rewrite the page
.venv/bin/python -m tools.operator_manual --check  exit code 1 if it differs
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

from ruamel.yaml import YAML

from reconciler import events
from reconciler.events import Event
from reconciler.metric_table import JANITOR_METRICS, LABELS, METRICS, Kind, Metric, exposed_name

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "operator-manual.md"
ALERTS: Final = ROOT / "examples" / "prometheus" / "ameide-alerts.yaml"
NAMES: Final = re.compile(r"\b(?:ameide|process)_[a-z_]+")
_SUFFIXES: Final = ("_bucket", "_sum", "_count")


def family(name: str) -> str:
    """The metric that a series of this name belongs to: without what a histogram adds."""
    bare = next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
    known = {exposed_name(n, m) for n, m in (METRICS | JANITOR_METRICS).items() if m.kind is Kind.HISTOGRAM}
    return bare if bare in known else name


def alerts() -> dict[str, str]:
    """Alert → its expression."""
    groups = YAML(typ="safe").load(ALERTS)["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def metrics_table(table: Mapping[str, Metric]) -> str:
    used: dict[str, list[str]] = {}
    for alert, expression in alerts().items():
        for name in {family(found) for found in NAMES.findall(expression)}:
            used.setdefault(name, []).append(f"[{alert}](#{alert.lower()})")
    rows = ["| metric | type | labels | means | alerts |", "|---|---|---|---|---|"]
    for name, metric in table.items():
        exposed = exposed_name(name, metric)
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        told = ", ".join(sorted(used.get(exposed, ())))
        rows.append(f"| `{exposed}` | {metric.kind.value} | {labels} | {metric.help} | {told} |")
    return _lines(rows)


def labels_table() -> str:
    return _lines(["| label | values |", "|---|---|", *(f"| `{label}` | {told} |" for label, told in LABELS.items())])


def meanings() -> dict[str, str]:
    """Event → its docstring in the code, in one line."""
    module = ast.parse(Path(events.__file__).read_text())
    body = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == "Event").body
    found = {}
    for made, told in pairwise(body):
        match made, told:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[Event[name].value] = " ".join(text.split())
            case _:
                pass
    return found


def events_table() -> str:
    told = meanings()
    rows = ["| event | level | means, and from warning on what to do |", "|---|---|---|"]
    rows += [f"| `{event.value}` | {event.level.value} | {told[event.value]} |" for event in Event]
    return _lines(rows)


def rendered(page: str) -> str:
    """The page with its tables as they should be."""
    tables = {
        "metrics": metrics_table(METRICS),
        "janitor-metrics": metrics_table(JANITOR_METRICS),
        "labels": labels_table(),
        "events": events_table(),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE}: expected {begin.strip()} and {end}")
        page = before + begin + table + end + after
    return page


def _lines(rows: Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def main() -> int:
    page = PAGE.read_text()
    made = rendered(page)
    if "--check" in sys.argv[1:]:
        return int(made != page)
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
