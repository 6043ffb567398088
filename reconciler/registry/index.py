"""What index.json of one repository says, and its bytes. Pure.

A tag is a descriptor with the annotation `org.opencontainers.image.ref.name`; a manifest without a tag is a descriptor
without that annotation. Descriptors that another program wrote keep their other members until their tag moves.
Source: OCI image-spec v1.1.1, image-layout.md (index.json), annotations.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from reconciler.registry.digests import ContentDigest, tag_name
from reconciler.registry.errors import Code, WireError
from state.canonical import Json
from state.errors import IntegrityError
from state.oci import OCI_INDEX, Tag

_REF_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest of the repository. `line` is its descriptor in index.json where no tag names it."""

    media_type: str
    digest: ContentDigest
    size: int
    subject: ContentDigest | None
    line: str

    @classmethod
    def of(cls, media_type: str, digest: ContentDigest, size: int, subject: ContentDigest | None) -> Self:
        """A manifest with the descriptor that this registry writes."""
        row: dict[str, Json] = {"mediaType": media_type, "digest": digest, "size": size}
        return cls(media_type, digest, size, subject, json.dumps(row))


@dataclass(slots=True)
class Contents:
    """Tags, each with its digest and its descriptor's line; manifests by digest.

    `foreign` are descriptors whose ref.name cannot be a tag here: kept in the file, never served.
    """

    tags: dict[Tag, tuple[ContentDigest, str]] = field(default_factory=dict)
    manifests: dict[ContentDigest, Stored] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def copy(self) -> Self:
        return type(self)(dict(self.tags), dict(self.manifests), self.foreign)

    def put(self, stored: Stored, tags: Sequence[Tag]) -> None:
        """Have the manifest, and point the tags at it. Raises WireError before anything is changed."""
        present = self.manifests.get(stored.digest, stored)
        if present.media_type != stored.media_type:
            raise WireError(
                Code.MANIFEST_INVALID,
                f"{stored.digest} is stored as {present.media_type}: the same bytes cannot be {stored.media_type} too",
            )
        self.manifests[stored.digest] = present
        row = json.loads(stored.line)
        for tag in tags:
            self.tags[tag] = (stored.digest, json.dumps({**row, "annotations": {_REF_NAME: tag}}))

    def delete_tag(self, tag: Tag) -> None:
        """Remove the tag, keep the manifest. Raises WireError MANIFEST_UNKNOWN."""
        if self.tags.pop(tag, None) is None:
            raise WireError(Code.MANIFEST_UNKNOWN, f"tag {tag} is not in this repository")

    def delete_manifest(self, digest: ContentDigest) -> None:
        """Remove the manifest and every tag that points at it. Raises WireError MANIFEST_UNKNOWN."""
        if self.manifests.pop(digest, None) is None:
            raise WireError(Code.MANIFEST_UNKNOWN, f"manifest {digest} is not in this repository")
        self.tags = {tag: row for tag, row in self.tags.items() if row[0] != digest}

    def encode(self) -> bytes:
        """The bytes of index.json, one descriptor a line."""
        tagged = {digest for digest, _ in self.tags.values()}
        lines = [line for _, line in self.tags.values()]
        lines += [stored.line for digest, stored in self.manifests.items() if digest not in tagged]
        rows = ",\n".join(lines + self.foreign)
        return f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[\n{rows}\n]}}\n'.encode()

    @classmethod
    def decode(cls, raw: bytes, where: str) -> Self:
        """Read index.json; no manifest has its subject yet. Raises IntegrityError naming `where`."""
        made = cls()
        try:
            for row in json.loads(raw)["manifests"]:
                made._add(row)
        except (ValueError, KeyError, TypeError, AttributeError, WireError) as error:
            raise IntegrityError(f"{where}: not the index of an image layout: {error!r}"[:400]) from error
        return made

    def _add(self, row: Mapping[str, Json]) -> None:
        annotations = row.get("annotations") or {}
        if not isinstance(annotations, dict):
            raise TypeError("annotations is not an object")
        name = annotations.get(_REF_NAME)
        tag = None if name is None else tag_name(str(name))
        if name is not None and tag is None:
            self.foreign.append(json.dumps(row))
            return
        digest = ContentDigest(row["digest"])
        if tag is not None:
            self.tags[tag] = (digest, json.dumps(row))
        # The line without its name: once the tag is deleted, the manifest must not come back under it.
        rest = {k: v for k, v in annotations.items() if k != _REF_NAME}
        plain = {**{k: v for k, v in row.items() if k != "annotations"}, **({"annotations": rest} if rest else {})}
        size = row["size"]
        if not isinstance(size, int):
            raise TypeError("size is not a number of bytes")
        self.manifests.setdefault(digest, Stored(str(row["mediaType"]), digest, size, None, json.dumps(plain)))
