"""`ameide gitops check-images`: the digest policy for a GitOps tree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from reconciler.gitops.check_images import Checked


@click.command("check-images")
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Write SARIF 2.1.0, which code hosts show beside the lines.")
def check_images(paths: tuple[Path, ...], *, as_json: bool, as_sarif: bool) -> int:
    """Check that every image in the YAML files at and below PATH… is pinned by digest.

    Allowed: repository@sha256:…, repository:<full commit>@sha256:…, repository:v1.2.3@sha256:…. Nothing else, and there
    is no list of exceptions; only what is below `enabled: false` may name no image. Templates of charts are left out.

    \b
    Examples:
      ameide gitops check-images sources/values argocd
      ameide gitops check-images --sarif . > images.sarif
    Exit codes: 0 every image is pinned, 1 findings, 2 bad input.
    """
    import json

    from reconciler.gitops.check_images import check_images as check

    if as_json and as_sarif:
        raise click.UsageError("give one of --json and --sarif")
    found = check(paths)
    if as_json:
        rows = [one._asdict() for one in found.findings]
        click.echo(json.dumps({"files": found.files, "findings": rows}, indent=2, sort_keys=True))
    elif as_sarif:
        click.echo(_sarif(found), nl=False)
    else:
        _show(found)
    return EXIT_FINDINGS if found.findings else EXIT_CLEAN


def _sarif(found: Checked) -> str:
    from reconciler.gitops.image_places import RULES
    from reconciler.sarif import SarifFinding, sarif

    rows = [SarifFinding(f.rule, "error", f"{f.what}; {f.remedy}", f.path, f.line) for f in found.findings]
    return sarif(rows, RULES)


def _show(found: Checked) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for path, line, rule, what, remedy in found.findings:
        place = Text(_printable(f"{path}:{line}"), style="bold")
        console.print(place, Text(f": {rule}: ", style="red"), Text(_printable(f"{what}; {remedy}")), sep="")
    files = f"{found.files} file{'' if found.files == 1 else 's'}"
    console.print(f"{files}, {len(found.findings) or 'no'} finding{'' if len(found.findings) == 1 else 's'}")


def _printable(text: str) -> str:
    """File names and tags come from others: nothing of them may steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
