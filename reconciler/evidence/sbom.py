"""SBOMs: recognised, checked for what their formats require, and stated about a digest.

Sources: SPDX 2.3 (JSON), CycloneDX 1.6 (JSON). BuildKit's are statements inside the index, one for each platform, and
unsigned; what is attached names the index and the platform's manifest as subjects, so that it is found by the tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from reconciler.attesting import Stated
from reconciler.evidence import bundles
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.finding import buildkit
from reconciler.evidence.found import Failed, Layout, Refused
from state import statement
from state.errors import InvalidValue
from state.oci import Digest, Repository
from state.statement import CYCLONEDX, SPDX

_SPDX_ID: Final = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
_UTC: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_COMPONENT_TYPES: Final = frozenset(
    {
        "application", "framework", "library", "container", "platform", "operating-system", "device", "device-driver",
        "firmware", "file", "machine-learning-model", "data", "cryptographic-asset",
    }
)  # fmt: skip
_SERIAL: Final = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SPDX_TYPES: Final = frozenset({SPDX, f"{SPDX}/v2.3"})
"""GitHub writes the version into the type; cosign looks for the type without it (facts C.2)."""
_CYCLONEDX_TYPES: Final = frozenset({CYCLONEDX, f"{CYCLONEDX}/v1.6"})
_NO_ELEMENT: Final = frozenset({"NONE", "NOASSERTION"})


def check(predicate_type: str, document: Mapping[str, Any]) -> str:
    """The predicate type to attach a valid SBOM under. Raises InvalidValue naming what the format requires."""
    if predicate_type in _SPDX_TYPES:
        _check_spdx(document)
        return SPDX
    if predicate_type in _CYCLONEDX_TYPES:
        _check_cyclonedx(document)
        return CYCLONEDX
    raise InvalidValue(f"SBOM: {predicate_type[:80]!r} is neither SPDX nor CycloneDX")


def is_sbom(predicate_type: str) -> bool:
    """Whether a statement of this type is an SBOM that this program knows."""
    return predicate_type in _SPDX_TYPES | _CYCLONEDX_TYPES


def from_buildkit(attacher: Attacher, repository: Repository, digest: Digest) -> Stated:
    """The SBOMs that BuildKit put into the index, as statements to sign; none where somebody attached one already."""
    if is_there(attacher, repository, digest):
        return Stated(())
    made: dict[Digest, Statement] = {}
    problems = []
    for found in buildkit(attacher.store, repository, digest):
        if isinstance(found, Failed):
            problems.append(f"{repository}@{digest.short}: BuildKit's attestation cannot be read: {found.text}")
            continue
        try:
            said = statement.parse(found.raw)
            if not is_sbom(said.predicate_type):
                continue
            kind = check(said.predicate_type, said.predicate)
            subjects = {f"{repository}@{d}": d for d in said.subjects} | {str(repository): digest}
            one = Statement(kind, statement.build(subjects, kind, said.predicate))
            made[one.digest] = one
        except InvalidValue as error:
            where = f"{repository}@{digest.short}: BuildKit's SBOM in {found.manifest.short}"
            problems.append(f"{where} is refused: {error}")
    return Stated(tuple(one for _, one in sorted(made.items())), tuple(problems))


def is_there(attacher: Attacher, repository: Repository, digest: Digest, *, ours: bool = False) -> bool:
    """Whether an SBOM is attached: a plain one, or a signed statement, whoever signed it; one of ours if `ours`."""
    for one in attacher.look(repository, digest).found:
        if one.layout is Layout.SBOM:
            return True
        if one.layout is Layout.BUNDLE and (ours or not attacher.made(one)):
            try:
                if is_sbom(statement.parse(bundles.parse_bundle(one.raw).envelope.payload).predicate_type):
                    return True
            except (Refused, InvalidValue):
                continue  # not even readable, so no SBOM for anybody
    return False


# --- what the formats require ----------------------------------------------------------------------------------------


def _check_spdx(document: Mapping[str, Any]) -> None:
    for member, expected in (("spdxVersion", "SPDX-2.3"), ("dataLicense", "CC0-1.0"), ("SPDXID", "SPDXRef-DOCUMENT")):
        if document.get(member) != expected:
            raise InvalidValue(f"SPDX: {member} must be {expected}, got {str(document.get(member))[:80]!r}")
    _text(document, "SPDX", "name")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s#]+", _text(document, "SPDX", "documentNamespace"), re.IGNORECASE):
        raise InvalidValue("SPDX: documentNamespace must be a URI without a fragment")
    creation = document.get("creationInfo")
    creators = creation.get("creators") if isinstance(creation, dict) else None
    if not isinstance(creators, list) or not creators or not all(isinstance(c, str) and c for c in creators):
        raise InvalidValue("SPDX: creationInfo must name its creators")
    if not _UTC.fullmatch(_text(creation or {}, "SPDX creationInfo", "created")):
        raise InvalidValue("SPDX creationInfo: created must be a UTC time such as 2026-01-31T23:59:59Z")
    known = {"SPDXRef-DOCUMENT"}
    for kind in ("packages", "files", "snippets"):
        for row in _objects(document, "SPDX", kind):
            known.add(_element(row, kind, known))
            if kind == "packages":
                _text(row, "SPDX package", "downloadLocation")
            if kind != "snippets":
                _text(row, f"SPDX {kind}", "name" if kind == "packages" else "fileName")
    for row in _objects(document, "SPDX", "relationships"):
        _text(row, "SPDX relationship", "relationshipType")
        for end in ("spdxElementId", "relatedSpdxElement"):
            name = _text(row, "SPDX relationship", end)
            if name not in known and name not in _NO_ELEMENT and not name.startswith("DocumentRef-"):
                raise InvalidValue(f"SPDX: a relationship names {name[:80]!r}, which is not in the document")


def _element(row: Mapping[str, Any], kind: str, known: set[str]) -> str:
    name = _text(row, f"SPDX {kind}", "SPDXID")
    if not _SPDX_ID.fullmatch(name) or name in known:
        raise InvalidValue(f"SPDX: {kind}: {name[:80]!r} is no SPDXRef- of its own")
    return name


def _check_cyclonedx(document: Mapping[str, Any]) -> None:
    for member, expected in (("bomFormat", "CycloneDX"), ("specVersion", "1.6")):
        if document.get(member) != expected:
            raise InvalidValue(f"CycloneDX: {member} must be {expected}, got {str(document.get(member))[:80]!r}")
    version = document.get("version", 1)
    if type(version) is not int or version < 1:
        raise InvalidValue("CycloneDX: version must be a positive integer")
    serial = document.get("serialNumber")
    if serial is not None and not (isinstance(serial, str) and _SERIAL.fullmatch(serial)):
        raise InvalidValue("CycloneDX: serialNumber must be urn:uuid: and a UUID")
    known: set[str] = set()
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise InvalidValue("CycloneDX: metadata must be an object")
    main = metadata.get("component")
    components = [*([main] if isinstance(main, dict) else []), *_objects(document, "CycloneDX", "components")]
    while components:
        row = components.pop()
        kind = _text(row, "CycloneDX component", "type")
        if kind not in _COMPONENT_TYPES:
            raise InvalidValue(f"CycloneDX component: {kind[:80]!r} is no type of version 1.6")
        _text(row, "CycloneDX component", "name")
        _unique(row, known)
        components += _objects(row, "CycloneDX component", "components")
    services = list(_objects(document, "CycloneDX", "services"))
    while services:
        row = services.pop()
        _text(row, "CycloneDX service", "name")
        _unique(row, known)
        services += _objects(row, "CycloneDX service", "services")


def _unique(row: Mapping[str, Any], known: set[str]) -> None:
    reference = row.get("bom-ref")
    if reference is None:
        return
    if not isinstance(reference, str) or reference in known:
        raise InvalidValue(f"CycloneDX: bom-ref {str(reference)[:80]!r} is not unique")
    known.add(reference)


def _text(value: Mapping[str, Any], what: str, member: str) -> str:
    found = value.get(member)
    if not isinstance(found, str) or not found:
        raise InvalidValue(f"{what}: {member} must be a text, got {str(found)[:80]!r}")
    return found


def _objects(value: Mapping[str, Any], what: str, member: str) -> list[Mapping[str, Any]]:
    rows = value.get(member, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidValue(f"{what}: {member} must be a list of objects")
    return rows
