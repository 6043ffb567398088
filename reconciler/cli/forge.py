"""`ameide forge`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS


@click.group("forge")
def command() -> None:
    """What the forge of a repository is asked, and what it grants."""


@command.command("budget")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--repo", help="Name of the repository, where the configuration has several.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def budget(config: Path, repo: str | None, as_json: bool) -> int:
    """Measure how many requests a pass sends to the forge, and hold an hour of them against its limit. Only reads.

    \b
    Example:
      ameide forge budget --config ameide.yaml --repo shop
    Exit codes: 0 a busy hour fits, 1 it does not, 2 bad input, 3 the forge did not answer.
    """
    from rich.table import Table

    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock, SystemRandom
    from reconciler.cli.tables import console
    from reconciler.forge_budget import measured
    from reconciler.settings import load

    settings = load(config).settings
    found = measured(settings, wiring.repository_named(settings, repo), SystemClock(), SystemRandom())
    granted = found.granted
    if as_json:
        body = {
            **found._asdict(),
            "costs": [c._asdict() for c in found.costs],
            "fits": found.fits,
            "granted": None if granted is None else {**granted._asdict(), "reset_at": granted.reset_at.isoformat()},
            "poll_interval_s": settings.poll_interval_s,
        }
        click.echo(json.dumps(body, indent=2))
        return EXIT_CLEAN if found.fits else EXIT_FINDINGS
    out = console()
    table = Table(title=f"{found.repository}: {found.pull_requests} open pull requests", title_justify="left", box=None)
    table.add_column("question")
    table.add_column("requests", justify="right")
    table.add_column("counted", justify="right")
    for cost in found.costs:
        table.add_row(cost.question, str(cost.requests), str(cost.counted))
    out.print(table)
    out.print(f"\nPolling every {settings.poll_interval_s} s, an hour counts:")
    out.print(f"  {found.idle_per_hour:6}  while nothing changes")
    out.print(f"  {found.busy_per_hour:6}  if everything changes between any two passes")
    if granted is None:
        out.print("The forge names no limit.")
        return EXIT_CLEAN
    hourly = granted.limit * (3600 // granted.period_s)
    out.print(f"  {hourly:6}  granted, {granted.remaining} left until {granted.reset_at:%H:%M} UTC")
    if not found.fits:
        out.print("A busy hour does not fit: poll less often (poll_interval_s), or use a GitHub App of its own.")
        return EXIT_FINDINGS
    return EXIT_CLEAN
