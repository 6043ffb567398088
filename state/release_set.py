"""The release set of one head: every previewed image with its digest, how it came to be, and what proves it.

It is also the build manifest of the specification (repository, tag, digest and time per image). Equal facts give equal
bytes: times are the log's. Published as an OCI artifact; the schema of its one layer is `schema/release-set-v1.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from state import canonical, statement
from state.canonical import Json, reading
from state.errors import InvalidValue
from state.git import CommitId
from state.observed import How
from state.oci import OCI_MANIFEST, Digest, Manifest, Repository

ARTIFACT_TYPE: Final = "application/vnd.ameide.release-set.v1+json"
PREDICATE_TYPE: Final = "https://ameide.io/attestation/release-set/v1"
RELEASE_SET_MAX_BYTES: Final = 4 * 1024 * 1024
_EMPTY: Final = b"{}"
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_KEYS: Final = frozenset({"decision", "head", "images", "policy", "repository_id", "schema_version"})


class ReleasedImage(NamedTuple):
    """One image of a set; its tag is the head's commit id."""

    repository: Repository
    digest: Digest
    how: How
    components: tuple[str, ...]
    """The previewed components that run it, in order."""
    recorded_at: str
    """When the log recorded the tag with this digest (UTC, `2026-01-31T23:59:59Z`)."""
    evidence: tuple[Digest, ...]
    """The manifests of the accepted evidence, in the image's own repository."""

    def to_json(self, head: CommitId) -> dict[str, Json]:
        return {
            "components": canonical.texts(self.components),
            "digest": self.digest,
            "evidence": canonical.texts(self.evidence),
            "how": self.how.value,
            "recorded_at": self.recorded_at,
            "repository": self.repository,
            "tag": head,
        }


class ReleaseSet(NamedTuple):
    """Complete by construction: it holds every image that was previewed for the head when it was made."""

    repository_id: int
    """The code repository's numeric id at the forge."""
    head: CommitId
    policy: Digest
    """Rules and verification that were in force."""
    decision: tuple[CommitId, ...]
    """The log entries that decided the head, oldest first."""
    images: tuple[ReleasedImage, ...]
    """In order of repository."""

    def to_json(self) -> dict[str, Json]:
        return {
            "decision": canonical.texts(self.decision),
            "head": self.head,
            "images": [i.to_json(self.head) for i in self.images],
            "policy": self.policy,
            "repository_id": self.repository_id,
            "schema_version": 1,
        }

    def to_bytes(self) -> bytes:
        """The artifact's one layer: canonical JSON."""
        return canonical.dumps(self.to_json())

    @classmethod
    def parse(cls, raw: bytes) -> ReleaseSet:
        """Read a layer. Raises InvalidValue unless it is byte for byte what `to_bytes` writes."""
        value = canonical.loads_object(raw, what="release set", max_bytes=RELEASE_SET_MAX_BYTES)
        read = reading(value, "release set")
        if set(value) != _KEYS or read.integer("schema_version") != 1:
            raise InvalidValue("release set: expected exactly the members of schema version 1")
        made = cls(
            read.integer("repository_id"),
            CommitId(read.text("head")),
            Digest(read.text("policy")),
            tuple(CommitId(e) for e in read.texts("decision")),
            tuple(_image(row) for row in read.objects("images")),
        )
        if made.to_bytes() != raw:
            raise InvalidValue("release set: not in canonical form, or a tag in it is not its head")
        return made

    def manifest(self) -> Manifest:
        """The OCI artifact manifest; deterministic, without a time of its own."""
        layer = self.to_bytes()
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": _EMPTY_TYPE, "digest": Digest.of(_EMPTY), "size": len(_EMPTY)},
            "layers": [
                {
                    "mediaType": ARTIFACT_TYPE,
                    "digest": Digest.of(layer),
                    "size": len(layer),
                    "annotations": {"org.opencontainers.image.title": "release-set.json"},
                }
            ],
            "annotations": {"org.opencontainers.image.revision": self.head},
        }
        return Manifest.of(OCI_MANIFEST, json.dumps(body, separators=(",", ":")).encode())

    def statement(self, repository: Repository, manifest: Digest) -> bytes:
        """What is signed: the set, about every image and about its own artifact in `repository`."""
        subjects = {str(i.repository): i.digest for i in self.images}
        return statement.build({**subjects, str(repository): manifest}, PREDICATE_TYPE, self.to_json())

    def same_images(self, other: ReleaseSet) -> bool:
        """Whether both name the same digests for the same head."""
        return self.head == other.head and self.digests() == other.digests()

    def digests(self) -> Mapping[Repository, Digest]:
        return {i.repository: i.digest for i in self.images}


def layer_of(manifest: Manifest) -> Digest:
    """The digest of the layer of a release set's manifest. Raises InvalidValue if it is no release set."""
    try:
        body = json.loads(manifest.raw)
        if body["artifactType"] == ARTIFACT_TYPE and [row["mediaType"] for row in body["layers"]] == [ARTIFACT_TYPE]:
            return Digest(body["layers"][0]["digest"])
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise InvalidValue(f"{manifest.digest}: no manifest of a release set: {type(error).__name__}") from error
    raise InvalidValue(f"{manifest.digest}: expected one layer of type {ARTIFACT_TYPE}")


def _image(row: Mapping[str, Json]) -> ReleasedImage:
    read = reading(row, "released image")
    return ReleasedImage(
        Repository(read.text("repository")),
        Digest(read.text("digest")),
        read.one_of("how", How),
        tuple(read.texts("components")),
        read.text("recorded_at"),
        tuple(Digest(d) for d in read.texts("evidence")),
    )
