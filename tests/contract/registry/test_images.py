"""Parts of images by digest on real registries (port ImageWriter)."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from state.errors import StaleObservation, Transient
from state.oci import OCI_MANIFEST, Descriptor, Digest, Manifest, Repository
from tests.contract.registry.support import Connect, connect
from tests.fixtures.oci_images import encode
from tests.fixtures.registry_stub import Reply, Seen, Stub

Server = Any
CONFIG = b"{}"


def file_of(folder: Path, raw: bytes) -> tuple[Descriptor, Path]:
    path = folder / Digest.of(raw).hex
    path.write_bytes(raw)
    return Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.of(raw), len(raw)), path


def nothing() -> None:
    pass


def until() -> float:
    return time.monotonic() + 60


def test_a_file_is_stored_under_its_digest_and_sent_once(
    client: Connect, registry_server: Server, tmp_path: Path
) -> None:
    made = client(registry_server.host)
    repository = Repository(f"{registry_server.host}/images/file")
    raw = os.urandom(5 * 1024 * 1024)  # more than the chunks that some registries take
    wanted, file = file_of(tmp_path, raw)
    made.put_blob_file(repository, wanted, file, until(), nothing)
    assert made.blob(repository, wanted.digest, len(raw)) == raw
    file.unlink()
    made.put_blob_file(repository, wanted, file, until(), nothing)  # it is there: the file is not even opened


def test_a_manifest_by_digest_has_no_tag(client: Connect, registry_server: Server, tmp_path: Path) -> None:
    made = client(registry_server.host)
    repository = Repository(f"{registry_server.host}/images/untagged")
    wanted, file = file_of(tmp_path, CONFIG)
    made.put_blob_file(repository, wanted, file, until(), nothing)
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": wanted.digest, "size": wanted.size}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    manifest = Manifest.of(OCI_MANIFEST, encode(body))
    made.put_untagged(repository, manifest, nothing)
    made.put_untagged(repository, manifest, nothing)
    assert made.manifest(repository, manifest.digest) == manifest
    assert not made.tags(repository)


def test_nothing_is_sent_once_it_is_not_confirmed(client: Connect, registry_server: Server, tmp_path: Path) -> None:
    made = client(registry_server.host)
    repository = Repository(f"{registry_server.host}/images/unconfirmed")
    wanted, file = file_of(tmp_path, b"late")

    def no_more() -> None:
        raise StaleObservation("stopped")

    with pytest.raises(StaleObservation):
        made.put_blob_file(repository, wanted, file, until(), no_more)
    with pytest.raises(StaleObservation):
        made.put_untagged(repository, Manifest.of(OCI_MANIFEST, CONFIG), no_more)
    answer = requests.head(f"http://{repository.host}/v2/{repository.path}/blobs/{wanted.digest}", timeout=20)
    assert answer.status_code == 404


def test_the_file_is_what_is_sent_whole_and_in_one_request(stub: Stub, tmp_path: Path) -> None:
    raw = b"layer" * 100_000
    wanted, file = file_of(tmp_path, raw)
    where = f"/v2/x/y/blobs/uploads/1?digest={wanted.digest}"

    def answer(seen: Seen) -> Reply:
        if seen.method == "POST":
            return Reply(202, {"Location": "/v2/x/y/blobs/uploads/1"})
        return Reply(201 if seen.method == "PUT" else 404)

    stub.answer = answer
    registry = connect(stub.host)
    registry.put_blob_file(Repository(f"{stub.host}/x/y"), wanted, file, registry._clock.monotonic_s() + 60, nothing)
    registry.close()
    sent = stub.requests[-1]
    assert (sent.method, f"{sent.path}?{sent.query.replace('%3A', ':')}") == ("PUT", where)
    assert sent.headers["content-length"] == str(len(raw))
    assert "transfer-encoding" not in sent.headers
    assert sent.body == raw


def test_a_registry_that_fails_in_the_middle_is_told_and_not_asked_again(stub: Stub, tmp_path: Path) -> None:
    wanted, file = file_of(tmp_path, b"layer")

    def answer(seen: Seen) -> Reply:
        if seen.method == "POST":
            return Reply(202, {"Location": "/v2/x/y/blobs/uploads/1"})
        return Reply(503 if seen.method == "PUT" else 404)

    stub.answer = answer
    registry = connect(stub.host)
    with pytest.raises(Transient, match="503"):
        registry.put_blob_file(
            Repository(f"{stub.host}/x/y"), wanted, file, registry._clock.monotonic_s() + 60, nothing
        )
    registry.close()
    assert stub.methods() == ["HEAD", "POST", "PUT"]
