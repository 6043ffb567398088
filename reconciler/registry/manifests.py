"""What a registry has to know of a manifest: what it references, its subject, its artifact type. Pure.

The bytes are never written again from what was parsed. Source: OCI image-spec v1.1.1 (manifest.md, image-index.md,
descriptor.md), distribution-spec v1.1.1 (Pushing Manifests, Listing Referrers); Docker image manifest v2, schema 2.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, cast

from reconciler.registry.digests import ContentDigest
from reconciler.registry.errors import Code, WireError
from state.canonical import Json
from state.oci import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST

_IMAGES: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
_INDEXES: Final = (OCI_INDEX, DOCKER_MANIFEST_LIST)
_WITH_SUBJECT: Final = (OCI_MANIFEST, OCI_INDEX)
_MEDIA_TYPE: Final = re.compile(r"application/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
# Layers that a client may leave out of a push, because they are to be had elsewhere.
_ELSEWHERE: Final = re.compile(
    r"application/vnd\.oci\.image\.layer\.nondistributable\.v1\.tar(\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar\.gzip"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A descriptor's digest and size in bytes, which must be in the repository before the manifest is."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was read from a manifest.

    `artifact_type` is the manifest's own, or its config's media type for an image manifest, or None;
    `annotations` are kept as they are, for the referrers list.
    """

    media_type: str
    references: tuple[Reference, ...]
    subject: ContentDigest | None
    artifact_type: str | None
    annotations: Mapping[str, Json] | None


def media_type_of(header: str, raw: bytes) -> str:
    """The media type of a pushed manifest: its Content-Type without parameters, else its `mediaType` field.

    Raises WireError MANIFEST_INVALID if neither is there, or it is no `application/` type.
    """
    named = header.partition(";")[0].strip().lower() or str(_object(raw).get("mediaType", ""))
    if not _MEDIA_TYPE.fullmatch(named):
        _refuse(f"Content-Type: expected the manifest's application/ media type, got {named[:80]!r}")
    return named


def parse(media_type: str, raw: bytes) -> Parsed:
    """Read a manifest. Types that are unknown here are taken as opaque JSON objects without references.

    Raises WireError MANIFEST_INVALID if the bytes are not what `media_type` says.
    """
    body = _object(raw)
    if "mediaType" in body and body["mediaType"] != media_type:
        _refuse(f"mediaType is {str(body['mediaType'])[:80]!r}, but Content-Type is {media_type!r}")
    known = media_type in _IMAGES or media_type in _INDEXES
    if known and body.get("schemaVersion") != 2:
        _refuse("schemaVersion: expected 2")
    references: list[Reference] = []
    config_type: str | None = None
    if media_type in _IMAGES:
        config = _descriptor(body.get("config"), "config")
        config_type = cast("str", config["mediaType"])
        references.append(_reference(config))
        layers = [_descriptor(d, f"layers[{i}]") for i, d in enumerate(_list(body, "layers"))]
        references += [
            _reference(d) for d in layers if not d.get("urls") and not _ELSEWHERE.fullmatch(cast("str", d["mediaType"]))
        ]
    elif media_type in _INDEXES:
        references += [_reference(_descriptor(d, f"manifests[{i}]")) for i, d in enumerate(_list(body, "manifests"))]
    subject: ContentDigest | None = None
    if media_type in _WITH_SUBJECT and body.get("subject") is not None:
        try:
            subject = ContentDigest(_descriptor(body["subject"], "subject")["digest"])
        except WireError as error:
            _refuse(f"subject: {error}")
    artifact_type = body.get("artifactType") or config_type
    if artifact_type is not None and not isinstance(artifact_type, str):
        _refuse("artifactType: expected a string")
    annotations = body.get("annotations")
    if annotations is not None and not isinstance(annotations, dict):
        _refuse("annotations: expected an object")
    return Parsed(media_type, tuple(references), subject, artifact_type, annotations)


def _refuse(why: str) -> NoReturn:
    raise WireError(Code.MANIFEST_INVALID, f"manifest: {why}")


def _object(raw: bytes) -> dict[str, Json]:
    def once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        made = dict(pairs)
        if len(made) != len(pairs):
            # Two readers may each see another one of the two values: such bytes have no single meaning.
            _refuse("a name occurs twice in one object")
        return made

    def not_json(name: str) -> NoReturn:
        _refuse(f"{name} is not JSON")

    try:
        body = json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_constant=not_json)
    except (ValueError, RecursionError) as error:
        _refuse(f"not JSON: {error}"[:200])
    if not isinstance(body, dict):
        _refuse("expected a JSON object")
    return body


def _list(body: Mapping[str, Json], name: str) -> list[Json]:
    value = body.get(name)
    if not isinstance(value, list):
        _refuse(f"{name}: expected an array")
    return value


def _descriptor(value: Json, where: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        _refuse(f"{where}: expected a descriptor")
    size = value.get("size")
    if not isinstance(value.get("mediaType"), str) or not isinstance(value.get("digest"), str):
        _refuse(f"{where}: expected mediaType and digest as strings")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        _refuse(f"{where}: expected size as a number of bytes")
    return value


def _reference(descriptor: Mapping[str, Json]) -> Reference:
    return Reference(cast("str", descriptor["digest"]), cast("int", descriptor["size"]))
