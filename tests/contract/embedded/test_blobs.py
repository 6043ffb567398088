"""Blobs and uploads, by distribution-spec v1.1.1, Pulling blobs and Pushing blobs."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from reconciler.registry.errors import Code, WireError
from reconciler.registry.service import Limits
from reconciler.registry.uploads import Uploads
from tests.fixtures.embedded import EmbeddedRegistry, ServeRegistry, sha256

DATA = bytes(range(256)) * 40


def code_of(answer) -> str:
    return answer.json()["errors"][0]["code"]


def start(registry: EmbeddedRegistry, repository: str = "org/app") -> str:
    answer = registry.call("POST", f"/v2/{repository}/blobs/uploads/")
    assert answer.status_code == 202
    return answer.headers["Location"]


def test_a_single_post_stores_a_blob_that_get_and_head_return(embedded_registry: EmbeddedRegistry) -> None:
    digest = embedded_registry.push_blob("org/app", DATA)
    got = embedded_registry.call("GET", f"/v2/org/app/blobs/{digest}")
    assert (got.status_code, got.content, got.headers["Docker-Content-Digest"]) == (200, DATA, digest)
    head = embedded_registry.call("HEAD", f"/v2/org/app/blobs/{digest}")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(DATA)))


@pytest.mark.parametrize("raw", [DATA, b""])
def test_post_then_put_stores_a_blob(embedded_registry: EmbeddedRegistry, raw: bytes) -> None:
    location = start(embedded_registry)
    answer = embedded_registry.call("PUT", location, params={"digest": sha256(raw)}, data=raw)
    assert answer.status_code == 201
    assert embedded_registry.call("GET", answer.headers["Location"]).content == raw


def test_chunks_in_order_become_the_blob(embedded_registry: EmbeddedRegistry) -> None:
    location = start(embedded_registry)
    for begin in (0, 4000):
        part = DATA[begin : begin + 4000]
        headers = {"Content-Range": f"{begin}-{begin + len(part) - 1}"}
        answer = embedded_registry.call("PATCH", location, data=part, headers=headers)
        assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{begin + 3999}")
        location = answer.headers["Location"]
    answer = embedded_registry.call("PUT", location, params={"digest": sha256(DATA)}, data=DATA[8000:])
    assert answer.status_code == 201
    assert embedded_registry.call("GET", answer.headers["Location"]).content == DATA


@pytest.mark.parametrize("content_range", ["10-19", "5-9", "0-9"])
def test_a_chunk_out_of_order_is_416_and_the_session_goes_on(
    embedded_registry: EmbeddedRegistry, content_range: str
) -> None:
    location = start(embedded_registry)
    embedded_registry.call("PATCH", location, data=DATA[:8], headers={"Content-Range": "0-7"})
    bad = embedded_registry.call("PATCH", location, data=b"x" * 10, headers={"Content-Range": content_range})
    assert (bad.status_code, code_of(bad), bad.headers["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-7")
    status = embedded_registry.call("GET", bad.headers["Location"])
    assert (status.status_code, status.headers["Range"]) == (204, "0-7")
    done = embedded_registry.call("PUT", location, params={"digest": sha256(DATA)}, data=DATA[8:])
    assert done.status_code == 201


def test_a_chunk_whose_range_is_not_its_length_adds_nothing(embedded_registry: EmbeddedRegistry) -> None:
    location = start(embedded_registry)
    bad = embedded_registry.call("PATCH", location, data=b"x" * 10, headers={"Content-Range": "0-20"})
    assert (bad.status_code, code_of(bad)) == (400, "SIZE_INVALID")
    # Shorter than what was refused, so that a left-over would show behind it.
    done = embedded_registry.call("PUT", location, params={"digest": sha256(b"short")}, data=b"short")
    assert done.status_code == 201
    assert embedded_registry.call("GET", done.headers["Location"]).content == b"short"


@pytest.mark.parametrize("how", ["post", "put"])
def test_a_wrong_digest_stores_nothing_and_ends_the_session(embedded_registry: EmbeddedRegistry, how: str) -> None:
    wrong = sha256(b"something else")
    if how == "post":
        answer = embedded_registry.call("POST", f"/v2/org/app/blobs/uploads/?digest={wrong}", data=DATA)
    else:
        location = start(embedded_registry)
        answer = embedded_registry.call("PUT", location, params={"digest": wrong}, data=DATA)
        assert embedded_registry.call("GET", location).status_code == 404
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
    for digest in (wrong, sha256(DATA)):
        assert embedded_registry.call("HEAD", f"/v2/org/app/blobs/{digest}").status_code == 404
    assert not [p for p in embedded_registry.root.rglob("*") if p.is_file() and p.name.startswith(("upload", "write"))]


def test_sha512_is_verified_and_served(embedded_registry: EmbeddedRegistry) -> None:
    digest = f"sha512:{hashlib.sha512(DATA).hexdigest()}"
    location = start(embedded_registry)
    embedded_registry.call("PATCH", location, data=DATA[:100])
    answer = embedded_registry.call("PUT", location, params={"digest": digest}, data=DATA[100:])
    assert answer.status_code == 201
    assert embedded_registry.call("GET", f"/v2/org/app/blobs/{digest}").content == DATA
    wrong = embedded_registry.call("POST", f"/v2/org/app/blobs/uploads/?digest={digest}", data=DATA[1:])
    assert code_of(wrong) == "DIGEST_INVALID"


def test_a_cancelled_upload_is_gone_and_belongs_to_its_repository_only(embedded_registry: EmbeddedRegistry) -> None:
    location = start(embedded_registry)
    elsewhere = location.replace("org/app", "org/other")
    assert embedded_registry.call("DELETE", elsewhere).status_code == 404
    assert embedded_registry.call("DELETE", location).status_code == 204
    answer = embedded_registry.call("PATCH", location, data=DATA)
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_mount_shares_the_blob_and_outlives_the_source(embedded_registry: EmbeddedRegistry) -> None:
    digest = embedded_registry.push_blob("org/app", DATA)
    answer = embedded_registry.call("POST", f"/v2/org/b/blobs/uploads/?mount={digest}&from=org/app")
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v2/org/b/blobs/{digest}")
    assert embedded_registry.call("DELETE", f"/v2/org/app/blobs/{digest}").status_code == 202
    assert embedded_registry.call("HEAD", f"/v2/org/app/blobs/{digest}").status_code == 404
    assert embedded_registry.call("GET", f"/v2/org/b/blobs/{digest}").content == DATA


@pytest.mark.parametrize("source", ["&from=org/empty", "&from=org/never", ""])
def test_a_mount_that_cannot_be_done_becomes_an_upload(embedded_registry: EmbeddedRegistry, source: str) -> None:
    embedded_registry.push_blob("org/empty", b"another")
    digest = sha256(DATA)
    answer = embedded_registry.call("POST", f"/v2/org/b/blobs/uploads/?mount={digest}{source}")
    assert answer.status_code == 202
    done = embedded_registry.call("PUT", answer.headers["Location"], params={"digest": digest}, data=DATA)
    assert done.status_code == 201


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("500-1499", 500, 1500), ("9000-", 9000, 10240), ("-100", 10140, 10240), ("-99999", 0, 10240)],
)
def test_a_byte_range_is_served(embedded_registry: EmbeddedRegistry, asked: str, begin: int, end: int) -> None:
    digest = embedded_registry.push_blob("org/app", DATA)
    answer = embedded_registry.call("GET", f"/v2/org/app/blobs/{digest}", headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, DATA[begin:end])
    assert answer.headers["Content-Range"] == f"bytes {begin}-{end - 1}/10240"


def test_a_range_behind_the_end_is_416_and_another_etag_gets_the_whole(embedded_registry: EmbeddedRegistry) -> None:
    digest = embedded_registry.push_blob("org/app", DATA)
    path = f"/v2/org/app/blobs/{digest}"
    assert embedded_registry.call("GET", path, headers={"Range": "bytes=10240-"}).status_code == 416
    answer = embedded_registry.call("GET", path, headers={"Range": "bytes=0-1", "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_a_blob_larger_than_allowed_is_413_also_in_chunks(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(limits=Limits(blob_max_bytes=1000))
    location = start(registry)
    assert registry.call("PATCH", location, data=DATA[:900]).status_code == 202
    answer = registry.call("PATCH", location, data=DATA[900:1800])
    assert (answer.status_code, code_of(answer)) == (413, "SIZE_INVALID")
    done = registry.call("PUT", location, params={"digest": sha256(DATA[:1000])}, data=DATA[900:1000])
    assert done.status_code == 201


@pytest.mark.parametrize("name", ["Org/app", "org//app", "org/app_", ".ameide-registry", "a/../b", "a" * 246])
def test_a_name_outside_the_grammar_reaches_no_file(embedded_registry: EmbeddedRegistry, name: str) -> None:
    before = sorted(embedded_registry.root.rglob("*"))
    path = f"/v2/{name.replace('..', '%2e%2e')}/blobs/uploads/"
    answer = embedded_registry.call("POST", path)
    assert (answer.status_code, code_of(answer)) == (400, "NAME_INVALID")
    assert sorted(embedded_registry.root.rglob("*")) == before


def test_an_unknown_repository_and_a_malformed_digest_are_told_apart(embedded_registry: EmbeddedRegistry) -> None:
    assert code_of(embedded_registry.call("GET", f"/v2/org/no/blobs/{sha256(b'')}")) == "NAME_UNKNOWN"
    bad = embedded_registry.call("GET", "/v2/org/no/blobs/sha256:bad")
    assert (bad.status_code, code_of(bad)) == (400, "DIGEST_INVALID")


def test_idle_uploads_make_room_and_too_many_are_refused(tmp_path: Path) -> None:
    now = [0.0]
    uploads = Uploads(tmp_path, max_bytes=10, max_open=2, idle_s=60, monotonic_s=lambda: now[0])
    first, second = uploads.start("a"), uploads.start("a")
    with pytest.raises(WireError) as refused:
        uploads.start("a")
    assert refused.value.code is Code.TOOMANYREQUESTS
    now[0] = 50.0
    uploads.get("a", second.id)
    now[0] = 100.0
    uploads.start("a")
    assert uploads.get("a", second.id) is second
    with pytest.raises(WireError, match="not open"):
        uploads.get("a", first.id)
    assert len(list(tmp_path.iterdir())) == 2


def test_many_pushes_of_one_blob_at_once_all_succeed(embedded_registry: EmbeddedRegistry) -> None:
    raw = DATA * 50
    threads = [threading.Thread(target=embedded_registry.push_blob, args=("org/app", raw)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    posts = [status for method, _, status in embedded_registry.answered if method == "POST"]
    assert posts == [201] * 8
    assert embedded_registry.call("GET", f"/v2/org/app/blobs/{sha256(raw)}").content == raw
