"""`ameide publish`: the images of one commit, built, pushed, proven and tagged; what CI runs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli import EXIT_BAD_INPUT, EXIT_CLEAN, EXIT_DEPENDENCY, EXIT_FINDINGS

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.producing.records import Row
    from reconciler.producing.running import Told
    from reconciler.producing.wiring import Producer

_STYLES: Final = {"published": "green", "present": "green", "refused": "red", "failed": "red", "unchanged": "dim"}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="This machine's file, producer.yaml.")
@click.option(
    "--base", required=True, metavar="REVISION", help="The base branch's commit; with --channel main, that branch."
)
@click.option("--head", required=True, metavar="REVISION", help="The commit to publish.")
@click.option(
    "--channel",
    type=click.Choice(["pull-request", "main"]),
    default="pull-request",
    show_default=True,
    help="`main`: a commit of the main branch; also moves the tag `main`.",
)
@click.option("--repo", default=".", show_default=True, type=click.Path(path_type=Path), help="The checkout.")
@click.option("--jobs", type=click.IntRange(1, 32), default=2, show_default=True, help="Images side by side.")
@click.option("--plan", "only_plan", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Write the status as JSON when it is done.")
def command(
    config: Path, base: str, head: str, channel: str, repo: Path, *, jobs: int, only_plan: bool, as_json: bool
) -> int:
    """Build the images that a commit changes, push them, prove them, and only then tag them with the commit.

    Which images those are is what `ameide changed` says; how each is built is the catalogue's word, at the base. A
    build gets the committed files that are declared as its inputs, and nothing else. A tag of a commit is never
    written over. Killed at any point, the same command goes on and comes to the same end.

    \b
    Examples:
      ameide publish --config producer.yaml --base origin/main --head "$HEAD_SHA"
      ameide publish --config producer.yaml --base origin/main --head HEAD --plan
      ameide publish --config producer.yaml --base origin/main --head HEAD --channel main --json
    Exit codes: 0 everything is published, 1 refused or evidence that does not hold, 2 bad input or a build that fails,
    3 a dependency failed for now: run it again.
    """
    import json

    from reconciler.cli.tables import console
    from reconciler.producing.checkout import Asked
    from reconciler.producing.deciding import Channel
    from reconciler.producing.settings import load_producer
    from reconciler.producing.wiring import opened

    settings = load_producer(config).settings
    out = console(stderr=as_json)
    asked = Asked(Channel(channel), base, head)
    with (
        _stopping() as stopping,
        _telling(out) as told,
        opened(settings, repo, asked, jobs=jobs, told=told, stopping=stopping.is_set) as producer,
    ):
        if only_plan:
            return _show_plan(out, producer, as_json=as_json)
        producer.carry_out()
        rows = producer.status.rows
        if as_json:
            click.echo(json.dumps(producer.status.to_json(), indent=2, sort_keys=True))
    _show(out, rows)
    return _exit_code(rows)


@contextmanager
def _stopping() -> Iterator[Event]:
    """Set by SIGTERM and Ctrl-C: each image ends before its next step outside. A second one ends the process there."""
    stop = Event()

    def asked(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _telling(out: Console) -> Iterator[Told]:
    """A line for each step; on a terminal one for each image, with what its build says last."""
    if not out.is_terminal:

        def plain(row: Row, line: str) -> None:
            if not line:
                out.print(_line(row), markup=False, soft_wrap=True)

        yield plain
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from reconciler.producing.records import DONE

    columns = (SpinnerColumn(finished_text=" "), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        tasks = {}

        def shown(row: Row, line: str) -> None:
            if row.image not in tasks:
                tasks[row.image] = progress.add_task(row.image, total=1)
            said = line if line.isprintable() else ascii(line)
            text = f"{row.image}: {row.state.value}" + (f" · {said[:80]}" if line else "")
            ended = row.state in DONE or row.state.value in ("refused", "failed")
            progress.update(tasks[row.image], description=text, completed=1 if ended else 0)

        yield shown


def _line(row: Row) -> str:
    return f"{row.image}: {row.state.value}" + (f" {row.digest}" if row.digest is not None else "")


def _show_plan(out: Console, producer: Producer, *, as_json: bool) -> int:
    import json

    from rich.table import Table
    from rich.text import Text

    from reconciler.cli import exit_code
    from reconciler.producing.deciding import Build, Leave, Move, Refuse

    plan = producer.plan
    rows = []
    for step in plan.steps:
        match step:
            case Build(keeps=keeps):
                rows.append((step.image.name, "build", f"keeps :{plan.head}" if keeps is not None else ""))
            case Move(digest=digest):
                rows.append((step.image.name, "move", f":main to {digest}"))
            case Leave(why=why):
                rows.append((step.image.name, "leave", why.value))
            case Refuse(reason=reason, text=text):
                rows.append((step.image.name, "refuse", f"{reason.value}: {text}"))
    rows += [(name, "unknown", str(error)) for name, error in producer.unread.items()]
    if as_json:
        listed = [{"image": image, "action": action, "why": why or None} for image, action, why in sorted(rows)]
        value = {"base": plan.base, "channel": plan.channel.value, "head": plan.head, "images": listed, "version": 1}
        click.echo(json.dumps(value, indent=2, sort_keys=True))
    else:
        table = Table("image", "what", "why", box=None, pad_edge=False)
        for row in sorted(rows):
            table.add_row(*map(Text, row))
        out.print(table)
    codes = [exit_code(error) for error in producer.unread.values()]
    codes += [EXIT_FINDINGS for _, action, _ in rows if action == "refuse"]
    return _worst(codes)


def _show(out: Console, rows: tuple[Row, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("image", "state", "digest", "why", box=None, pad_edge=False)
    for row in rows:
        why = row.reason if row.state.value != "failed" else ""
        state = Text(row.state.value, _STYLES.get(row.state.value, ""))
        table.add_row(Text(row.image), state, Text(row.digest.hex[:12] if row.digest is not None else ""), Text(why))
    out.print(table)
    for row in rows:
        if row.why:
            out.print(f"{row.image}: {row.why}", markup=False, soft_wrap=True)


def _exit_code(rows: tuple[Row, ...]) -> int:
    by = {"terminal": EXIT_BAD_INPUT, "integrity": EXIT_FINDINGS, "transient": EXIT_DEPENDENCY}
    codes = [by[row.reason] for row in rows if row.state.value == "failed"]
    return _worst([*codes, *(EXIT_FINDINGS for row in rows if row.state.value == "refused")])


def _worst(codes: list[int]) -> int:
    """What a person has to mend comes before what passes by itself."""
    return next((code for code in (EXIT_BAD_INPUT, EXIT_FINDINGS, EXIT_DEPENDENCY) if code in codes), EXIT_CLEAN)
