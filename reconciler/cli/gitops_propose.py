"""`ameide gitops propose`: the rendered lane as a pull request of the GitOps repository."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from reconciler.lane.proposing import Report

_STYLES = {"added": "green", "changed": "yellow", "removed": "red"}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if several have a lane.")
@click.option("--dry-run", is_flag=True, help="Show the difference. Nothing is written anywhere.")
@click.option("--again", is_flag=True, help="Also what a person closed, or took back after it was merged.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def propose(config: Path, repo: str | None, *, dry_run: bool, again: bool, as_json: bool) -> int:
    """Open a GitOps pull request with the lane as it is rendered, or find the one that is open.

    A file is removed only if the list of the last rendering (ameide-lane.sha256) names it with the bytes that it has;
    no other file is touched, and a branch that a person committed to is left alone. What is done is in the operator's
    log, log/<repository id>/operator, before it is done. It is no approval: nothing is merged.

    \b
    Examples:
      ameide gitops propose --config ameide.yaml --dry-run
      ameide gitops propose --config ameide.yaml --json | jq .change
    Exit codes: 0 the lane is in place, or its pull request is open; 1 --dry-run found differences, or a person closed
    it or took the branch over; 2 bad configuration, a refused credential, or somebody else's file in the way; 3 a
    forge, git or the log does not answer now.
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.events import to_stream
    from reconciler.janitor.wiring import writes
    from reconciler.lane.wiring import lane_proposer
    from reconciler.preview.render import repository_with_lane
    from reconciler.settings import load
    from state import canonical
    from state.errors import ConfigError

    loaded = load(config)
    repository = repository_with_lane(loaded.settings, repo)
    if not dry_run and not writes(loaded.settings, repository):
        raise ConfigError(f"{repository.name}: `mode: observe` and `suspend: true` write nothing; add --dry-run")
    emit = to_stream(sys.stderr, SystemClock())
    with (
        wiring.shared(loaded, emit, PrometheusMetrics()) as common,
        lane_proposer(common, repository) as made,
    ):
        report = made.plan(again=again) if dry_run else made.run(again=again)
        if as_json:
            click.echo(canonical.dumps(report.to_json(repository.name, made.branch)))
        else:
            _show(report, repository.name, made.branch.short)
    return EXIT_CLEAN if report.clean else EXIT_FINDINGS


def _show(report: Report, name: str, branch: str) -> None:
    from rich.text import Text

    from reconciler.cli.tables import console
    from reconciler.lane.deciding import Act

    out = console()
    for file in report.look.files:
        out.print(Text(f"{file.what:<8} {file.path}", style=_STYLES[file.what]), soft_wrap=True)
        if file.what == "changed":
            for line in file.lines:
                out.print(Text(f"    {line}", style={"+": "green", "-": "red"}.get(line[:1], "dim")), soft_wrap=True)
    for path in report.look.difference.edited:
        out.print(Text(f"kept     {path}: not rendered any more, but edited since; it is yours"), soft_wrap=True)
    for ended in report.ended:
        out.print(Text(f"{ended.state.value:<8} #{ended.change} of {ended.branch.short}"), soft_wrap=True)
    act, change = report.ruling.act, report.ruling.change
    if report.applied and act in (Act.OPEN, Act.UPDATE):
        done = "open" if act is Act.OPEN else "updated"
        out.print(Text(f"{name}: pull request #{change} is {done}, branch {branch}", style="green"), soft_wrap=True)
    else:
        dry = "" if report.applied else " (dry run)"
        out.print(Text(f"{name}: {act.value}: {report.ruling.why}{dry}"), soft_wrap=True)
