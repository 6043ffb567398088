"""`ameide approval list|show|explain`: markers as a log has them. Offline, over any clone of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN
from reconciler.cli.log_path import BRANCH, open_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.approval.logged import Story
    from state.canonical import Json
    from state.entry import Logged

_LOG = click.option(
    "--log", "path", type=click.Path(path_type=Path), required=True, metavar="PATH", help="A clone of the log."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")


@click.command("list")
@_LOG
@BRANCH
@click.option("--pr", type=click.IntRange(min=1), metavar="N", help="Only markers about this pull request.")
@_JSON
def list_markers(path: Path, branch: str | None, pr: int | None, as_json: bool) -> int:
    """List every marker that was taken into the log, and what became of it. See `ameide log verify` for the log itself.

    \b
    Examples:
      ameide approval list --log log.git
      ameide approval list --log log.git --pr 41 --json | jq -r '.[].id'
    Exit codes: 0 listed, 1 the log is damaged, 2 bad input.
    """
    from rich.table import Table
    from rich.text import Text

    from reconciler.cli.tables import console

    found = [s for s in _stories(path, branch).values() if pr is None or getattr(s.marker, "pull_request", None) == pr]
    if as_json:
        _write([_row(story) for story in found])
        return EXIT_CLEAN
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("id", "what", "PR", "head", "target", "by", "state"):
        table.add_column(heading, overflow="fold")
    for story in found:
        row = _row(story)
        number, head = row["pull_request"], str(row["head"] or "")
        cells = (story.id, row["kind"], f"#{number}" if number else "", head[:12], row["target"] or "")
        table.add_row(*(Text(str(c)) for c in cells), Text(", ".join(story.principals)), Text(str(row["state"])))
    console().print(table if found else "No marker was taken into this log.")
    return EXIT_CLEAN


@click.command()
@click.argument("marker_id", metavar="ID")
@_LOG
@BRANCH
@click.option("--envelope", "raw", is_flag=True, help="Write the envelope's bytes as they came, for another verifier.")
def show(marker_id: str, path: Path, branch: str | None, raw: bool) -> int:
    """Show the statement of the marker ID, as JSON. It is in the log because its signatures were good then.

    \b
    Examples:
      ameide approval show --log log.git 0123456789abcdef0123456789abcdef
      ameide approval show --log log.git 0123456789abcdef0123456789abcdef --envelope > marker.json
    Exit codes: 0 shown, 1 the log is damaged, 2 bad input, or no such marker.
    """
    from state import approval

    story = _story(path, branch, marker_id)
    click.echo(story.envelope if raw else approval.payload(story.marker), nl=not raw)
    return EXIT_CLEAN


@click.command()
@click.argument("marker_id", metavar="ID")
@_LOG
@BRANCH
@_JSON
def explain(marker_id: str, path: Path, branch: str | None, as_json: bool) -> int:
    """Tell what became of the marker ID, entry by entry.

    \b
    Example:
      ameide approval explain --log log.git 0123456789abcdef0123456789abcdef
    Exit codes: 0 told, 1 the log is damaged, 2 bad input, or no such marker.
    """
    from rich.text import Text

    from reconciler.cli.tables import console

    story = _story(path, branch, marker_id)
    steps = [*_steps(story)]
    if as_json:
        rows: list[Json] = [
            {"at": logged.entry.at, "entry": logged.id, "kind": logged.entry.kind.value, "text": text}
            for logged, text in steps
        ]
        _write({**_row(story), "entries": rows})
        return EXIT_CLEAN
    out = console()
    row = _row(story)
    out.print(Text(f"{row['kind']} {story.id} by {', '.join(story.principals)}: {row['state']}"), soft_wrap=True)
    for logged, text in steps:
        out.print(Text(f"{logged.entry.at}  {logged.id.short}  {text}"), soft_wrap=True)
    return EXIT_CLEAN


def _stories(path: Path, branch: str | None) -> Mapping[str, Story]:
    from reconciler.approval.logged import stories

    return stories(open_log(path, branch).entries())


def _story(path: Path, branch: str | None, marker_id: str) -> Story:
    from state.errors import ConfigError

    found = _stories(path, branch)
    if marker_id not in found:
        raise ConfigError(f"{path}: no marker {marker_id[:80]!r} was taken into this log; see `ameide approval list`")
    return found[marker_id]


def _row(story: Story) -> dict[str, Json]:
    import time

    from reconciler.approval.logged import Standing
    from state.approval import Admission, Approval

    marker = story.marker
    state = story.standing(int(time.time()))
    bound = marker if isinstance(marker, Approval | Admission) else None
    return {
        "entry": story.entry.id,
        "head": bound.head if bound is not None else None,
        "id": story.id,
        "kind": "admission" if isinstance(marker, Admission) else "approval",
        "not_after": bound.not_after if bound is not None else None,
        "plan": marker.plan if isinstance(marker, Approval) else None,
        "principals": list(story.principals),
        "pull_request": bound.pull_request if bound is not None else None,
        "state": "in force" if isinstance(marker, Admission) and state is Standing.OPEN else state.value,
        "target": marker.target if isinstance(marker, Approval) else None,
    }


def _steps(story: Story) -> Iterator[tuple[Logged, str]]:
    from state.entry import subject

    steps = [(story.entry, "taken into the log: its signatures were good")]
    if story.revocation is not None:
        who = story.revocation.entry.body.get("principals")
        names = ", ".join(map(str, who)) if isinstance(who, list) else "nobody"
        steps.append((story.revocation, f"taken back by {names}"))
    steps += [(intent, "used: what it approved was about to be proposed") for intent in story.intents]
    steps += [(other, subject(other.entry)) for other in story.others]
    for logged, text in sorted(steps, key=lambda step: step[0].entry.sequence):
        yield logged, "".join(c if c.isprintable() else "?" for c in text)


def _write(value: object) -> None:
    from state import canonical

    click.echo(canonical.dumps(value))  # type: ignore[arg-type]
