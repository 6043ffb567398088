"""Whether what was proven says what the policy asks for (pure)."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.evidence.authority import Proven
from reconciler.ports import Purpose
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.verdict import Level


class ClaimsPolicy(NamedTuple):
    """What evidence has to say for one purpose. Every field that is set has to match, exactly."""

    purpose: Purpose
    level: Level
    """PROVENANCE or SIGNATURE."""
    source_repository: str
    """URL of the code repository, such as https://github.com/org/shop."""
    source_repository_id: str | None = None
    """Its numeric id at the forge, which a rename or a new owner of the name does not change."""
    issuer: str | None = None
    """OIDC issuer; required where certificates are used, else None."""
    workflow: str | None = None
    """URL of the workflow file, without `@ref`; required where certificates are used, else None."""
    baseline_refs: tuple[RefName, ...] = (RefName("refs/heads/main"),)
    """Refs that a baseline may be built from; never one under refs/pull."""
    builder: str | None = None
    """`builder.id` of the provenance."""


def check(
    proven: Proven, policy: ClaimsPolicy, repository: Repository, digest: Digest, source_revision: CommitId | None
) -> None:
    """Pass if `proven` lets `digest` of `repository` count. Raises Refused with the first reason against it."""
    raise NotImplementedError
