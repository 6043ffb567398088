"""Manifests, by distribution-spec v1.1.1, Pulling manifests and Pushing Manifests."""

from __future__ import annotations

import hashlib
import json

import pytest

from reconciler.registry.service import Limits
from state.oci import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, MANIFEST_MAX_BYTES, OCI_INDEX, OCI_MANIFEST
from tests.fixtures.embedded import (
    EMPTY_CONFIG,
    EMPTY_TYPE,
    EmbeddedRegistry,
    ServeRegistry,
    descriptor,
    image,
    index,
    sha256,
)


def code_of(answer) -> str:
    return answer.json()["errors"][0]["code"]


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST])
def test_a_retag_keeps_bytes_and_media_type(embedded_registry: EmbeddedRegistry, media_type: str) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    child = image(media_type=DOCKER_MANIFEST if "docker" in media_type else OCI_MANIFEST)
    embedded_registry.push("org/app", sha256(child), child)
    raw = index(child, media_type=media_type) if media_type in (OCI_INDEX, DOCKER_MANIFEST_LIST) else child
    for reference in ("main", "c" * 40):
        put = embedded_registry.push("org/app", reference, raw)
        assert (put.status_code, put.headers["Docker-Content-Digest"]) == (201, sha256(raw)), put.text
        assert put.headers["Location"] == f"/v2/org/app/manifests/{sha256(raw)}"
    for reference in ("main", "c" * 40, sha256(raw)):
        # Whatever the client accepts, it gets what was stored.
        headers = {"Accept": "application/vnd.example.other+json"}
        got = embedded_registry.call("GET", f"/v2/org/app/manifests/{reference}", headers=headers)
        assert (got.status_code, got.content, got.headers["Content-Type"]) == (200, raw, media_type)
        head = embedded_registry.call("HEAD", f"/v2/org/app/manifests/{reference}")
        assert (head.headers["Content-Length"], head.headers["Docker-Content-Digest"]) == (str(len(raw)), sha256(raw))


