"""`ameide registry probe`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli import EXIT_CLEAN

if TYPE_CHECKING:
    from rich.console import Console

    from reconciler.adapters.registry_oras import OrasRegistry
    from reconciler.registry_probe.consequences import Row
    from reconciler.registry_probe.measured import Left
    from state.oci import Repository

TOTAL_S: Final = 300
"""The whole probe, without cleaning up, in seconds."""
_STYLES: Final = {"good": "green", "limited": "yellow", "bad": "red"}


@click.command("probe")
@click.argument("ref", metavar="REF")
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Login for the registry, as in the configuration; without it the probe is anonymous.",
)
@click.option(
    "--ca-file", type=click.Path(path_type=Path), metavar="FILE", help="PEM file with the registry's own authorities."
)
@click.option("--plain-http", is_flag=True, help="HTTP without TLS; only for a loopback host.")
@click.option(
    "--max-writes-per-s",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    metavar="NUMBER",
    help="Writes per second, as in the configuration; the probe makes about 150.",
)
@click.option(
    "--lag-max-s",
    type=click.FloatRange(1, 60),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one write is waited for until a read shows it.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object with stable keys.")
def command(
    *,
    ref: str,
    credential_file: Path | None,
    ca_file: Path | None,
    plain_http: bool,
    max_writes_per_s: int,
    lag_max_s: float,
    as_json: bool,
) -> int:
    """Measure what a registry really does, in the scratch repository REF, and what the reconciler will therefore do.

    \b
    Example:
      ameide registry probe 127.0.0.1:5000/scratch/probe --plain-http
      ameide registry probe ghcr.io/acme/scratch --credential-file /run/secrets/registry.json

    It writes, moves and deletes tags that start with ameide-probe- and a random part, the referrers tag (sha256-…) of
    its own images, and nothing else. It removes all of them again, or says which it had to leave and why: use a
    repository that nobody needs.

    Exit codes: 0 measured, 2 bad input or refused credential, 3 the registry failed for now.
    """
    from reconciler.adapters.clock import SystemClock, SystemRandom
    from reconciler.cli.tables import console
    from reconciler.registry_probe.consequences import consequences
    from reconciler.registry_probe.measure import measure
    from reconciler.registry_probe.measured import VERSION
    from reconciler.registry_probe.scratch import Scratch

    repository = _repository(ref)
    clock, random = SystemClock(), SystemRandom()
    err = console(stderr=True)
    client = _client(
        repository,
        credential_file,
        ca_file,
        {"plain_http": plain_http, "max_writes_per_s": max_writes_per_s},
    )
    left: tuple[Left, ...] = ()
    try:
        scratch = Scratch(client, repository, clock, random, sleep=time.sleep, total_s=TOTAL_S, lag_max_s=lag_max_s)
        with err.status(f"{repository}: connecting") as status:
            try:
                seen = measure(scratch, lambda step: status.update(f"{repository}: {step}"))
            except BaseException:
                status.update(f"{repository}: cleaning up")
                left = scratch.clean()
                _show_left(err, left)
                raise
            status.update(f"{repository}: cleaning up")
            left = scratch.clean()
    finally:
        client.close()
    rows = consequences(seen)
    if as_json:
        made = {
            "version": VERSION,
            "repository": repository,
            "prefix": scratch.prefix,
            "measured": asdict(seen),
            "consequences": [row._asdict() for row in rows],
            "left": [asdict(one) for one in left],
        }
        click.echo(json.dumps(made, indent=2))
    else:
        _show(repository, rows, left, scratch.prefix)
    return EXIT_CLEAN


def _repository(ref: str) -> Repository:
    """Raises ConfigError for a reference that names more than a repository."""
    from state.errors import ConfigError, InvalidValue
    from state.oci import Repository

    name = ref.rpartition("/")[2]
    for mark, what in (("@", "digest"), (":", "tag")):
        if "/" in ref and mark in name:
            raise ConfigError(
                f"{ref}: expected a repository, got a {what} too; the probe makes tags of its own, leave "
                f"{mark}{name.partition(mark)[2]} out"
            )
    try:
        return Repository(ref)
    except InvalidValue as error:
        raise ConfigError(f"{error}; for example 127.0.0.1:5000/scratch/probe") from None


def _client(
    repository: Repository, credential_file: Path | None, ca_file: Path | None, more: dict[str, object]
) -> OrasRegistry:
    """A client by the rules that the configuration has for a registry. Raises ConfigError with every problem."""
    from pydantic import ValidationError

    from reconciler.adapters.clock import SystemClock, SystemRandom
    from reconciler.adapters.registry_limits import Limits
    from reconciler.registry_clients import client_of
    from reconciler.settings import RegistrySettings
    from state.errors import ConfigError

    values = {
        "host": repository.host,
        "credential_file": None if credential_file is None else credential_file.absolute(),
        "anonymous": credential_file is None,
        "ca_file": None if ca_file is None else ca_file.absolute(),
        **more,
    }
    try:
        settings = RegistrySettings.model_validate(values)
    except ValidationError as error:
        problems = tuple(str(p["msg"]).removeprefix("Value error, ") for p in error.errors(include_input=False))
        raise ConfigError(f"{repository.host}: not a usable registry", problems) from None
    limits = Limits(attempts=2, call_timeout_s=60, listing_timeout_s=60, writes_per_s=settings.max_writes_per_s)
    return client_of(settings, limits, clock=SystemClock(), random=SystemRandom())


def _show(repository: Repository, rows: tuple[Row, ...], left: tuple[Left, ...], prefix: str) -> None:
    from rich.table import Table
    from rich.text import Text

    from reconciler.cli.tables import console

    out = console()
    table = Table(title=f"{repository}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("capability", "measured", "therefore the reconciler"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(Text(row.capability), Text(row.measured, style=_STYLES[row.fit]), Text(row.therefore))
    out.print(table)
    if not left:
        out.print(f"Cleaned up: nothing named {prefix} is left.")
    _show_left(out, left)


def _show_left(out: Console, left: tuple[Left, ...]) -> None:
    """Every name, under the reason it had to stay."""
    from rich.text import Text

    for why in dict.fromkeys(one.why for one in left):
        out.print(Text(f"Left behind: {why}"), soft_wrap=True)
        for one in left:
            if one.why == why:
                out.print(Text(f"  {one.kind} {one.name}"), soft_wrap=True)
