"""`ameide release`: the release sets of heads, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

if TYPE_CHECKING:
    from reconciler.evidence.authority import Authority
    from reconciler.evidence.release_check import Published, Reader
    from reconciler.ports import Verifier
    from state.oci import Repository

_CONFIG = click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
_REPO = click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")


@click.group()
def command() -> None:
    """Show and check what was released for a head: every image, its digest, and what proves it."""


@command.command()
@click.argument("sha")
@_CONFIG
@_REPO
@_JSON
def show(sha: str, config: Path, repo: str | None, as_json: bool) -> int:
    """Show the release set of the head SHA (40 hex digits), as it lies in the registry; nothing is checked.

    \b
    Examples:
      ameide release show --config ameide.yaml 0123456789abcdef0123456789abcdef01234567
      ameide release show --config ameide.yaml SHA --json | jq -r '.release_set.images[].digest'
    Exit codes: 0 shown, 1 there is none, 2 bad input, 3 a dependency failed.
    """
    from rich.table import Table
    from rich.text import Text

    from reconciler.cli.tables import console

    with _opened(config, repo, sha) as (found, _, repository, _, _):
        if found is None:
            click.echo(f"ameide: {repository} has no release set of {sha}: the head is not complete", err=True)
            return EXIT_FINDINGS
        if as_json:
            _write({"manifest": found.manifest.digest, "release_set": found.release.to_json()})
            return EXIT_CLEAN
        out = console()
        out.print(Text(f"{repository}:{sha}\n{found.manifest.digest}"), soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("components", "image", "how", "digest", "recorded", "evidence"):
            table.add_column(heading, overflow="fold")
        for image in found.release.images:
            table.add_row(
                Text(", ".join(image.components)),
                Text(image.repository.path),
                image.how.value,
                image.digest.hex[:12],
                image.recorded_at,
                str(len(image.evidence)),
            )
        out.print(table)
    return EXIT_CLEAN


@command.command()
@click.argument("sha")
@_CONFIG
@_REPO
@_JSON
def verify(sha: str, config: Path, repo: str | None, as_json: bool) -> int:
    """Check every claim of the release set of the head SHA against the registry and the policy in force now.

    The set's own manifest and signature; for each image its tag, its evidence, and whether that still counts.

    \b
    Example:
      ameide release verify --config ameide.yaml 0123456789abcdef0123456789abcdef01234567
    Exit codes: 0 all claims hold, 1 some do not, or there is no set, 2 bad input, 3 a dependency failed.
    """
    from rich.text import Text

    from reconciler.cli.tables import console
    from reconciler.evidence.release_check import check

    with _opened(config, repo, sha) as (found, reader, repository, own, verifier):
        if found is None:
            click.echo(f"ameide: {repository} has no release set of {sha}: the head is not complete", err=True)
            return EXIT_FINDINGS
        claims = check(reader, repository, found, own, verifier)
    broken = [claim for claim in claims if not claim.holds]
    if as_json:
        rows = [claim.to_json() for claim in claims]
        _write({"claims": rows, "holds": not broken, "manifest": found.manifest.digest})
    else:
        out = console()
        for claim in broken:
            out.print(Text(f"does not hold: {claim.claim}\n  {claim.against}"), soft_wrap=True)
        out.print(f"{len(claims) - len(broken)} of {len(claims)} claims of {found.manifest.digest} hold")
    return EXIT_FINDINGS if broken else EXIT_CLEAN


@contextmanager
def _opened(
    config: Path, repo: str | None, sha: str
) -> Iterator[tuple[Published | None, Reader, Repository, Authority, Verifier]]:
    """The release set of a head, and what it is checked with."""
    import sys

    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.events import to_stream
    from reconciler.evidence.assembling import signer_of, verifier_of
    from reconciler.evidence.release_check import published
    from reconciler.settings import load
    from state.errors import ConfigError
    from state.git import CommitId
    from state.oci import Repository

    head = CommitId(sha)
    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    if settings.evidence is None:
        raise ConfigError(f"{config}: {settings.name} publishes no release sets; add its section `evidence`")
    _, own = signer_of(settings.evidence)
    repository = Repository(settings.evidence.release_sets)
    emit = to_stream(sys.stderr, SystemClock(), human=True)
    with wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        verifier = verifier_of(settings.verification, common.registries, common.clock)
        yield published(common.registries, repository, head), common.registries, repository, own, verifier


def _write(value: object) -> None:
    from state import canonical

    click.echo(canonical.dumps(value))  # type: ignore[arg-type]