def test_parameters_of_the_content_type_are_ignored(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    assert embedded_registry.push("org/app", "v1", image(), f"{OCI_MANIFEST}; charset=utf-8").status_code == 201
    assert embedded_registry.call("GET", "/v2/org/app/manifests/v1").headers["Content-Type"] == OCI_MANIFEST


def test_a_client_that_has_the_bytes_gets_304(embedded_registry: EmbeddedRegistry) -> None:
    raw = embedded_registry.push_image("org/app", "main")
    etag = embedded_registry.call("HEAD", "/v2/org/app/manifests/main").headers["ETag"]
    for method in ("GET", "HEAD"):
        same = embedded_registry.call(method, "/v2/org/app/manifests/main", headers={"If-None-Match": etag})
        assert (same.status_code, same.content, same.headers["Docker-Content-Digest"]) == (304, b"", sha256(raw))
    other = embedded_registry.call("GET", "/v2/org/app/manifests/main", headers={"If-None-Match": '"sha256:0"'})
    assert other.status_code == 200


def test_a_put_by_digest_needs_the_bytes_of_that_digest(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    raw = image()
    for reference in (sha256(raw + b" "), "sha256:bad", "md5:00"):
        answer = embedded_registry.push("org/app", reference, raw)
        assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    assert embedded_registry.push("org/app", digest, raw).headers["Docker-Content-Digest"] == digest
    assert embedded_registry.call("GET", f"/v2/org/app/manifests/{digest}").content == raw
    assert embedded_registry.call("GET", f"/v2/org/app/manifests/{sha256(raw)}").status_code == 404


def test_tags_of_a_put_by_digest_are_confirmed_one_by_one(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    raw = image()
    tags = [f"{n:040x}" for n in range(12)]
    answer = embedded_registry.push("org/app", f"{sha256(raw)}?{'&'.join(f'tag={t}' for t in tags)}", raw)
    assert answer.status_code == 201
    assert answer.headers["OCI-Tag"].split(", ") == tags
    for tag in tags:
        assert embedded_registry.call("GET", f"/v2/org/app/manifests/{tag}").content == raw
    bad = embedded_registry.push("org/app", f"{sha256(raw)}?tag=good&tag=-bad", raw)
    assert bad.status_code == 400
    assert embedded_registry.call("HEAD", "/v2/org/app/manifests/good").status_code == 404


def test_too_many_tags_in_one_put_are_414(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(limits=Limits(tags_per_put=2))
    registry.push_blob("org/app", EMPTY_CONFIG)
    raw = image()
    assert registry.push("org/app", f"{sha256(raw)}?tag=a&tag=b&tag=c", raw).status_code == 414


@pytest.mark.parametrize("missing", ["config", "layer", "child"])
def test_what_a_manifest_references_must_be_there(embedded_registry: EmbeddedRegistry, missing: str) -> None:
    embedded_registry.push_blob("org/app", b"present" if missing == "config" else EMPTY_CONFIG)
    raw = index(image()) if missing == "child" else image(*([b"absent"] if missing == "layer" else []))
    answer = embedded_registry.push("org/app", "v1", raw)
    assert (answer.status_code, code_of(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert embedded_registry.call("HEAD", "/v2/org/app/manifests/v1").status_code == 404


def test_a_layer_that_is_distributed_elsewhere_may_be_missing(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    far = descriptor(b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert embedded_registry.push("org/app", "v1", image(layers=[far])).status_code == 201


def test_a_subject_may_dangle_and_is_confirmed(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    subject = descriptor(b"not here yet", OCI_MANIFEST)
    artifact = image(
        config=descriptor(EMPTY_CONFIG, EMPTY_TYPE), artifactType="application/vnd.example.sbom", subject=subject
    )
    answer = embedded_registry.push("org/app", sha256(artifact), artifact)
    assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, subject["digest"])
    plain = embedded_registry.push("org/app", "v1", image())
    assert "OCI-Subject" not in plain.headers


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"not json", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"\xff{}", OCI_MANIFEST),
        (b'{"schemaVersion":2}', OCI_MANIFEST),
        (b'{"schemaVersion":1,"manifests":[]}', OCI_INDEX),
        (b'{"schemaVersion":2,"manifests":[{"digest":"x"}]}', OCI_INDEX),
        (b'{"schemaVersion":2,"manifests":[],"manifests":[]}', OCI_INDEX),
        (b'{"schemaVersion":2,"manifests":[],"x":NaN}', OCI_INDEX),
        (b'{"schemaVersion":2,"manifests":[],"subject":{"mediaType":"a/b","digest":"sha256:x","size":1}}', OCI_INDEX),
        (b'{"schemaVersion":2,"mediaType":"application/other","manifests":[]}', OCI_INDEX),
        (b"{}", "text/html"),
        (b"[" * 100_000, OCI_INDEX),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bytes_that_are_no_such_manifest_are_refused(
    embedded_registry: EmbeddedRegistry, raw: bytes, media_type: str
) -> None:
    answer = embedded_registry.push("org/app", "v1", raw, media_type)
    assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
    assert embedded_registry.call("HEAD", "/v2/org/app/manifests/v1").status_code == 404


def test_a_descriptor_with_another_size_is_refused(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    raw = image(config={**descriptor(EMPTY_CONFIG, EMPTY_TYPE), "size": 3})
    assert code_of(embedded_registry.push("org/app", "v1", raw)) == "MANIFEST_INVALID"


def test_the_same_bytes_are_never_two_media_types(embedded_registry: EmbeddedRegistry) -> None:
    raw = b'{"schemaVersion":2,"manifests":[]}'
    assert embedded_registry.push("org/app", "one", raw, OCI_INDEX).status_code == 201
    answer = embedded_registry.push("org/app", "two", raw, DOCKER_MANIFEST_LIST)
    assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
    assert embedded_registry.call("GET", "/v2/org/app/manifests/one").headers["Content-Type"] == OCI_INDEX


def test_a_manifest_of_four_mebibytes_is_taken_and_one_byte_more_is_413(embedded_registry: EmbeddedRegistry) -> None:
    raw = b'{"schemaVersion":2,"manifests":[]}'
    largest = raw + b" " * (MANIFEST_MAX_BYTES - len(raw))
    assert embedded_registry.push("org/app", "v1", largest, OCI_INDEX).status_code == 201
    answer = embedded_registry.push("org/app", "v2", largest + b" ", OCI_INDEX)
    assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("reference", ["absent", sha256(b"absent"), "-no-tag", "x" * 129])
def test_what_is_not_there_is_404(embedded_registry: EmbeddedRegistry, reference: str) -> None:
    unknown = embedded_registry.call("GET", f"/v2/org/app/manifests/{reference}")
    assert (unknown.status_code, code_of(unknown)) == (404, "NAME_UNKNOWN")
    embedded_registry.push_image("org/app", "main")
    missing = embedded_registry.call("GET", f"/v2/org/app/manifests/{reference}")
    assert (missing.status_code, code_of(missing)) == (404, "MANIFEST_UNKNOWN")


def test_errors_have_the_body_of_the_specification(embedded_registry: EmbeddedRegistry) -> None:
    answer = embedded_registry.call("GET", "/v2/org/app/manifests/absent")
    assert answer.headers["Content-Type"] == "application/json"
    body = json.loads(answer.content)
    assert set(body) == {"errors"}
    assert set(body["errors"][0]) == {"code", "message"}
