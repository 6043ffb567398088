"""`ameide reconciler`: passes once or for good, the plan without a writer, and why a cell is what it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_BAD_INPUT, EXIT_CLEAN, EXIT_DEPENDENCY, EXIT_FINDINGS, complain

if TYPE_CHECKING:
    from reconciler.looking import Tick
    from reconciler.passes import PassReport

_CONFIG = click.option(
    "--config", "config", type=click.Path(path_type=Path), required=True, help="The configuration file."
)
_REPO = click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")


@click.group()
def command() -> None:
    """Run passes: observe, decide, plan, retag, record."""


@command.command()
@_CONFIG
@click.option("--sweep", is_flag=True, help="Read every recorded tag again, to see whether somebody moved one.")
@_JSON
def once(config: Path, sweep: bool, as_json: bool) -> int:
    """Run one pass over every repository and show what came of it.

    \b
    Examples:
      ameide reconciler once --config ameide.yaml
      ameide reconciler once --config ameide.yaml --sweep
    Exit codes: 0 converged, 1 something is waited for, held or could not be read, 2 bad configuration, 3 a dependency
    failed.
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.cli.tables import console, show_matrix
    from reconciler.events import carrying, to_stream
    from reconciler.settings import load
    from state import canonical
    from state.errors import Transient

    loaded = load(config)
    emit = to_stream(sys.stderr, SystemClock())
    clean, failed = True, False
    with _progress(quiet=as_json) as tick, wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        for settings in loaded.settings.repositories:
            try:
                with carrying(name=settings.name), wiring.writer(common, settings, tick) as (repository, _, _):
                    repository.configured(loaded.digest)
                    rules = replace(wiring.rules(loaded.settings, settings), sweep_all=sweep)
                    report = repository.run_pass(rules, frozenset(), lambda: False)
            except Transient as error:
                if len(loaded.settings.repositories) == 1:
                    raise
                complain(f"{settings.name}: {error}")
                failed = True
                continue
            # What could not be read may hide what is to be done: a broken catalogue, or a pull request.
            clean = clean and report.converged and report.complete and not report.problems
            if as_json:
                click.echo(canonical.dumps(report.to_json(settings.name)))
            else:
                show_matrix(console(), report.cells, f"{settings.name}: after pass {report.pass_id}")
    if failed:
        return EXIT_DEPENDENCY
    return EXIT_CLEAN if clean else EXIT_FINDINGS


@command.command()
@_CONFIG
@_REPO
@_JSON
def plan(config: Path, repo: str | None, as_json: bool) -> int:
    """Show what a pass would do. Reads only: no signing key is opened, nothing is written or logged.

    \b
    Example:
      ameide reconciler plan --config ameide.yaml --json | jq .actions
    Exit codes: 0 nothing to do, 1 there is work or something could not be read, 2 bad configuration, 3 a dependency
    failed.
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.cli.tables import console, show_matrix, show_plan
    from reconciler.events import to_stream
    from reconciler.matrix import matrix
    from reconciler.planner import plan as make_plan
    from reconciler.settings import load
    from state import canonical

    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    emit = to_stream(sys.stderr, SystemClock())
    with _progress(quiet=as_json) as tick, wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        seen = wiring.look_only(common, settings, tick)
    made = make_plan(seen.look.snapshot)
    for problem in seen.look.problems:
        complain(str(problem))
    if as_json:
        click.echo(canonical.dumps(made.to_json()))
    else:
        out = console()
        show_matrix(out, matrix(seen.look.snapshot).cells, f"{settings.name}: now")
        show_plan(out, made)
    return EXIT_CLEAN if made.is_noop and not seen.look.problems else EXIT_FINDINGS


@command.command()
@_CONFIG
@click.option("--verbose", is_flag=True, help="On a terminal, show every event line instead of the matrix.")
def run(config: Path, verbose: bool) -> int:
    """Reconcile until stopped: by timer, by file events, and when the configuration changes.

    SIGTERM finishes the batch that was begun and ends; kill -9 is equally safe. Events go to standard error, as JSON
    lines unless it is a terminal.

    \b
    Example:
      ameide reconciler run --config /etc/ameide/ameide.yaml
    """
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.service_manager import ServiceManager
    from reconciler.cli.tables import console, show_matrix
    from reconciler.daemon import Daemon, stopping_on_signals
    from reconciler.process_log import process_log

    shown: dict[str, object] = {}

    def show(name: str, report: PassReport) -> None:
        if sys.stdout.isatty() and not verbose and shown.get(name) != report.cells:
            shown[name] = report.cells
            show_matrix(console(), report.cells, f"{name}: after pass {report.pass_id}")

    clock = SystemClock()
    with process_log(sys.stderr, clock) as emit:
        daemon = Daemon(config, emit, show, ServiceManager.of_environment(clock))
        with stopping_on_signals(daemon.stop):
            daemon.run()
    return EXIT_CLEAN


@command.command()
@_CONFIG
@_REPO
@click.option("--pr", type=click.IntRange(min=1), required=True, metavar="N", help="The pull request.")
@click.option("--component", required=True, metavar="C", help="The component, as the inventory names it.")
@_JSON
def explain(config: Path, repo: str | None, pr: int, component: str, as_json: bool) -> int:
    """Show the causal chain of one cell: seen, decided, intended, written. Reads only.

    \b
    Example:
      ameide reconciler explain --config ameide.yaml --pr 7 --component orders
    """
    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.cli.tables import console, show_explanation
    from reconciler.events import to_stream
    from reconciler.explain import explain as make_explanation
    from reconciler.explain import pick
    from reconciler.matrix import matrix
    from reconciler.settings import load
    from state import canonical

    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    emit = to_stream(sys.stderr, SystemClock())
    with wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        seen = wiring.look_only(common, settings)
    cells = matrix(seen.look.snapshot).cells
    cell = pick(cells, pr, component)
    if cell is None:
        open_now = ", ".join(f"#{n}" for n in sorted({c.pr for c in cells})) or "none"
        known = ", ".join(sorted({c.component for c in cells if c.component})) or "none"
        complain(f"no cell #{pr} {component}: open are {open_now}; components are {known}")
        return EXIT_BAD_INPUT
    made = make_explanation(cell, seen.history, seen.read)
    if as_json:
        click.echo(canonical.dumps(made.to_json()))
    else:
        show_explanation(console(), made)
    return EXIT_CLEAN


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Tick]:
    """A progress line on a terminal's standard error; silent otherwise."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from reconciler.cli.tables import console

    err = console(stderr=True)
    if quiet or not err.is_terminal:
        yield lambda _what, _done, _total: None
        return
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=err, transient=True
    ) as bar:
        task = bar.add_task("looking", total=None)

        def tick(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tick
