"""`ameide tags`: removing `:<HEAD_SHA>` tags of closed pull requests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from reconciler.tag_gc.running import Report

_STYLES = {"remove": "red", "mark": "yellow", "keep": "green"}


@click.group()
def command() -> None:
    """Remove tags that pull requests left behind."""


@command.command()
@click.option("--config", "config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
@click.option("--apply", is_flag=True, help="Do it. Without this nothing is written anywhere.")
@click.option("--last-tags", is_flag=True, help="Also tags that are the last one of their digest.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def gc(config: Path, repo: str | None, apply: bool, last_tags: bool, as_json: bool) -> int:
    """Remove the `:<HEAD_SHA>` tags that our log recorded for pull requests that are closed by now.

    Two runs, `tag_gc.grace_s` apart: the first marks a tag, the second removes it, if nothing changed. Only tags, never
    a manifest; where a registry cannot remove one tag alone (GHCR, distribution 2) nothing is removed, and why is told.
    Every removal is in the operator's log, log/<repository id>/operator, before it is made.

    \b
    Examples:
      ameide tags gc --config ameide.yaml
      ameide tags gc --config ameide.yaml --apply --json | jq .removals
    Exit codes: 0 nothing to do, or done; 1 there is work for --apply, or a removal was not made; 2 bad configuration or
    a refused credential; 3 a forge, registry or the log does not answer now.
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.events import to_stream
    from reconciler.janitor.wiring import writes
    from reconciler.settings import load
    from reconciler.tag_gc.wiring import tag_gc_of
    from state import canonical
    from state.errors import ConfigError

    loaded = load(config)
    repository = wiring.repository_named(loaded.settings, repo)
    if apply and not writes(loaded.settings, repository):
        raise ConfigError(f"{repository.name}: `mode: observe` and `suspend: true` write nothing; leave --apply out")
    emit = to_stream(sys.stderr, SystemClock())
    with (
        wiring.shared(loaded, emit, PrometheusMetrics()) as common,
        tag_gc_of(common, repository, last_tags=last_tags) as made,
    ):
        report = made.run() if apply else made.plan()
    if as_json:
        click.echo(canonical.dumps(report.to_json(repository.name)))
    else:
        _show(report, repository.name)
    done = report.clean and (report.applied or report.decision.is_noop)
    return EXIT_CLEAN if done else EXIT_FINDINGS


def _show(report: Report, name: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from reconciler.cli.tables import console
    from reconciler.tag_gc.running import host_refusals

    out = console()
    title = f"{name}: {'this run' if report.applied else 'dry run; --apply does it'}"
    if not report.decision.complete:
        out.print(Text(f"Nothing is done: {report.decision.why}", style="red"), soft_wrap=True)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("tag", "PR", "act", "reason", "why"):
        table.add_column(heading, no_wrap=heading != "why", overflow="fold")
    refusals = host_refusals(report)
    for ruling in report.decision.rulings:
        custody, act = ruling.custody, ruling.act.value
        table.add_row(
            Text(f"{custody.repository.path.rpartition('/')[2]}:{custody.head.short}"),
            " ".join(f"#{n}" for n in custody.pull_requests[:3]),
            Text(act, style=_STYLES[act]),
            ruling.reason.value,
            Text("" if custody.repository.host in dict(refusals) else ruling.why),
        )
    out.print(table)
    if not report.decision.rulings:
        out.print("The log records no tag of a closed pull request.")
    for host, why in refusals:
        out.print(Text(f"{host}: {why}"), soft_wrap=True)
    for done in report.done:
        out.print(Text(f"{done.result.value:<10} {done.custody}{f': {done.why}' if done.why else ''}"), soft_wrap=True)
