"""`ameide preview`: what Argo CD would make for one pull request."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS


@click.group()
def command() -> None:
    """What Argo CD would make for a pull request."""


@command.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path(), required=False)
@click.option("--pr", "number", type=click.IntRange(1, 999_999_999), required=True, help="Number of the pull request.")
@click.option("--head", required=True, metavar="SHA", help="Its head commit, 40 hex digits.")
@click.option("--label", "labels", multiple=True, help="Labels it has; left out: those that each generator asks for.")
@click.option("--author", metavar="LOGIN", help="Its author, where a set selects by author.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON list instead of YAML.")
def render(path: Path, number: int, head: str, labels: tuple[str, ...], author: str | None, *, as_json: bool) -> int:
    """Write the Applications that the ApplicationSet controller would make of the sets in PATH, offline.

    Template functions and generators that are not computed exactly are refused by name. A finalizer that the controller
    adds by itself is shown.

    \b
    Examples:
      ameide preview render --pr 7 --head 0123456789abcdef0123456789abcdef01234567 shop-gitops
      ameide preview render --pr 7 --head "$SHA" --label preview shop-gitops | kubectl diff -f -
    Exit codes: 0 written, 1 no Application would be made, 2 bad input or something that is not computed offline.
    """
    import json

    from reconciler.adapters.lane_files import read_tree
    from reconciler.preview.applications import PullRequest, generate
    from reconciler.preview.manifests import listing, parse
    from reconciler.preview.render import mentions_sets
    from reconciler.preview.yaml_out import documents
    from state.errors import ConfigError
    from state.git import CommitId

    pull_request = PullRequest(number, CommitId(head), labels or None, author)
    sets = [
        manifest
        for file, raw in read_tree(path, (".yaml", ".yml")).items()
        if mentions_sets(raw)
        for manifest in parse(raw, file)
        if manifest.kind == "ApplicationSet" and _of_pull_requests(listing(manifest.at("spec", "generators")))
    ]
    if not sets:
        raise ConfigError(f"{path}: expected ApplicationSets with a pullRequest or plugin generator, found none")
    made = [application for s in sets for application in generate(s.value, pull_request)]
    if as_json:
        click.echo(json.dumps(made, indent=2))
    elif made:
        click.echo(documents(made, f"The Applications of pull request {number} at {head}").decode(), nl=False)
    else:
        click.echo("no Application: the pull request lacks a label, or its author is not selected", err=True)
    return EXIT_CLEAN if made else EXIT_FINDINGS


def _of_pull_requests(generators: list[object]) -> bool:
    return any(
        isinstance(g, dict)
        and ({"pullRequest", "plugin"} & g.keys() or _of_pull_requests((g.get("matrix") or {}).get("generators", [])))
        for g in generators
    )
