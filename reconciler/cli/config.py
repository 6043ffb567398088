"""`ameide config check|explain|schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.group("config")
def command() -> None:
    """Check, explain or describe the configuration."""


@command.command("check")
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def check(file: Path, as_json: bool) -> int:
    """Check FILE as the reconciler would at its start; nothing outside is asked.

    Lists every problem at once, each with its place. Exit codes: 0 valid, 2 not.
    """
    from reconciler.settings import load
    from state.errors import ConfigError

    try:
        loaded = load(file)
    except ConfigError as error:
        if not as_json:
            raise
        found = list(error.problems) or [str(error)]
        click.echo(json.dumps({"file": str(file), "problems": found, "valid": False}, sort_keys=True))
        return 2
    settings = loaded.settings
    if as_json:
        click.echo(
            json.dumps(
                {
                    "digest": loaded.digest,
                    "file": str(file),
                    "mode": settings.mode.value,
                    "problems": [],
                    "repositories": [r.name for r in settings.repositories],
                    "valid": True,
                },
                sort_keys=True,
            )
        )
    else:
        names = ", ".join(r.name for r in settings.repositories)
        click.echo(f"{file}: valid, mode {settings.mode.value}, repositories: {names}, {loaded.digest}")
    return 0


@command.command("explain")
@click.argument("setting", required=False, metavar="[PATH.TO.VALUE]")
@click.option("--config", "file", type=_FILE, required=True, help="The configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON list.")
def explain(setting: str | None, file: Path, as_json: bool) -> int:
    """Show each value in force, where it came from, whose it is to give, its unit and its meaning.

    PATH.TO.VALUE narrows the answer: `repositories[0].forge`, or `repositories.forge` for every repository. Files with
    secrets are named, never read.
    """
    from reconciler.settings import explain as settings_explain
    from reconciler.settings import load

    records = settings_explain.explain(load(file).settings)
    if setting is not None:
        chosen = settings_explain.below(records, setting)
        if not chosen:
            raise click.UsageError(f"no setting {setting!r}; `ameide config explain --config {file}` lists all")
        records = chosen
    if as_json:
        click.echo(json.dumps([r._asdict() for r in records], indent=2))
        return 0
    for r in records:
        value = "-" if r.source is settings_explain.Source.REQUEST else json.dumps(r.value)
        click.echo(f"{click.style(r.path, bold=True)} = {value}")
        click.echo(f"    from: {r.source.value} · authority: {r.authority.value}" + (f" · {r.unit}" if r.unit else ""))
        click.echo(f"    {r.meaning}")
    return 0


@command.command("schema")
@click.option("--markdown", is_flag=True, help="Write the table of docs/configuration.md instead.")
def schema(markdown: bool) -> int:
    """Write the JSON Schema (2020-12) of the configuration file."""
    from reconciler.settings import Settings
    from reconciler.settings.explain import reference

    if markdown:
        click.echo(reference(), nl=False)
    else:
        made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
        click.echo(json.dumps(made, indent=2, sort_keys=True))
    return 0
