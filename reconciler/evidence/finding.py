"""Registry → what is attached to a digest, in every layout that is in use (facts: cosign v2 and v3, GitHub, BuildKit).

What cannot be read as such is `Failed`, with the refusal that it comes to; nothing here decides what counts. Where it
is not known what there is, Transient, Denied or ConfigError is raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.evidence.found import (
    BUNDLE_MAX_BYTES,
    BUNDLE_MEDIA_TYPE,
    CANDIDATES_MAX,
    EVIDENCE_MAX_BYTES,
    Evidence,
    Failed,
    Found,
    Layout,
    Refused,
)
from reconciler.ports import ArtifactReader, Referrer
from state.errors import ConfigError, Denied, IntegrityError, InvalidValue, Terminal, Transient, Unsupported
from state.oci import (
    DOCKER_MANIFEST_LIST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Digest,
    Manifest,
    Repository,
    Tag,
)
from state.statement import CYCLONEDX, SLSA_PROVENANCE_V02, SLSA_PROVENANCE_V1, SPDX, VERIFICATION_SUMMARY
from state.verdict import Refusal

EMPTY_MEDIA_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY_BLOB: Final = b"{}"
_BUNDLES: Final = frozenset(
    {
        BUNDLE_MEDIA_TYPE,
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    }
)
_SBOMS: Final = frozenset({"application/spdx+json", "application/vnd.cyclonedx+json"})
_UNTOLD: Final = frozenset({"", EMPTY_MEDIA_TYPE})
_IN_TOTO: Final = "application/vnd.in-toto+json"
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
_INDEXES: Final = (OCI_INDEX, DOCKER_MANIFEST_LIST)
_CHILDREN_MAX: Final = 100
_TITLE: Final = "org.opencontainers.image.title"
_FILE_NAMES: Final = {
    SPDX: "sbom.spdx.sigstore.json",
    CYCLONEDX: "sbom.cdx.sigstore.json",
    SLSA_PROVENANCE_V1: "provenance.sigstore.json",
    SLSA_PROVENANCE_V02: "provenance.sigstore.json",
    VERIFICATION_SUMMARY: "verification-summary.sigstore.json",
}
OLDER_LAYOUTS: Final = {Layout.COSIGN_SIGNATURE: "sig", Layout.COSIGN_ATTESTATION: "att"}


def find(
    reader: ArtifactReader,
    repository: Repository,
    digest: Digest,
    *,
    cosign_v2: bool,
    beside: Callable[[], Iterable[Found | Failed]] | None = None,
) -> Evidence:
    """All evidence about `digest`. Unsigned material inside an index is looked for only where nothing signed is there.

    `cosign_v2` also reads the tags of cosign v2; `beside` gives what lies beside the registry, which is left out where
    it is attached already.

    Raises Transient, Denied or ConfigError, and Terminal or IntegrityError where the list itself cannot be used.
    """
    found: list[Found | Failed] = []
    size = 0
    attached: set[bytes] = set()
    for one in _candidates(reader, repository, digest, beside or tuple, cosign_v2=cosign_v2):
        if isinstance(one, Found) and one.layout in {Layout.BUNDLE, Layout.HANDED_OVER}:
            if one.layout is Layout.HANDED_OVER and one.raw in attached:
                continue
            attached.add(one.raw)
        found.append(one)
        size += len(one.raw) if isinstance(one, Found) else 0
        if len(found) >= CANDIDATES_MAX or size >= EVIDENCE_MAX_BYTES:
            text = f"more than {len(found)} pieces or {size} bytes are attached; the others were not looked at"
            found.append(Failed(Refusal.OVERSIZED, text))
            break
    if not found:
        found += buildkit(reader, repository, digest)
    return Evidence(tuple(f for f in found if isinstance(f, Found)), tuple(f for f in found if isinstance(f, Failed)))


def _candidates(
    reader: ArtifactReader,
    repository: Repository,
    digest: Digest,
    beside: Callable[[], Iterable[Found | Failed]],
    *,
    cosign_v2: bool,
) -> Iterator[Found | Failed]:
    for referrer in reader.referrers(repository, digest):
        if referrer.artifact_type in _BUNDLES | _SBOMS | _UNTOLD:
            yield from _referrer(reader, repository, digest, referrer)
    if cosign_v2:
        for layout in OLDER_LAYOUTS:
            yield from older_layout(reader, repository, digest, layout)
    yield from beside()


def buildkit(reader: ArtifactReader, repository: Repository, digest: Digest) -> list[Found | Failed]:
    """The unsigned statements that BuildKit puts inside an index, one for each layer of its attestation manifests."""
    try:
        index = reader.manifest(repository, digest)
        if index is None or index.media_type not in _INDEXES:
            return []
        rows = [r for r in _children(index) if _annotations(r).get(_REFERENCE_TYPE) == "attestation-manifest"]
        found: list[Found | Failed] = []
        for row in rows[:_CHILDREN_MAX]:
            held = _manifest(reader, repository, _descriptor(row).digest)
            statements = [layer for layer in _layers(held) if layer.get("mediaType") == _IN_TOTO]
            found += [_blob(reader, repository, held.digest, layer, Layout.BUILDKIT) for layer in statements]
        return found[:CANDIDATES_MAX]
    except (Denied, ConfigError):  # a wrong set-up is nobody's bad evidence
        raise
    except (Refused, IntegrityError, Terminal) as error:
        return [_failed(error, None)]


def check_index(reader: ArtifactReader, repository: Repository, digest: Digest) -> None:
    """Pass if every manifest that an index lists is there as it is listed, or if this is no index.

    Raises Refused (INCOMPLETE_INDEX), Transient, Denied or ConfigError.
    """
    index = reader.manifest(repository, digest)
    if index is None:
        raise Refused(Refusal.INCOMPLETE_INDEX, f"{digest.short} itself is gone from the registry")
    if index.media_type not in _INDEXES:
        return
    rows = _children(index)
    if not 0 < len(rows) <= _CHILDREN_MAX:
        raise Refused(
            Refusal.INCOMPLETE_INDEX, f"expected 1 to {_CHILDREN_MAX} manifests in the index, got {len(rows)}"
        )
    for row in rows:
        listed = _descriptor(row)
        try:
            child = reader.manifest(repository, listed.digest)
        except (IntegrityError, Terminal) as error:
            if isinstance(error, Denied | ConfigError):
                raise
            raise Refused(Refusal.INCOMPLETE_INDEX, f"{listed.digest.short} cannot be read: {error}") from error
        if child is None:
            raise Refused(Refusal.INCOMPLETE_INDEX, f"{listed.digest.short} is listed and not there")
        if child.descriptor != listed:
            raise Refused(
                Refusal.INCOMPLETE_INDEX,
                f"{listed.digest.short}: listed as {listed.media_type} of {listed.size} bytes, is"
                f" {child.media_type} of {len(child.raw)}",
            )


def platforms(reader: ArtifactReader, repository: Repository, digest: Digest) -> list[Manifest]:
    """The image manifests of an index, without BuildKit's attestations; or the image itself.

    Raises Transient where one is not there (any more), Terminal where the index cannot be used, or Denied.
    """
    held = reader.manifest(repository, digest)
    if held is None:
        raise Transient(f"{repository}@{digest.short}: is gone from the registry")
    if held.media_type not in _INDEXES:
        return [held]
    try:
        rows = [_descriptor(r) for r in _children(held) if _REFERENCE_TYPE not in _annotations(r)]
    except Refused as refused:
        raise Terminal(f"{repository}@{digest.short}: {refused.text}") from refused
    if not 0 < len(rows) <= _CHILDREN_MAX:
        raise Terminal(f"{repository}@{digest.short}: expected 1 to {_CHILDREN_MAX} platforms, got {len(rows)}")
    made = []
    for row in rows:
        if (child := reader.manifest(repository, row.digest)) is None:
            raise Transient(f"{repository}@{row.digest.short}: is listed and not there")
        made.append(child)
    return made


def layers_of(manifest: Manifest) -> list[Descriptor]:
    """Configuration and layers of an image manifest. Raises Refused for what is none."""
    rows = [_member(_parsed(manifest), "config"), *_layers(manifest)]
    return [_descriptor(row) for row in rows]


def attach_manifest(subject: Descriptor, bundle: Descriptor, predicate_type: str) -> tuple[Manifest, Referrer]:
    """The manifest that attaches a bundle to `subject`, as cosign v3 and GitHub write it, and its descriptor.

    The layer has a file name besides, without which `oras pull` gets nothing. No time of creation, so that equal
    bundles have equal manifests. Source: facts/oci-sigstore.md C.1.
    """
    annotations = {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
    }
    empty = Descriptor(EMPTY_MEDIA_TYPE, Digest.of(EMPTY_BLOB), len(EMPTY_BLOB))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": BUNDLE_MEDIA_TYPE,
        "config": _row(empty),
        "layers": [{**_row(bundle), "annotations": {_TITLE: _FILE_NAMES.get(predicate_type, "bundle.sigstore.json")}}],
        "subject": _row(subject),
        "annotations": annotations,
    }
    manifest = Manifest.of(OCI_MANIFEST, json.dumps(body, separators=(",", ":")).encode())
    return manifest, Referrer(manifest.descriptor, BUNDLE_MEDIA_TYPE, annotations)


# --- one piece of evidence -------------------------------------------------------------------------------------------


def _referrer(
    reader: ArtifactReader, repository: Repository, digest: Digest, referrer: Referrer
) -> Iterator[Found | Failed]:
    """The evidence in one referrer; nothing if its manifest is of a kind that is none."""
    at = referrer.descriptor.digest
    try:
        held = _manifest(reader, repository, at)
        body = _parsed(held)
        kind = str(body.get("artifactType") or _member(body, "config").get("mediaType") or "")
        if kind not in _BUNDLES | _SBOMS:
            return
        subject = _member(body, "subject").get("digest")
        if subject != digest:
            raise Refused(Refusal.WRONG_SUBJECT, f"{at.short} is attached to {str(subject)[:80]}, not to {digest}")
        layers = _layers(held)
        if len(layers) != 1:
            raise Refused(Refusal.MALFORMED, f"{at.short}: expected one layer, got {len(layers)}")
        layout = Layout.BUNDLE if kind in _BUNDLES else Layout.SBOM
        if layout is Layout.BUNDLE and layers[0].get("mediaType") not in _BUNDLES:
            raise Refused(
                Refusal.MALFORMED, f"{at.short}: its layer is no bundle: {str(layers[0].get('mediaType'))[:80]}"
            )
        yield _blob(reader, repository, at, layers[0], layout)
    except (Denied, ConfigError):  # a wrong set-up is nobody's bad evidence
        raise
    except (Refused, IntegrityError, Terminal) as error:
        yield _failed(error, at)


def older_tag(digest: Digest, layout: Layout) -> Tag:
    """Where cosign v2 keeps this layout: `sha256-<hex>.sig` or `sha256-<hex>.att`."""
    return Tag(f"sha256-{digest.hex}.{OLDER_LAYOUTS[layout]}")


def older_layout(
    reader: ArtifactReader, repository: Repository, digest: Digest, layout: Layout
) -> Iterator[Found | Failed]:
    """What a tag of cosign v2 holds, a piece for each layer; nothing where there is no such tag."""
    try:
        held = reader.manifest(repository, older_tag(digest, layout))
        if held is None:
            return
        for layer in _layers(held)[:CANDIDATES_MAX]:
            yield _blob(reader, repository, held.digest, layer, layout)
    except (Denied, ConfigError):  # a wrong set-up is nobody's bad evidence
        raise
    except (Refused, IntegrityError, Terminal) as error:
        yield _failed(error, None)


def _blob(
    reader: ArtifactReader, repository: Repository, manifest: Digest, layer: Mapping[str, Any], layout: Layout
) -> Found | Failed:
    """The bytes of one layer, asked of this registry by its digest alone: a foreign layer's `urls` are never read."""
    try:
        descriptor = _descriptor(layer)
        if not 0 < descriptor.size <= BUNDLE_MAX_BYTES:
            raise Refused(
                Refusal.OVERSIZED, f"{manifest.short}: expected at most {BUNDLE_MAX_BYTES} bytes, got {descriptor.size}"
            )
        raw = reader.blob(repository, descriptor.digest, BUNDLE_MAX_BYTES)
        if raw is None:
            raise Refused(Refusal.MALFORMED, f"{manifest.short}: its blob {descriptor.digest.short} is not there")
        return Found(layout, manifest, descriptor.media_type, raw, _annotations(layer))
    except (Denied, ConfigError):  # a wrong set-up is nobody's bad evidence
        raise
    except (Refused, IntegrityError, Terminal) as error:
        return _failed(error, manifest)


