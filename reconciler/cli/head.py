"""`ameide head`: what a person says of a head that the reconciler has put in quarantine."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS


@click.group()
def command() -> None:
    """Let a quarantined head go on with what is there now."""


@command.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
@click.option("--pr", type=click.IntRange(min=1), required=True, metavar="N", help="The pull request.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept in the log.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def accept(config: Path, repo: str | None, pr: int, reason: str, as_json: bool) -> int:
    """Accept what the tags of a quarantined head read now. The next pass takes it up and logs it.

    A tag that was moved counts as it is, unproven; one that was removed is filled or waited for again. Accepted is
    what the log says was found: if it is something else by then, the head stays in quarantine. Run it as the user of
    the reconciler, who alone may write its state directory.

    \b
    Example:
      ameide head accept --config ameide.yaml --pr 7 --reason "the registry was restored from a backup"
    Exit codes: 0 handed over, 1 the head is not in quarantine, 2 bad input, 3 a dependency failed.
    """
    from rich.text import Text

    from reconciler import wiring
    from reconciler.cli.tables import console
    from reconciler.settings import load
    from state import canonical
    from state.quarantine import Acceptance, printable

    text = printable("--reason", reason)
    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    found = wiring.quarantine_of(loaded.settings, settings, pr)
    if found is None:
        click.echo(f"ameide: the head of #{pr} is not in quarantine; nothing was accepted", err=True)
        return EXIT_FINDINGS
    head, standing, files = found
    files.put(Acceptance(head, standing.entry, getpass.getuser(), text))
    rows = [breach.to_json() for breach in standing.breaches]
    if as_json:
        click.echo(canonical.dumps({"breaches": [*rows], "entry": standing.entry, "head_sha": head, "pr": pr}))
        return EXIT_CLEAN
    out = console()
    for breach in standing.breaches:
        out.print(
            Text(f"{breach.repository}:{head}\n  recorded {breach.recorded}\n  found    {breach.found or 'no tag'}")
        )
    out.print("Handed over: the process that runs takes it up with its next pass.")
    out.print(f"Where none runs: ameide reconciler once --config {config}")
    return EXIT_CLEAN
