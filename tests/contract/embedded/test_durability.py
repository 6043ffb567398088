"""A crash loses nothing that was answered and shows nothing that was not; damage is never served."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from reconciler.registry.commits import GroupCommit
from reconciler.registry.errors import Code, WireError
from reconciler.registry.storage import Storage
from state.errors import ConfigError
from state.oci import OCI_MANIFEST
from tests.fixtures.embedded import EMPTY_CONFIG, EmbeddedRegistry, ServeRegistry, descriptor, image, sha256

BIG = os.urandom(3 * 1024 * 1024)


@contextmanager
def served(root: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`ameide registry serve` as a process of its own; the process and its URL."""
    program = "import sys; from reconciler.cli import main; main(sys.argv[1:])"
    argv = [
        sys.executable,
        "-c",
        program,
        "registry",
        "serve",
        "--root",
        str(root),
        "--listen",
        "127.0.0.1:0",
        "--json",
    ]
    with subprocess.Popen([*argv, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            if process.poll() is None:
                process.kill()


def half_a_request(url: str, head: str, sent: bytes) -> socket.socket:
    """A connection on which only a part of the body has arrived."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(head.encode() + sent)
    return connection


def test_a_kill_in_the_middle_of_uploads_leaves_no_half_blob(tmp_path: Path) -> None:
    digest = sha256(BIG)
    scratch = tmp_path / ".ameide-registry/scratch"
    with served(tmp_path) as (process, url), requests.Session() as session:
        kept = session.post(f"{url}/v2/org/app/blobs/uploads/?digest={sha256(EMPTY_CONFIG)}", data=EMPTY_CONFIG)
        pushed = session.put(
            f"{url}/v2/org/app/manifests/main", data=image(), headers={"Content-Type": OCI_MANIFEST}, timeout=10
        )
        assert (kept.status_code, pushed.status_code) == (201, 201)
        location = session.post(f"{url}/v2/org/app/blobs/uploads/", timeout=10).headers["Location"]
        assert session.patch(f"{url}{location}", data=BIG[: 2**20], timeout=10).status_code == 202
        head = f"PUT {location}?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BIG) - 2**20}\r\n\r\n"
        with half_a_request(url, head, BIG[2**20 : 2**21]):
            assert [p.stat().st_size for p in scratch.iterdir()] == [2**20]
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    with served(tmp_path) as (_, url), requests.Session() as session:
        assert list(scratch.iterdir()) == []
        assert session.get(f"{url}{location}", timeout=10).status_code == 404
        assert session.get(f"{url}/v2/org/app/blobs/{digest}", timeout=10).status_code == 404
        assert session.get(f"{url}/v2/org/app/manifests/main", timeout=10).content == image()
        again = session.post(f"{url}/v2/org/app/blobs/uploads/?digest={digest}", data=BIG, timeout=10)
        assert again.status_code == 201
        assert session.get(f"{url}/v2/org/app/blobs/{digest}", timeout=10).content == BIG


def test_a_kill_under_load_keeps_every_answered_tag(tmp_path: Path) -> None:
    raw, answered = image(), set()
    enough = threading.Event()

    def put(number: int) -> None:
        try:
            answer = requests.put(
                f"{url}/v2/org/app/manifests/t{number}", data=raw, headers={"Content-Type": OCI_MANIFEST}, timeout=10
            )
        except requests.RequestException:
            return  # killed meanwhile
        assert answer.status_code == 201
        answered.add(f"t{number}")
        if len(answered) > 60:
            enough.set()

    with served(tmp_path) as (process, url):
        requests.post(
            f"{url}/v2/org/app/blobs/uploads/?digest={sha256(EMPTY_CONFIG)}", data=EMPTY_CONFIG, timeout=10
        ).raise_for_status()
        with ThreadPoolExecutor(8) as pool:
            done = [pool.submit(put, number) for number in range(400)]
            assert enough.wait(20)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        for future in done:
            future.result()
    assert len(answered) < 400
    with served(tmp_path) as (_, url):
        tags = set(requests.get(f"{url}/v2/org/app/tags/list", timeout=10).json()["tags"])
    assert answered <= tags


def test_a_second_process_on_the_root_is_refused(tmp_path: Path, serve_registry: ServeRegistry) -> None:
    first = serve_registry(tmp_path / "shared")
    program = "import sys; from reconciler.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", program, "registry", "serve", "--root", str(first.root), "--listen", "127.0.0.1:0"]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert "another process serves it" in second.stderr
    first.push_image("org/app", "main")
    with pytest.raises(ConfigError, match="another process"):
        Storage(first.root)
    first.stop()
    Storage(first.root).close()


def test_a_damaged_manifest_is_a_500_until_it_is_pushed_again(
    embedded_registry: EmbeddedRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    raw = embedded_registry.push_image("org/app", "main")
    path = embedded_registry.root / "org/app/blobs/sha256" / sha256(raw)[7:]
    for damage in (b"X" + raw[1:], raw[:-1], b""):
        path.write_bytes(damage)
        for method in ("GET", "HEAD"):
            answer = embedded_registry.call(method, "/v2/org/app/manifests/main")
            assert answer.status_code == 500
            assert damage[:20] not in answer.content or not damage
            assert str(embedded_registry.root) not in answer.text
    assert f"{path}: the bytes do not have the digest {sha256(raw)}" in caplog.text
    path.unlink()
    assert embedded_registry.call("GET", "/v2/org/app/manifests/main").status_code == 500
    assert embedded_registry.push("org/app", "main", raw).status_code == 201
    assert embedded_registry.call("GET", "/v2/org/app/manifests/main").content == raw


def test_referrers_are_not_listed_from_damaged_manifests(serve_registry: ServeRegistry) -> None:
    first = serve_registry()
    subject = descriptor(first.push_image("org/app", "main"), OCI_MANIFEST)
    referrer = image(subject=subject)
    first.push("org/app", sha256(referrer), referrer)
    path = first.root / "org/app/blobs/sha256" / sha256(referrer)[7:]
    path.write_bytes(referrer.replace(b"schema", b"sch3ma"))
    assert first.call("GET", f"/v2/org/app/referrers/{subject['digest']}").status_code == 500
    first.stop()
    second = serve_registry(first.root)
    assert second.call("GET", f"/v2/org/app/referrers/{subject['digest']}").status_code == 500
    assert second.call("GET", "/v2/org/app/manifests/main").status_code == 200


def test_tags_put_at_once_are_all_there(embedded_registry: EmbeddedRegistry) -> None:
    raw = embedded_registry.push_image("org/app", "main")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: embedded_registry.push("org/app", f"{n:040x}", raw).status_code, range(200)))
    assert answers == [201] * 200
    rows = json.loads((embedded_registry.root / "org/app/index.json").read_bytes())["manifests"]
    assert len(rows) == 201


def test_puts_and_deletes_of_one_manifest_at_once_never_lose_its_bytes(embedded_registry: EmbeddedRegistry) -> None:
    raw = embedded_registry.push_image("org/app", "main")
    path = f"/v2/org/app/manifests/{sha256(raw)}"

    def one(number: int) -> int:
        if number % 2:
            return embedded_registry.call("DELETE", path).status_code
        return embedded_registry.push("org/app", sha256(raw), raw).status_code

    with ThreadPoolExecutor(16) as pool:
        codes = set(pool.map(one, range(200)))
    assert codes <= {201, 202, 404}
    got = embedded_registry.call("GET", path)
    assert (got.status_code, got.content) == (200, raw) if got.ok else got.status_code == 404


class Numbers(set[int]):
    def copy(self) -> Numbers:
        return Numbers(self)


def test_changes_that_arrive_during_a_write_share_the_next_one() -> None:
    writing, go_on = threading.Event(), threading.Event()
    written: list[set[int]] = []

    def write(state: Numbers) -> None:
        writing.set()
        assert go_on.wait(10)
        written.append(set(state))

    commits = GroupCommit(Numbers(), write)
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(commits.apply, lambda draft: draft.add(0))
        assert writing.wait(10)
        assert commits.published == set()  # readers see only what is durable
        rest = [pool.submit(commits.apply, lambda draft, n=n: draft.add(n)) for n in range(1, 11)]
        deadline = time.monotonic() + 10
        while len(commits._queue) < 10:
            assert time.monotonic() < deadline
        go_on.set()
        for future in (first, *rest):
            future.result(10)
    assert written == [{0}, set(range(11))]
    assert commits.published == set(range(11))


def test_a_failed_write_fails_its_group_and_keeps_the_old_state() -> None:
    broken = True

    def write(state: Numbers) -> None:
        if broken:
            raise OSError(28, "No space left on device")

    commits = GroupCommit(Numbers({1}), write)
    with pytest.raises(OSError, match="No space"):
        commits.apply(lambda draft: draft.add(2))
    assert commits.published == {1}
    broken = False
    commits.apply(lambda draft: draft.add(3))
    assert commits.published == {1, 3}


def test_a_refused_change_does_not_touch_its_group() -> None:
    writes: list[set[int]] = []
    commits = GroupCommit(Numbers(), lambda state: writes.append(set(state)))

    def refuse(draft: Numbers) -> None:
        raise WireError(Code.DENIED, "no")

    with pytest.raises(WireError):
        commits.apply(refuse)
    assert writes == []