def _failed(error: Refused | IntegrityError | Terminal, manifest: Digest | None) -> Failed:
    if isinstance(error, Refused):
        return Failed(error.refusal, error.text, manifest)
    oversized = isinstance(error, Terminal) and not isinstance(error, InvalidValue | Unsupported)
    return Failed(Refusal.OVERSIZED if oversized else Refusal.MALFORMED, str(error), manifest)


# --- manifests -------------------------------------------------------------------------------------------------------


def _manifest(reader: ArtifactReader, repository: Repository, digest: Digest) -> Manifest:
    manifest = reader.manifest(repository, digest)
    if manifest is None:
        raise Refused(Refusal.MALFORMED, f"{digest.short} is listed and not there")
    return manifest


def _parsed(manifest: Manifest) -> Mapping[str, Any]:
    try:
        value = json.loads(manifest.raw)
    except (ValueError, RecursionError) as error:
        raise Refused(Refusal.MALFORMED, f"{manifest.digest.short} is no JSON") from error
    if not isinstance(value, dict):
        raise Refused(Refusal.MALFORMED, f"{manifest.digest.short} is no JSON object")
    return value


def _children(manifest: Manifest) -> list[Mapping[str, Any]]:
    return _rows(_parsed(manifest), "manifests", manifest)


def _layers(manifest: Manifest) -> list[Mapping[str, Any]]:
    return _rows(_parsed(manifest), "layers", manifest)


def _rows(body: Mapping[str, Any], name: str, manifest: Manifest) -> list[Mapping[str, Any]]:
    rows = body.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(Refusal.MALFORMED, f"{manifest.digest.short}: `{name}` is no list of descriptors")
    return rows


def _member(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _annotations(row: Mapping[str, Any]) -> Mapping[str, str]:
    return {k: v for k, v in _member(row, "annotations").items() if isinstance(v, str)}


def _descriptor(row: Mapping[str, Any]) -> Descriptor:
    media_type, digest, size = row.get("mediaType"), row.get("digest"), row.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or type(size) is not int:
        raise Refused(Refusal.MALFORMED, "a descriptor without media type, digest or size")
    try:
        return Descriptor(media_type, Digest(digest), size)
    except InvalidValue as error:
        raise Refused(Refusal.MALFORMED, str(error)) from error


def _row(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
