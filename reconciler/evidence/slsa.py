"""SLSA provenance of a build, as CI states it. Source: slsa.dev/spec/v1.0/provenance."""

from __future__ import annotations

from typing import NamedTuple

from state import statement
from state.git import CommitId, RefName
from state.oci import Digest, Repository


class Build(NamedTuple):
    """What was built from what, and by whom."""

    source_repository: str
    """URL of the code repository."""
    ref: RefName
    revision: CommitId
    workflow: str
    """Path of the workflow in it."""
    builder: str
    """`builder.id`: who answers for the build's isolation."""
    build_type: str
    """URI that says how `externalParameters` are to be read."""


def provenance(repository: Repository, digest: Digest, build: Build) -> bytes:
    """The statement's canonical bytes: a function of the facts, without times or invocation ids."""
    return statement.build(
        {repository: digest},
        statement.SLSA_PROVENANCE_V1,
        {
            "buildDefinition": {
                "buildType": build.build_type,
                "externalParameters": {
                    "workflow": {"path": build.workflow, "ref": build.ref, "repository": build.source_repository}
                },
                "resolvedDependencies": [
                    {"digest": {"gitCommit": build.revision}, "uri": f"git+{build.source_repository}@{build.ref}"}
                ],
            },
            "runDetails": {"builder": {"id": build.builder}},
        },
    )
