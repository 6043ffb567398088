"""`ameide gitops render|lint`: the preview lane as files, and what is wrong with one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

SERIES: Final = "3.5"
"""What is assumed where nothing says which Argo CD it is."""

_PATH = click.Path(path_type=Path)
_SUFFIXES: Final = (".yaml", ".yml", ".tpl")
_OF_A_LANE: Final = ("ApplicationSet", "AppProject", "Application")
"""Where none of these is, a clean answer would be about nothing."""


@click.command()
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
    from reconciler.lane import file_list
    from reconciler.preview import render as lane
    from reconciler.settings import load
    from state.errors import ConfigError

    if (out is None) == (check is None):
        raise click.UsageError("expected one of --out and --check")
    settings = load(config).settings
    repository = lane.repository_with_lane(settings, repo)
    files = file_list.with_list(lane.render(settings, repository))
    if check is not None:
        if not check.is_dir():
            raise ConfigError(f"{check}: expected the folder of a lane, found none")
        tree = read_tree(check, (".yaml", file_list.PATH))
        before = file_list.read_list(tree[file_list.PATH], file_list.PATH) if file_list.PATH in tree else {}
        ours = {p: raw for p, raw in tree.items() if p in files or p in before or lane.is_rendered(raw)}
        differing = lane.differences(files, ours)
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


@click.command()
@click.argument("path", type=_PATH, required=False)
@click.option("--explain", metavar="ID", help="Explain one rule, or with `all` every rule, and stop.")
@click.option("--config", type=_PATH, help="Take prefix, version and GitOps repository from this configuration's lane.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if several have a lane.")
@click.option("--argocd-version", "version", metavar="X.Y", help="Series of Argo CD in the cluster, such as 3.3.")
@click.option("--kinds", type=_PATH, metavar="DIR", help="Folder with what the components render, one folder each.")
@click.option("--before", type=_PATH, metavar="DIR", help="The same tree before the change, for the rule C10.")
@click.option("--observed", type=_PATH, metavar="FILE", help="JSON with what registries hold, for the rules F5 and G2.")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
def lint(
    *,
    path: Path | None,
    explain: str | None,
    config: Path | None,
    repo: str | None,
    version: str | None,
    kinds: Path | None,
    before: Path | None,
    observed: Path | None,
    form: str,
) -> int:
    """Check the preview lane in PATH, a rendered one or any other, by numbered rules.

    A rule that the files alone cannot decide is listed as not judged. A finding is excused in its file by a comment:
    `# ameide-lint: ignore B7 until 2027-01-31: reason`.

    \b
    Examples:
      ameide gitops lint --config ameide.yaml shop-gitops
      ameide gitops lint --argocd-version 3.1 --format sarif shop-gitops > lane.sarif
      ameide gitops lint --kinds rendered/ shop-gitops   # rendered/<application>/*.yaml, by helm template or kustomize
      ameide gitops lint --explain B11
    Exit codes: 0 clean (notes do not count), 1 findings, 2 bad input.
    """
    from datetime import UTC, datetime

    from reconciler.adapters.lane_files import FILE_MAX_BYTES, read_tree
    from reconciler.preview.lint import report
    from reconciler.preview.lint.engine import RULES, lane_of
    from reconciler.preview.lint.engine import lint as judge
    from reconciler.preview.lint.observed import parse_observed
    from reconciler.preview.render import repository_with_lane
    from reconciler.settings import load
    from reconciler.strict_yaml import read_regular
    from state.errors import ConfigError

    if explain is not None:
        chosen = list(RULES.values()) if explain == "all" else [r for r in RULES.values() if r.id == explain.upper()]
        if not chosen:
            raise click.UsageError(f"--explain: no rule {explain!r}; there are {', '.join(RULES)}")
        for rule in chosen:
            click.echo("\n".join(report.explained(rule)))
        return EXIT_CLEAN
    if path is None:
        raise click.UsageError("expected the folder of a lane, or --explain")
    own = repository_with_lane(load(config).settings, repo).lane if config is not None else None
    series = version or (own.argocd_version if own is not None else SERIES)
    files = read_tree(path, _SUFFIXES)
    lane = lane_of(
        files,
        version=_series(series),
        prefix_given=own.namespace_prefix if own is not None else None,
        gitops_url=own.gitops_url if own is not None else None,
        rendered=lane_of(read_tree(kinds, (".yaml", ".yml"))).manifests if kinds is not None else None,
        before=lane_of(read_tree(before, _SUFFIXES)) if before is not None else None,
        observed=None
        if observed is None
        else parse_observed(read_regular(observed, max_bytes=FILE_MAX_BYTES), str(observed)),
    )
    if not lane.unreadable and not any(m.kind in _OF_A_LANE for m in lane.manifests):
        raise ConfigError(
            f"{path}: expected the folder of a lane, found no {', '.join(_OF_A_LANE)} in {len(files)} files"
        )
    made = judge(lane, files, datetime.now(UTC).date())
    root = "" if path.is_file() or path == Path() or path.is_absolute() else f"{path.as_posix()}/"
    match form:
        case "json":
            click.echo(report.as_json(made, root))
        case "sarif":
            click.echo(report.as_sarif(made, root), nl=False)
        case _:
            for line in report.as_text(made, root):
                click.echo(line)
    return EXIT_CLEAN if made.clean else EXIT_FINDINGS


def _series(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"v?([0-9]{1,3})\.([0-9]{1,3})(\.[0-9]{1,3})?", text)
    if found is None:
        raise click.UsageError(f"--argocd-version: expected a version such as 3.3 or v3.5.1, got {text!r}")
    return int(found[1]), int(found[2])
