"""`ameide primitive`: write the skeleton of a primitive, and check one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.primitive.report import Report

_KINDS = ("agent", "domain", "integration", "process", "projection", "uisurface")
_KIND = click.option("--kind", type=click.Choice(_KINDS), required=True, help="What it is.")
_NAME = click.option(
    "--name", required=True, metavar="NAME", help="Lower-case words joined by -, such as order-intake."
)
_REPO = click.option(
    "--repo",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="PATH",
    help="The root of the code repository; the current folder if it is not given.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")


@click.group()
def command() -> None:
    """Primitives: the skeleton as code, and the checks before a pull request."""


@command.command()
@_KIND
@_NAME
@_REPO
@_JSON
def scaffold(kind: str, name: str, repo: Path, *, as_json: bool) -> int:
    """Write primitives/KIND/NAME: what is missing of it, and what is generated anew.

    Files that are yours are never touched once they are there. Equal inputs give equal bytes. Nothing here deploys:
    manifests live in the GitOps repository. The tests are red until you say in them what the code must do.

    \b
    Examples:
      ameide primitive scaffold --kind domain --name order-intake
      ameide primitive scaffold --kind process --name onboarding --json   # again after a change of bpmn/process.bpmn
    Exit codes: 0 done, 1 the process does not compile, 2 bad input, 3 another run is writing.
    """
    import json

    from reconciler.primitive.names import Kind, Primitive
    from reconciler.primitive.scaffold import scaffold as write

    done = write(repo, Primitive(Kind(kind), name))
    if as_json:
        value = {
            "summary": done.summary,
            "files_created": done.created,
            "files_rewritten": done.rewritten,
            "files_removed": done.removed,
            "tests_created": done.tests,
            "violations": [{"line": v.line, "element": v.element, "message": v.why} for v in done.violations],
            "next_steps": done.next_steps,
        }
        click.echo(json.dumps(value, indent=2))
    else:
        click.echo(done.summary)
        for sign, paths in (("+", done.created), ("~", done.rewritten), ("-", done.removed)):
            for path in paths:
                click.echo(f"  {sign} {path}")
        for violation in done.violations:
            click.echo(f"  {violation}")
        click.echo("Next:")
        for step in done.next_steps:
            click.echo(f"  {step}")
    return EXIT_FINDINGS if done.violations else EXIT_CLEAN


@command.command()
@_KIND
@_NAME
@_REPO
@click.option(
    "--mode", type=click.Choice(["repo"]), required=True, help="`repo`: what a code repository alone can tell."
)
@_JSON
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", help="Also write JUnit XML, outside of it.")
def verify(kind: str, name: str, repo: Path, mode: str, junit: Path | None, *, as_json: bool) -> int:
    """Check primitives/KIND/NAME: generated files, process, imports, markers, files, secrets, tests.

    It writes nothing into the primitive, and repairs nothing. A tool that is missing is a failure. The tests run with
    the language's own runner (go test, pytest, npm test), without the caller's credentials, for at most 15 minutes.

    \b
    Examples:
      ameide primitive verify --kind domain --name order-intake --mode repo
      ameide primitive verify --kind agent --name helper --mode repo --json --junit verify.xml   # in CI
    Exit codes: 0 it passes (warnings do not count), 1 a check fails, 2 bad input.
    """
    import os

    from reconciler.cli.tables import console
    from reconciler.primitive.names import Kind, Primitive
    from reconciler.primitive.report import as_json as to_json
    from reconciler.primitive.report import as_junit
    from reconciler.primitive.runner import Limits
    from reconciler.primitive.verify import verify as judge
    from state.errors import ConfigError

    del mode  # there is one
    primitive = Primitive(Kind(kind), name)
    if junit is not None and junit.resolve().is_relative_to((repo / primitive.path).resolve()):
        raise ConfigError(
            f"--junit: {junit} is inside {primitive.path}, and nothing is written there; name another file"
        )
    report = judge(repo, primitive, Limits(), os.environ)
    if junit is not None:
        junit.write_bytes(as_junit(report))
    if as_json:
        click.echo(to_json(report))
    else:
        _show(report, console())
    return EXIT_CLEAN if report.passed else EXIT_FINDINGS


def _show(report: Report, out: Console) -> None:
    """A row a check, then each issue on a line, then the end of what the tests printed."""
    from rich.table import Table
    from rich.text import Text

    from reconciler.primitive.report import Status, line_of

    words = {
        Status.PASS: ("pass", "green"),
        Status.WARN: ("warn", "yellow"),
        Status.FAIL: ("fail", "red"),
        Status.NOT_RUN: ("not run", "dim"),
    }
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("check", "status", "message"):
        table.add_column(heading, no_wrap=heading != "message", overflow="fold")
    for check in report.checks:
        word, style = words[check.status]
        table.add_row(check.name, Text(word, style=style), Text(_safe(check.message)))
    out.print(table)
    for check in report.checks:
        for issue in check.issues:
            out.print(Text(_safe(f"{check.name}: {line_of(issue)}")), soft_wrap=True)
    if report.tests.status is not Status.PASS and report.tests.details:
        out.print(Text("The tests said, at the end:"))
        for line in report.tests.details.splitlines()[-40:]:
            out.print(Text(f"  {_safe(line)}"), soft_wrap=True)
    word, style = words[Status.PASS if report.passed else Status.FAIL]
    out.print(Text.assemble((report.primitive.path, "bold"), ": ", (word, style)))


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text.expandtabs(4))
