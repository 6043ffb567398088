"""`ameide gitops`: the preview lane as files, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """The preview lane of Argo CD as files, and the rules it has to keep."""


@command.command()
@click.option("--config", type=_PATH, required=True, help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if several have a lane.")
@click.option("--out", type=_PATH, metavar="DIR", help="Write the files below this folder.")
@click.option("--check", type=_PATH, metavar="DIR", help="Write nothing; say how DIR differs.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def render(config: Path, repo: str | None, out: Path | None, check: Path | None, *, as_json: bool) -> int:
    """Write the preview lane: projects, ApplicationSets, namespaces, policies, janitor and reconciler.

    Equal configurations give equal bytes. Of a pull request only the number and the head commit are used, and both are
    left to the templates. Files that are not of the lane are left alone.

    \b
    Examples:
      ameide gitops render --config ameide.yaml --out shop-gitops
      ameide gitops render --config ameide.yaml --check shop-gitops   # in CI: nothing was edited by hand
    Exit codes: 0 written or equal, 1 --check found differences, 2 bad input.
    """
    import json

    from reconciler.adapters.lane_files import read_tree, write_tree
    from reconciler.preview import render as lane
    from reconciler.settings import load
    from state.errors import ConfigError

    if (out is None) == (check is None):
        raise click.UsageError("expected one of --out and --check")
    settings = load(config).settings
    repository = lane.repository_with_lane(settings, repo)
    files = lane.render(settings, repository)
    if check is not None:
        if not check.is_dir():
            raise ConfigError(f"{check}: expected the folder of a lane, found none")
        found = {
            path: raw for path, raw in read_tree(check, (".yaml",)).items() if path in files or lane.is_rendered(raw)
        }
        differing = lane.differences(files, found)
        if as_json:
            click.echo(json.dumps({"differences": differing, "files": len(files)}, indent=2))
        else:
            click.echo("\n".join(differing) if differing else f"{check}: as rendered, {len(files)} files")
        return EXIT_FINDINGS if differing else EXIT_CLEAN
    written = write_tree(out or Path(), files)
    if as_json:
        click.echo(json.dumps({"files": list(files), "written": list(written)}, indent=2))
    else:
        click.echo(f"{out}: {len(files)} files, {len(written)} of them written, the others were the same")
    return EXIT_CLEAN
