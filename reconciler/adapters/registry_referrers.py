"""The list of what is attached to a digest, as bytes: the referrers API's answer and the index at `sha256-<hex>`.

Source: distribution-spec v1.1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from reconciler.ports import Referrer
from state.errors import InvalidValue
from state.oci import OCI_INDEX, Descriptor, Digest, Manifest, Tag

_TYPE_MAX_CHARS: Final = 256


def fallback_tag(subject: Digest) -> Tag:
    """`sha256-<hex>`."""
    return Tag(f"sha256-{subject.hex}")


class ReferrersIndex(NamedTuple):
    """A parsed image index, with all that is in it, so that it can be written again with nothing lost."""

    body: dict[str, Any]

    @classmethod
    def parse(cls, raw: bytes) -> ReferrersIndex:
        """Raises InvalidValue if this is no image index."""
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidValue(f"referrers: no JSON: {str(error)[:100]}") from error
        if not isinstance(body, dict) or not isinstance(body.get("manifests"), list):
            raise InvalidValue("referrers: expected an image index with `manifests`")
        if body.get("mediaType", OCI_INDEX) != OCI_INDEX or body.get("schemaVersion") != 2:
            raise InvalidValue("referrers: expected an OCI image index of schema version 2")
        return cls(body)

    @classmethod
    def empty(cls) -> ReferrersIndex:
        return cls({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []})

    def entries(self) -> list[Referrer]:
        """The entries that name a manifest; what is no descriptor cannot be asked for and is left out."""
        return [made for row in self.body["manifests"] if (made := _entry(row)) is not None]

    def has(self, digest: Digest) -> bool:
        return any(entry.descriptor.digest == digest for entry in self.entries())

    def with_entries(self, referrers: Iterable[Referrer]) -> Manifest:
        """This index and more entries, everything else as it was."""
        body = {**self.body, "manifests": [*self.body["manifests"], *map(_row, referrers)]}
        return Manifest.of(OCI_INDEX, json.dumps(body, separators=(",", ":")).encode())


def _row(referrer: Referrer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "mediaType": referrer.descriptor.media_type,
        "digest": referrer.descriptor.digest,
        "size": referrer.descriptor.size,
        "artifactType": referrer.artifact_type,
    }
    if referrer.annotations:
        row["annotations"] = dict(referrer.annotations)
    return row


def _entry(row: object) -> Referrer | None:
    if not isinstance(row, dict):
        return None
    media_type, size, kind = row.get("mediaType"), row.get("size"), row.get("artifactType")
    annotations = row.get("annotations")
    try:
        digest = Digest(row.get("digest"))  # type: ignore[arg-type]  # Digest refuses what is no text
    except InvalidValue:
        return None
    if not isinstance(media_type, str) or type(size) is not int:
        return None
    return Referrer(
        Descriptor(media_type, digest, size),
        kind if isinstance(kind, str) and len(kind) <= _TYPE_MAX_CHARS else "",
        {k: v for k, v in annotations.items() if isinstance(v, str)} if isinstance(annotations, dict) else {},
    )
