"""`ameide janitor`: which preview namespaces end, and ending them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS, complain, exit_code

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.janitor.deciding import Decision
    from reconciler.janitor.running import Report
    from state.errors import ReconcilerError

_CONFIG = click.option(
    "--config", "config", type=click.Path(path_type=Path), required=True, help="The configuration file."
)
_REPO = click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
_STYLES = {"delete": "red", "bury": "yellow", "keep": "green"}
_ACTS = {"delete": "delete", "bury": "mark", "keep": "keep"}


@click.group()
def command() -> None:
    """Delete preview namespaces that no Application refers to, in two looks with a grace period between."""


@command.command()
@_CONFIG
@_REPO
@_JSON
def plan(config: Path, repo: str | None, as_json: bool) -> int:
    """Show what a run would do with each preview namespace, and why. Reads only: no signing key is opened.

    \b
    Examples:
      ameide janitor plan --config ameide.yaml
      ameide janitor plan --config ameide.yaml --json | jq '.namespaces[] | select(.reason == "stuck")'
    Exit codes: 0 nothing to do, 1 there is work, something is stuck or a listing was not complete, 2 bad configuration
    or missing rights, 3 the cluster or the log does not answer now.
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.cli.tables import console
    from reconciler.events import to_stream
    from reconciler.janitor.running import Report
    from reconciler.janitor.wiring import janitor_of
    from reconciler.settings import load
    from state import canonical

    loaded = load(config)
    repository = wiring.repository_named(loaded.settings, repo)
    clock = SystemClock()
    with janitor_of(loaded.settings, repository, clock, to_stream(sys.stderr, clock)) as janitor:
        report = Report(janitor.plan(), rehearsed=True)
    if as_json:
        click.echo(canonical.dumps(report.to_json(repository.name)))
    else:
        _show(console(), report.decision, f"{repository.name}: now")
    return EXIT_CLEAN if report.clean and report.decision.is_noop else EXIT_FINDINGS


@command.command()
@_CONFIG
@click.option("--once", is_flag=True, help="One run over every repository with a janitor, as a CronJob makes it.")
@click.option("--dry-run", is_flag=True, help="With --once: record nothing, and send deletions as dry runs.")
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write numbers for Prometheus there after each run (textfile collector).",
)
@_JSON
def run(config: Path, once: bool, dry_run: bool, metrics_file: Path | None, as_json: bool) -> int:
    """Mark and delete preview namespaces: with --once in one run, otherwise again and again until stopped.

    SIGTERM ends it after the deletion that was begun; kill -9 is equally safe. `mode: observe` and `suspend: true` in
    the configuration make every run a dry run. Events go to standard error.

    \b
    Examples:
      ameide janitor run --config /etc/ameide/ameide.yaml --once
      ameide janitor run --config ameide.yaml --once --dry-run --json
      ameide janitor run --config ameide.yaml --once --metrics-file /var/lib/node_exporter/ameide_janitor.prom
    Exit codes: 0 done, 1 something is stuck, was refused or could not be read whole, 2 bad configuration or missing
    rights, 3 the cluster or the log does not answer now, or another janitor took over.
    """
    from reconciler.adapters.clock import SystemClock
    from reconciler.daemon import stopping_on_signals
    from reconciler.events import to_stream
    from reconciler.janitor.metrics_file import MetricsFile
    from reconciler.janitor.wiring import Daemon
    from reconciler.process_log import process_log
    from reconciler.settings import load

    clock = SystemClock()
    numbers = None if metrics_file is None else MetricsFile(metrics_file, clock)
    if not once:
        if dry_run or as_json:
            raise click.UsageError("--dry-run and --json are for one run: add --once")
        with process_log(sys.stderr, clock) as emit:
            daemon = Daemon(config, clock, emit, None if numbers is None else numbers.ran)
            with stopping_on_signals(daemon.stop):
                daemon.run()
        return EXIT_CLEAN
    import threading

    from reconciler.cli.tables import console
    from reconciler.janitor.wiring import one_run
    from state import canonical

    failures: list[ReconcilerError] = []
    clean = True
    stopping = threading.Event()

    def failed(name: str, error: ReconcilerError) -> None:
        failures.append(error)
        complain(f"{name}: {error}")

    loaded = load(config)
    emit = to_stream(sys.stderr, clock)
    with stopping_on_signals(stopping.set):
        for name, report in one_run(loaded, clock, emit, stopping.is_set, dry_run=dry_run, failed=failed):
            clean = clean and report.clean
            if numbers is not None:
                numbers.ran(name, report)
            if as_json:
                click.echo(canonical.dumps(report.to_json(name)))
            else:
                _show_run(console(), report, name)
    if failures:
        return exit_code(failures[0])
    return EXIT_CLEAN if clean else EXIT_FINDINGS


def _show(out: Console, decision: Decision, title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    if not decision.complete:
        out.print(Text(f"Nothing is done: {decision.why}", style="red"), soft_wrap=True)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("namespace", "act", "reason", "why"):
        table.add_column(heading, no_wrap=heading != "why", overflow="fold")
    for ruling in decision.rulings:
        act = ruling.act.value
        table.add_row(
            Text(ruling.namespace.name), Text(_ACTS[act], style=_STYLES[act]), ruling.reason.value, Text(ruling.why)
        )
    out.print(table)
    if not decision.rulings:
        out.print("There is no preview namespace.")
    for tombstone, why in decision.withdrawn:
        out.print(Text(f"spared   {tombstone.name}: {why}"), soft_wrap=True)


def _show_run(out: Console, report: Report, name: str) -> None:
    from rich.text import Text

    _show(out, report.decision, f"{name}: {'dry run' if report.rehearsed else 'this run'}")
    for done in report.done:
        out.print(Text(f"{done.result.value:<10} {done.name}{f': {done.why}' if done.why else ''}"), soft_wrap=True)
