"""`python -m bench [NAME...] [--json FILE] [--dir DIR] [--rounds N]`."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import (
    approval,
    changes,
    cold,
    evidence,
    gitops,
    growth,
    log,
    peers,
    planner,
    publish,
    requests,
    retag,
    status,
    webhook,
)
from bench.measure import Bench, Row, Verdict, say

FIGURES: dict[str, Callable[[Bench], list[Row]]] = {
    "retag": retag.run,
    "requests": requests.run,
    "growth": growth.run,
    "cold": cold.run,
    "planner": planner.run,
    "changes": changes.run,
    "log": log.run,
    "evidence": evidence.run,
    "approval": approval.run,
    "publish": publish.run,
    "webhook": webhook.run,
    "gitops": gitops.run,
    "status": status.run,
    "peers": peers.run,
}
_STYLES = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.SHOWN: "dim", Verdict.SKIPPED: "yellow"}
_WIDTH = 150
"""Of the table where there is no terminal to ask."""
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(FIGURES)))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the numbers here, too.")
@click.option("--dir", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A disk.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Repetitions of each measurement.")
def main(names: tuple[str, ...], json_file: Path | None, directory: Path | None, rounds: int) -> None:
    """Measure NAMES, or every figure. Exit code 1 if a target is missed."""
    logging.getLogger("waitress").setLevel(logging.ERROR)  # it tells of every moment in which requests wait
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ameide-bench-", dir=directory, ignore_cleanup_errors=True) as root:
        where = _file_system(Path(root))
        if where in _IN_MEMORY:
            say(f"bench: {root} is on {where}, where fsync costs nothing; name a directory on a disk with --dir")
        machine = (
            f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
        )
        machine += f", {where}, load {os.getloadavg()[0]:.1f}"
        for name in names or FIGURES:
            start = time.monotonic()
            say(f"{name}:")
            rows += FIGURES[name](Bench(Path(root) / name, rounds))
            say(f"{name}: {time.monotonic() - start:.0f} s")
        say("removing what was written")
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(_table(rows, machine))
    if json_file is not None:
        found = {"machine": machine, "rounds": rounds, "rows": [row.to_json() for row in rows]}
        json_file.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    sys.exit(any(row.verdict is Verdict.MISSED for row in rows))


def _table(rows: list[Row], machine: str) -> Table:
    table = Table(title=f"bench: {machine}", title_justify="left")
    for heading in ("figure", "what"):
        table.add_column(heading, no_wrap=heading == "figure")
    for heading in ("ours", "peer", "ratio", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("peer or note")
    for row in rows:
        verdict = f"[{_STYLES[row.verdict]}]{row.verdict.value}[/]"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        target = str(row.target) if row.target else ""
        ours, peer = _shown(row.ours, row.unit), _shown(row.peer, row.unit)
        table.add_row(row.figure, row.what, ours, peer, ratio, target, verdict, row.note)
    return table


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.4g} {unit}" if isinstance(value, float) else f"{value} {unit}"


def _file_system(path: Path) -> str:
    """The type of the file system that `path` is on, where the system tells."""
    mounts = Path("/proc/mounts")
    found = [(0, "unknown file system")]
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, kind, *_ = line.split(" ")
        if path.resolve().is_relative_to(point):
            found.append((len(point), kind))
    return max(found)[1]


if __name__ == "__main__":
    main()
