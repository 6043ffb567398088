"""Tags, referrers and deletion, by distribution-spec v1.1.1, Content Discovery and Content Management."""

from __future__ import annotations

import json

import pytest

from reconciler.registry.service import Limits
from state.oci import OCI_INDEX, OCI_MANIFEST
from tests.fixtures.embedded import (
    EMPTY_CONFIG,
    EMPTY_TYPE,
    IMAGE_CONFIG,
    EmbeddedRegistry,
    ServeRegistry,
    descriptor,
    image,
    index,
    sha256,
)

SBOM = "application/vnd.example.sbom"


def pages(registry: EmbeddedRegistry, path: str) -> list[dict]:
    """Every page from `path` on, by its Link headers."""
    found = []
    while path:
        answer = registry.call("GET", path)
        assert answer.status_code == 200
        found.append(answer.json())
        path = answer.links.get("next", {}).get("url", "")
        assert len(found) < 20
    return found


def push_tags(registry: EmbeddedRegistry, *tags: str) -> bytes:
    raw = registry.push_image("org/app", tags[0])
    for tag in tags[1:]:
        registry.push("org/app", tag, raw)
    return raw


def test_tags_are_listed_in_lexical_order(embedded_registry: EmbeddedRegistry) -> None:
    push_tags(embedded_registry, "b", "C", "a", "B", "_", "10", "9")
    body = embedded_registry.call("GET", "/v2/org/app/tags/list").json()
    assert body == {"name": "org/app", "tags": ["10", "9", "_", "a", "B", "b", "C"]}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_pages_of_tags_add_up_to_the_list(embedded_registry: EmbeddedRegistry, n: int) -> None:
    tags = ["a", "B", "c", "D", "e"]
    push_tags(embedded_registry, *reversed(tags))
    found = pages(embedded_registry, f"/v2/org/app/tags/list?n={n}")
    assert [page["tags"] for page in found] == [tags[i : i + n] for i in range(0, 5, n)]


def test_last_need_not_exist_and_n_zero_is_empty_without_a_link(embedded_registry: EmbeddedRegistry) -> None:
    push_tags(embedded_registry, "a", "c", "e")
    assert embedded_registry.call("GET", "/v2/org/app/tags/list?last=b").json()["tags"] == ["c", "e"]
    assert embedded_registry.call("GET", "/v2/org/app/tags/list?last=e").json()["tags"] == []
    none = embedded_registry.call("GET", "/v2/org/app/tags/list?n=0")
    assert (none.status_code, none.json()["tags"], "Link" in none.headers) == (200, [], False)
    for bad in ("-1", "x", "", "1" * 30):
        assert embedded_registry.call("GET", f"/v2/org/app/tags/list?n={bad}").status_code == 400


