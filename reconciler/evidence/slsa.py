"""SLSA provenance of a build, as CI states it. Source: slsa.dev/spec/v1.0/provenance."""

from __future__ import annotations

from typing import NamedTuple

from state import statement
from state.canonical import Json
from state.git import CommitId, RefName
from state.oci import Digest, Repository


class Build(NamedTuple):
    """What was built from what, and by whom."""

    source_repository: str
    """URL of the code repository."""
    ref: RefName | None
    """The branch in full; None where it proves nothing and its name is a stranger's, as of a pull request."""
    revision: CommitId
    workflow: str
    """Path of the workflow in it."""
    builder: str
    """`builder.id`: who answers for the build's isolation."""
    build_type: str
    """URI that says how `externalParameters` are to be read."""
    parameters: tuple[tuple[str, Json], ...] = ()
    """More of `externalParameters`: (name, value)."""
    repository_id: int | None = None
    """The source repository's numeric id at the forge."""
    fingerprint: Digest | None = None
    """Of the declared inputs at `revision` (`git_fingerprint`)."""
    bases: tuple[tuple[str, Digest], ...] = ()
    """(reference, digest) of each base image."""


def provenance(repository: Repository, digest: Digest, build: Build) -> bytes:
    """The statement's canonical bytes: a function of the facts, without times or invocation ids."""
    workflow: dict[str, Json] = {"path": build.workflow, "repository": build.source_repository}
    source = f"git+{build.source_repository}"
    if build.ref is not None:
        workflow["ref"] = build.ref
        source += f"@{build.ref}"
    dependencies: list[Json] = [{"digest": {"gitCommit": build.revision}, "uri": source}]
    dependencies += [{"digest": {"sha256": base.hex}, "uri": f"docker://{name}"} for name, base in build.bases]
    definition: dict[str, Json] = {
        "buildType": build.build_type,
        "externalParameters": {**dict(build.parameters), "workflow": workflow},
        "resolvedDependencies": dependencies,
    }
    internal: dict[str, Json] = {}
    if build.fingerprint is not None:
        internal["inputFingerprint"] = build.fingerprint
    if build.repository_id is not None:  # where GitHub's build type has it, so that readers find it
        internal["github"] = {"repository_id": str(build.repository_id)}
    if internal:
        definition["internalParameters"] = internal
    return statement.build(
        {repository: digest},
        statement.SLSA_PROVENANCE_V1,
        {"buildDefinition": definition, "runDetails": {"builder": {"id": build.builder}}},
    )
