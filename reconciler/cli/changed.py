"""`ameide changed`: which images a head changes against a base, from a checkout alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from reconciler.adapters.git_changes import Comparer
    from state.change import ChangeRecord
    from state.observed import Catalogue

_EXAMPLES_MAX: Final = 5

_EPILOG: Final = """\b
Example, in a pull request's CI job (with the full history: actions/checkout, fetch-depth: 0):
  ameide changed --base origin/main --head HEAD
  ameide changed --base "$BASE_SHA" --head "$HEAD_SHA" --json | jq -r '.images[] | select(.changed).repository'

Exit codes: 0 answered, 2 bad input or catalogue. An image without a known merge base counts as changed.
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--base", required=True, metavar="REVISION", help="The base branch's commit; the catalogue is read there."
)
@click.option("--head", required=True, metavar="REVISION", help="The pull request's head.")
@click.option(
    "--repo", default=".", show_default=True, type=click.Path(path_type=Path), help="A checkout or bare repository."
)
@click.option("--catalogue", default="ameide.yaml", show_default=True, help="Path of the catalogue at the base.")
@click.option("--json", "as_json", is_flag=True, help="Print the decision record as canonical JSON.")
def command(base: str, head: str, repo: Path, catalogue: str, *, as_json: bool) -> None:
    """Say which images a head changes, and why: the same record that the reconciler decides on.

    An image is changed if one of its declared inputs at HEAD differs from that at any merge base with BASE.
    """
    from reconciler.adapters.git_changes import Comparer
    from reconciler.adapters.git_checkout import checkout, commit_of, fetching
    from reconciler.adapters.git_files import read_catalogue
    from state import canonical

    with checkout(repo) as repository:
        base_commit, head_commit = commit_of(repository, "--base", base), commit_of(repository, "--head", head)
        comparer = Comparer(repository)
        declared = fetching(repository, lambda: read_catalogue(repository, base_commit, catalogue))
        record = fetching(repository, lambda: comparer.changes(base_commit, head_commit, declared))
        if comparer.history.shallow and not record.merge_bases:
            click.echo(
                "ameide: this clone is shallow, so the merge base may be hidden and every image counts as changed;"
                " fetch the full history (actions/checkout: `fetch-depth: 0`, or `git fetch --unshallow`)",
                err=True,
            )
        if as_json:
            click.echo(canonical.dumps(record.to_json()))
        else:
            _print(_report(record, declared, comparer))


def _report(record: ChangeRecord, catalogue: Catalogue, comparer: Comparer) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    names = {image.repository: image.name for image in catalogue.images.values()}
    table = Table("image", "changed", "why", box=None, pad_edge=False)
    for image in record.images:
        why = image.why.value
        if image.inputs:
            why += ": " + ", ".join(image.inputs)
            for example in _examples(record, image.inputs, comparer):
                why += f"\n  {example}"
        if image.baseline_moved and not image.changed:
            why += "; the base branch has moved on"
        style = "bold yellow" if image.changed else ""
        table.add_row(
            Text(names[image.repository]), Text("changed" if image.changed else "unchanged", style), Text(why)
        )
    changed = sum(image.changed for image in record.images)
    return [
        table,
        Text(),
        Text(f"{changed} of {len(record.images)} images changed"),
        Text(f"head        {record.head}"),
        Text(f"base        {record.base} (the catalogue is read here)"),
        Text(f"merge base  {', '.join(record.merge_bases) or 'none known: everything counts as changed'}"),
    ]


def _examples(record: ChangeRecord, inputs: tuple[str, ...], comparer: Comparer) -> list[str]:
    """A few changed files below the inputs, for people; names are a stranger's, so they are escaped."""
    from itertools import islice

    from reconciler.adapters.git_tree import differing_paths, parts

    def found() -> list[str]:
        head = comparer.trees.root(record.head)
        paths = (
            path
            for merge_base in record.merge_bases[:1]
            for declared in inputs
            for path in differing_paths(comparer.trees, comparer.trees.root(merge_base), head, parts(declared))
        )
        return [_escaped(path) for path in islice(paths, _EXAMPLES_MAX)]

    return found()


def _escaped(path: bytes) -> str:
    text = path.decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= 200 else shown[:199] + "…"


def _print(parts: list[RenderableType]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for part in parts:
        console.print(part)