def test_a_long_list_is_paged_even_unasked(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(limits=Limits(tags_per_page=2))
    push_tags(registry, "a", "b", "c")
    assert [p["tags"] for p in pages(registry, "/v2/org/app/tags/list")] == [["a", "b"], ["c"]]
    assert [p["tags"] for p in pages(registry, "/v2/org/app/tags/list?n=99")] == [["a", "b"], ["c"]]


def test_tags_of_an_unknown_repository_are_404_and_of_an_untagged_one_empty(
    embedded_registry: EmbeddedRegistry,
) -> None:
    assert embedded_registry.call("GET", "/v2/org/app/tags/list").status_code == 404
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    assert embedded_registry.call("GET", "/v2/org/app/tags/list").json() == {"name": "org/app", "tags": []}


def refer(registry: EmbeddedRegistry, raw: bytes) -> str:
    digest = sha256(raw)
    assert registry.push("org/app", digest, raw).status_code == 201
    return digest


def test_referrers_carry_artifact_type_and_annotations(embedded_registry: EmbeddedRegistry) -> None:
    subject = descriptor(embedded_registry.push_image("org/app", "main"), OCI_MANIFEST)
    empty = descriptor(EMPTY_CONFIG, EMPTY_TYPE)
    own = image(config=empty, artifactType=SBOM, annotations={"a": "b"}, subject=subject)
    by_config = image(subject=subject)
    typed_index = index(artifactType=SBOM, subject=subject)
    bare_index = index(subject=subject)
    unrelated = image(annotations={"x": "y"})
    for raw in (own, by_config, typed_index, bare_index, unrelated):
        refer(embedded_registry, raw)
    path = f"/v2/org/app/referrers/{subject['digest']}"
    answer = embedded_registry.call("GET", path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    assert "OCI-Filters-Applied" not in answer.headers
    assert (answer.json()["schemaVersion"], answer.json()["mediaType"]) == (2, OCI_INDEX)
    expected = [
        {**descriptor(own, OCI_MANIFEST), "artifactType": SBOM, "annotations": {"a": "b"}},
        {**descriptor(by_config, OCI_MANIFEST), "artifactType": IMAGE_CONFIG},
        {**descriptor(typed_index, OCI_INDEX), "artifactType": SBOM},
        descriptor(bare_index, OCI_INDEX),
    ]
    assert answer.json()["manifests"] == sorted(expected, key=lambda row: row["digest"])
    filtered = embedded_registry.call("GET", path, params={"artifactType": SBOM})
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    assert {row["digest"] for row in filtered.json()["manifests"]} == {sha256(own), sha256(typed_index)}


def test_referrers_are_never_404(embedded_registry: EmbeddedRegistry) -> None:
    for _ in range(2):
        answer = embedded_registry.call("GET", f"/v2/org/app/referrers/{sha256(b'nobody')}")
        assert (answer.status_code, answer.json()["manifests"]) == (200, [])
        embedded_registry.push_image("org/app", "main")
    assert embedded_registry.call("GET", "/v2/org/app/referrers/sha256:bad").status_code == 400


def test_many_referrers_are_paged_by_size(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(limits=Limits(referrers_page_max_bytes=1500))
    subject = descriptor(registry.push_image("org/app", "main"), OCI_MANIFEST)
    wanted = {refer(registry, image(subject=subject, artifactType=SBOM, annotations={"n": str(n)})) for n in range(9)}
    found = pages(registry, f"/v2/org/app/referrers/{subject['digest']}?artifactType={SBOM}")
    assert len(found) > 1
    assert all(len(json.dumps(page)) <= 1500 for page in found)
    digests = [row["digest"] for page in found for row in page["manifests"]]
    assert (len(digests), set(digests)) == (9, wanted)


def test_a_deleted_referrer_is_no_longer_listed(embedded_registry: EmbeddedRegistry) -> None:
    subject = descriptor(embedded_registry.push_image("org/app", "main"), OCI_MANIFEST)
    digest = refer(embedded_registry, image(subject=subject))
    assert embedded_registry.call("DELETE", f"/v2/org/app/manifests/{digest}").status_code == 202
    assert embedded_registry.call("GET", f"/v2/org/app/referrers/{subject['digest']}").json()["manifests"] == []


def test_deleting_a_tag_leaves_the_manifest_and_its_other_tags(embedded_registry: EmbeddedRegistry) -> None:
    raw = push_tags(embedded_registry, "main", "gone")
    assert embedded_registry.call("DELETE", "/v2/org/app/manifests/gone").status_code == 202
    assert embedded_registry.call("GET", "/v2/org/app/manifests/gone").status_code == 404
    for reference in ("main", sha256(raw)):
        assert embedded_registry.call("GET", f"/v2/org/app/manifests/{reference}").content == raw
    assert embedded_registry.call("DELETE", "/v2/org/app/manifests/gone").status_code == 404


def test_deleting_a_manifest_takes_every_tag_of_it_and_its_bytes(embedded_registry: EmbeddedRegistry) -> None:
    raw = push_tags(embedded_registry, "main", "also")
    embedded_registry.push("org/app", "other", image(annotations={"other": "manifest"}))
    assert embedded_registry.call("DELETE", f"/v2/org/app/manifests/{sha256(raw)}").status_code == 202
    for reference in ("main", "also", sha256(raw)):
        assert embedded_registry.call("GET", f"/v2/org/app/manifests/{reference}").status_code == 404
    assert embedded_registry.call("HEAD", f"/v2/org/app/blobs/{sha256(raw)}").status_code == 404
    assert embedded_registry.call("GET", "/v2/org/app/tags/list").json()["tags"] == ["other"]
    assert embedded_registry.push("org/app", "main", raw).status_code == 201


def test_deleting_a_blob_spares_manifests(embedded_registry: EmbeddedRegistry) -> None:
    raw = push_tags(embedded_registry, "main")
    refused = embedded_registry.call("DELETE", f"/v2/org/app/blobs/{sha256(raw)}")
    assert refused.status_code == 405
    assert embedded_registry.call("GET", "/v2/org/app/manifests/main").content == raw
    layer = embedded_registry.push_blob("org/app", b"layer")
    assert embedded_registry.call("DELETE", f"/v2/org/app/blobs/{layer}").status_code == 202
    assert embedded_registry.call("GET", f"/v2/org/app/blobs/{layer}").status_code == 404
    assert embedded_registry.call("DELETE", f"/v2/org/app/blobs/{layer}").status_code == 404


@pytest.mark.parametrize("reference", ["main", sha256(b"x")])
def test_deleting_in_an_unknown_repository_is_404(embedded_registry: EmbeddedRegistry, reference: str) -> None:
    assert embedded_registry.call("DELETE", f"/v2/org/app/manifests/{reference}").status_code == 404
