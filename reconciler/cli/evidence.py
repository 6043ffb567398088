"""`ameide evidence`: whether a digest may be relied on, and why not."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli import EXIT_CLEAN, EXIT_FINDINGS


@click.group()
def command() -> None:
    """Check what is attached to an image."""


@command.command()
@click.argument("image", metavar="REPOSITORY@DIGEST")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The configuration file.")
@click.option("--repo", metavar="NAME", help="The repository's name in the configuration, if it has several.")
@click.option("--head", metavar="SHA", help="Check it as CI's build of this head; else as a baseline.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for a machine.")
def verify(image: str, config: Path, repo: str | None, head: str | None, as_json: bool) -> int:
    """Say whether the policy in force accepts this digest, by what evidence, or why it is refused.

    \b
    Examples:
      ameide evidence verify --config ameide.yaml ghcr.io/acme/orders@sha256:…
      ameide evidence verify --config ameide.yaml ghcr.io/acme/orders@sha256:… --head 0123…4567
    Exit codes: 0 accepted, 1 refused or not checked at all (level none), 2 bad input, 3 a dependency failed.
    """
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
