"""`ameide evidence`: whether a digest, or what was exported of a head, may be relied on, and why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Check what is attached to an image, or a file that proves a head."""


@command.command()
@click.argument("image", metavar="[REPOSITORY@DIGEST]", required=False)
@click.option("--config", type=_PATH, help="The configuration file; required for an image, and only there.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
@click.option("--head", metavar="SHA", help="Check the image as CI's build of this head; else as a baseline.")
@click.option("--file", "file", type=_PATH, metavar="FILE", help="An evidence file, in place of an image.")
@click.option("--allowed-signers", type=_PATH, metavar="FILE", help="OpenSSH list of the keys that may sign the log.")
@click.option("--anchor", metavar="SHA", help="A log entry seen before; it must still be part of the log.")
@click.option("--signer", type=_PATH, multiple=True, metavar="FILE", help="Key or trusted root of who signs sets.")
@click.option("--builder", type=_PATH, multiple=True, metavar="FILE", help="Key or trusted root of who builds images.")
@click.option("--approvers", type=_PATH, metavar="FILE", help="The approvers' policy, from outside the evidence file.")
@click.option("--approvers-root", type=_PATH, metavar="FILE", help="Trusted root of approvers' certificates.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def verify(  # noqa: PLR0917 - click passes options by name
    image: str | None,
    config: Path | None,
    repo: str | None,
    head: str | None,
    file: Path | None,
    as_json: bool,
    **outside: Any,
) -> int:
    """Say whether evidence counts: what is attached to an image, or with --file an exported evidence file.

    An image is judged by the policy in force, which --config names. A file is checked offline, all of it; keys that you
    give take the place of those in it, and what is believed only because the file says so is told.

    \b
    Examples:
      ameide evidence verify --config ameide.yaml ghcr.io/acme/orders@sha256:…
      ameide evidence verify --config ameide.yaml ghcr.io/acme/orders@sha256:… --head 0123…4567
      ameide evidence verify --file evidence.tar
      ameide evidence verify --file evidence.tar --allowed-signers signers --anchor 8f0e… --signer release.pub
    Exit codes: 0 accepted, 1 refused or not checked at all (level none), 2 bad input, 3 a dependency failed.
    """
    given = [name for name, value in outside.items() if value]
    if (file is None) == (image is None):
        raise click.UsageError("expected exactly one of REPOSITORY@DIGEST and --file")
    if file is not None:
        if config is not None or repo is not None or head is not None:
            raise click.UsageError("--config, --repo and --head are for an image; a file is checked by itself")
        return _verify_file(file, as_json, **outside)
    if given or config is None:
        what = f"--{given[0].replace('_', '-')} is for --file" if given else "--config is required for an image"
        raise click.UsageError(what)
    return _verify_image(str(image), config, repo, head, as_json)


def _verify_file(file: Path, as_json: bool, *, anchor: str | None, **outside: Any) -> int:
    import tempfile

    from rich.text import Text

    from reconciler.audit.evidence_check import Outside, check
    from reconciler.cli.log_path import printable
    from reconciler.cli.tables import console
    from state import canonical
    from state.git import CommitId

    brought = Outside(
        allowed_signers=outside["allowed_signers"],
        anchor=CommitId(anchor) if anchor is not None else None,
        signer_files=outside["signer"],
        builder_files=outside["builder"],
        approvers=outside["approvers"],
        approvers_root=outside["approvers_root"],
    )
    with tempfile.TemporaryDirectory(prefix="ameide-evidence-") as folder:
        made = check(file, Path(folder), brought)
    if as_json:
        click.echo(canonical.dumps(made.to_json()))
        return EXIT_CLEAN if made.holds else EXIT_FINDINGS
    out = console()
    for claim in made.claims:
        sign = "ok" if claim.holds else "DOES NOT HOLD"
        out.print(Text(printable(f"{sign}  {claim.claim}")), soft_wrap=True)
        if not claim.holds:
            out.print(Text(printable(f"    {claim.against}")), soft_wrap=True)
    for what in made.taken:
        out.print(Text(f"not checked against an outside list: {what}"), soft_wrap=True)
    held = sum(claim.holds for claim in made.claims)
    out.print(f"{held} of {len(made.claims)} claims about {made.index.head} hold")
    return EXIT_CLEAN if made.holds else EXIT_FINDINGS


def _verify_image(image: str, config: Path, repo: str | None, head: str | None, as_json: bool) -> int:
    import sys

    from rich.text import Text

    from reconciler import wiring
    from reconciler.adapters.clock import SystemClock
    from reconciler.adapters.metrics_prometheus import PrometheusMetrics
    from reconciler.cli.tables import console
    from reconciler.events import to_stream
    from reconciler.evidence.assembling import hand_over_of, verifier_of
    from reconciler.evidence.release_check import subject
    from reconciler.ports import Purpose
    from reconciler.settings import load
    from state import canonical
    from state.git import CommitId
    from state.verdict import Outcome

    repository, digest = subject(image)
    revision = CommitId(head) if head is not None else None
    loaded = load(config)
    settings = wiring.repository_named(loaded.settings, repo)
    purpose = Purpose.BASELINE if revision is None else Purpose.PULL_REQUEST
    emit = to_stream(sys.stderr, SystemClock(), human=True)
    with wiring.shared(loaded, emit, PrometheusMetrics()) as common:
        beside = hand_over_of(settings)
        verifier = verifier_of(settings.verification, common.registries, common.clock, hand_over=beside)
        verdict = verifier.verify(purpose, repository, digest, revision)
    accepted = verdict.outcome is Outcome.ACCEPTED
    if as_json:
        click.echo(
            canonical.dumps(
                {
                    "digest": digest,
                    "evidence": canonical.texts(verdict.evidence),
                    "outcome": verdict.outcome.value,
                    "policy": verdict.policy,
                    "purpose": purpose.value,
                    "reason": verdict.reason,
                    "refusal": verdict.refusal.value if verdict.refusal is not None else None,
                    "repository": repository,
                }
            )
        )
        return EXIT_CLEAN if accepted else EXIT_FINDINGS
    out = console()
    code = f" ({verdict.refusal.value})" if verdict.refusal is not None else ""
    out.print(Text(f"{verdict.outcome.value}{code} as {purpose.value.replace('_', ' ')}"))
    if verdict.reason:
        out.print(Text(f"  {verdict.reason}"), soft_wrap=True)
    for manifest in verdict.evidence:
        out.print(Text(f"  evidence {manifest}"))
    return EXIT_CLEAN if accepted else EXIT_FINDINGS
