"""What SPDX 2.3 and CycloneDX 1.6 require of an SBOM, and each way to miss it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.evidence.sbom import check, is_sbom
from state.errors import InvalidValue

SPDX: dict[str, Any] = {
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": "sbom",
    "documentNamespace": "https://sbom.example/1",
    "creationInfo": {"creators": ["Tool: syft"], "created": "2026-01-31T12:00:00Z"},
    "packages": [{"SPDXID": "SPDXRef-a", "name": "a", "downloadLocation": "NOASSERTION"}],
    "files": [{"SPDXID": "SPDXRef-f", "fileName": "./f"}],
    "relationships": [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-a", "relationshipType": "DESCRIBES"},
        {"spdxElementId": "SPDXRef-a", "relatedSpdxElement": "NOASSERTION", "relationshipType": "CONTAINS"},
        {"spdxElementId": "SPDXRef-a", "relatedSpdxElement": "DocumentRef-x:SPDXRef-y", "relationshipType": "OTHER"},
    ],
}
CYCLONEDX: dict[str, Any] = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
    "components": [
        {"type": "library", "name": "a", "bom-ref": "a", "components": [{"type": "file", "name": "b", "bom-ref": "b"}]}
    ],
}


@pytest.mark.parametrize(
    ("said", "document", "attached"),
    [
        ("https://spdx.dev/Document", SPDX, "https://spdx.dev/Document"),
        ("https://spdx.dev/Document/v2.3", SPDX, "https://spdx.dev/Document"),
        ("https://cyclonedx.org/bom", CYCLONEDX, "https://cyclonedx.org/bom"),
        ("https://cyclonedx.org/bom/v1.6", CYCLONEDX, "https://cyclonedx.org/bom"),
    ],
)
def test_a_valid_sbom_is_attached_under_the_type_that_cosign_looks_for(
    said: str, document: dict[str, Any], attached: str
) -> None:
    assert is_sbom(said)
    assert check(said, document) == attached


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"spdxVersion": "SPDX-2.2"}, "spdxVersion must be SPDX-2.3"),
        ({"dataLicense": "MIT"}, "dataLicense must be CC0-1.0"),
        ({"SPDXID": "SPDXRef-x"}, "SPDXID must be SPDXRef-DOCUMENT"),
        ({"name": ""}, "name must be a text"),
        ({"documentNamespace": "no uri"}, "documentNamespace must be a URI"),
        ({"documentNamespace": "https://a#b"}, "documentNamespace must be a URI"),
        ({"creationInfo": {"created": "x", "creators": []}}, "must name its creators"),
        ({"creationInfo": {"creators": ["a"]}}, "created must be a text"),
        ({"creationInfo": {"creators": "me", "created": "2026-01-31T12:00:00Z"}}, "must name its creators"),
        ({"creationInfo": {"creators": ["a"], "created": "yesterday"}}, "created must be a UTC time"),
        ({"packages": [{**SPDX["packages"][0], "SPDXID": "DocumentRef-a:SPDXRef-b"}]}, "no SPDXRef-"),
        ({"packages": [{"SPDXID": "SPDXRef-a", "name": "a"}]}, "downloadLocation must be a text"),
        ({"packages": [{"SPDXID": "a", "name": "a", "downloadLocation": "NONE"}]}, "no SPDXRef-"),
        ({"packages": SPDX["packages"] * 2}, "no SPDXRef- of its own"),
        ({"packages": {}}, "packages must be a list"),
        ({"files": [{"SPDXID": "SPDXRef-f"}]}, "fileName must be a text"),
        (
            {"relationships": [{**SPDX["relationships"][0], "relatedSpdxElement": "SPDXRef-gone"}]},
            "which is not in the document",
        ),
        ({"relationships": [{"spdxElementId": "SPDXRef-a"}]}, "relationshipType must be a text"),
    ],
)
def test_what_spdx_requires(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        check("https://spdx.dev/Document", {**SPDX, **changed})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"bomFormat": "cyclonedx"}, "bomFormat must be CycloneDX"),
        ({"specVersion": "1.5"}, "specVersion must be 1.6"),
        ({"version": 0}, "positive integer"),
        ({"version": True}, "positive integer"),
        ({"serialNumber": "1"}, "urn:uuid"),
        ({"components": [{"name": "a"}]}, "type must be a text"),
        ({"components": [{"type": "library"}]}, "name must be a text"),
        ({"components": CYCLONEDX["components"] * 2}, "is not unique"),
        ({"components": [{"type": "data", "name": "a", "components": [1]}]}, "must be a list of objects"),
        ({"components": [{"type": "nonsense", "name": "a"}]}, "is no type of version 1.6"),
        ({"metadata": {"component": {"type": "data", "name": "m", "bom-ref": "b"}}}, "is not unique"),
        ({"services": [{"name": "s", "services": [{"name": "t", "bom-ref": "a"}]}]}, "is not unique"),
        ({"metadata": 1}, "metadata must be an object"),
    ],
)
def test_what_cyclonedx_requires(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidValue, match=told):
        check("https://cyclonedx.org/bom", {**CYCLONEDX, **changed})


def test_another_type_is_no_sbom() -> None:
    assert not is_sbom("https://slsa.dev/provenance/v1")
    with pytest.raises(InvalidValue, match="neither SPDX nor CycloneDX"):
        check("https://slsa.dev/provenance/v1", {})
