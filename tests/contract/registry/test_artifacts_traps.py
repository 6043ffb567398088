"""Registries that lag, misname and redirect, and clients that race: what attaching and reading do about it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.evidence.finding import attach_manifest, find
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE
from reconciler.ports import Referrer
from state.errors import ConfigError, Terminal, Transient, Unavailable
from state.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Digest, Manifest, Repository
from state.statement import SLSA_PROVENANCE_V1
from state.verdict import Refusal
from tests.contract.registry.support import Connect, ManualClock
from tests.fixtures.oci_images import push_image
from tests.fixtures.registry_stub import Reply, Seen, Stub, error

SUBJECT = Digest.of(b"subject")
FALLBACK = f"/manifests/sha256-{SUBJECT.hex}"


def artifact(name: bytes) -> tuple[Manifest, Referrer]:
    return attach_manifest(
        Descriptor(OCI_INDEX, SUBJECT, 7), Descriptor(BUNDLE_MEDIA_TYPE, Digest.of(name), 2), SLSA_PROVENANCE_V1
    )


def put(client: OrasRegistry, name: bytes) -> Digest:
    manifest, referrer = artifact(name)
    client.put_artifact(Repository(f"{client.hostname}/acme/orders"), manifest, SUBJECT, referrer)
    return manifest.digest


class TagSchema:
    """A registry without the referrers API; `lag` hides the newest so many indexes at the tag from readers."""

    def __init__(self, stub: Stub, lag: int = 0) -> None:
        self.written: list[bytes] = []
        self.lag = lag
        self.meanwhile: Callable[[], None] = lambda: None
        stub.answer = self._answer

    def rows(self) -> list[str]:
        return [row["digest"] for row in json.loads(self.written[-1])["manifests"]]

    def _answer(self, seen: Seen) -> Reply:
        if seen.method == "PUT":
            if seen.path.endswith(FALLBACK):
                self.written.append(seen.body)
                self.meanwhile()
            return Reply(201, {"Docker-Content-Digest": Digest.of(seen.body)})
        shown = self.written[: len(self.written) - self.lag] if self.lag else self.written
        if seen.path.endswith(FALLBACK) and shown:
            return Reply(200, {"Content-Type": OCI_INDEX}, shown[-1])
        return Reply(404)


def test_what_was_attached_a_moment_ago_stays_although_the_registry_does_not_show_it_yet(
    client: Connect, stubs: Callable[..., Stub]
) -> None:
    stub = stubs()
    registry = TagSchema(stub, lag=2)
    made = client(stub.host)
    attached = [put(made, name) for name in (b"1", b"2", b"3")]
    assert registry.rows() == attached


def test_what_another_client_replaces_in_between_is_written_again(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    registry = TagSchema(stub)
    first = put(client(stub.host), b"theirs")
    other = artifact(b"other")[0].descriptor
    row = {"mediaType": other.media_type, "digest": other.digest, "size": other.size}
    body = json.loads(registry.written[-1])
    replaced = json.dumps({**body, "manifests": [*body["manifests"], row]}).encode()
    left = [replaced]
    # Right after our write, somebody writes what they made of the list that they had read before it.
    registry.meanwhile = lambda: registry.written.extend(left.pop() for _ in left[:])
    second = put(client(stub.host), b"ours")
    assert left == []
    assert registry.rows() == [first, other.digest, second]


@pytest.mark.distribution
def test_what_two_racing_clients_attached_is_all_there_after_each_attaches_once_more(
    client: Connect, distribution: Any
) -> None:
    repository = Repository(f"{distribution.host}/artifacts/race")
    subject = push_image(distribution.host, "artifacts/race", "main")
    clients = client(distribution.host), client(distribution.host)
    clients[0].put_blob(repository, b"{}")

    def attach(number: int) -> Digest:
        one = clients[number % 2]
        blob = one.put_blob(repository, b'{"n":%d}' % number)
        layer = Descriptor(BUNDLE_MEDIA_TYPE, blob.digest, blob.size)
        manifest, referrer = attach_manifest(subject.descriptor, layer, SLSA_PROVENANCE_V1)
        for _ in range(50):
            # This registry answers 500 to a GET of a tag that is just being written: the caller tries again.
            with suppress(Transient):
                one.put_artifact(repository, manifest, subject.digest, referrer)
                return manifest.digest
        raise AssertionError("the registry never took it")

    with ThreadPoolExecutor(8) as pool:
        attached = set(pool.map(attach, range(32)))
    attached |= {attach(32), attach(33)}
    assert {r.descriptor.digest for r in clients[0].referrers(repository, subject.digest)} == attached


def test_a_repository_that_is_unknown_says_nothing_about_the_host(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [{"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 5, "artifactType": BUNDLE_MEDIA_TYPE}],
        }
    ).encode()

    def answers(seen: Seen) -> Reply:
        if "/acme/none/" in seen.path:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        return Reply(200, {"Content-Type": OCI_INDEX}, raw) if "/referrers/" in seen.path else Reply(404)

    stub.answer = answers
    made = client(stub.host, clock=ManualClock())
    assert made.referrers(Repository(f"{stub.host}/acme/none"), SUBJECT) == ()
    assert len(made.referrers(Repository(f"{stub.host}/acme/orders"), SUBJECT)) == 1


def test_one_odd_answer_of_a_host_with_the_api_is_not_remembered(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    listed = Reply(200, {"Content-Type": OCI_INDEX}, b'{"schemaVersion":2,"manifests":[]}')
    answers = iter([listed, Reply(200, {"Content-Type": "text/html"}, b"<html>"), listed])
    stub.answer = lambda seen: next(answers) if "/referrers/" in seen.path else Reply(404)
    made, repository = client(stub.host), Repository(f"{stub.host}/acme/orders")
    for _ in range(3):
        made.referrers(repository, SUBJECT)
    assert next(answers, None) is None


def test_what_this_client_attached_long_ago_is_not_put_back(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub, clock = stubs(), ManualClock()
    registry = TagSchema(stub)
    made = client(stub.host, clock=clock)
    put(made, b"1")
    registry.written.append(b'{"schemaVersion":2,"manifests":[]}')  # somebody removed it
    clock.advance(601)
    assert registry.rows() == []
    assert [put(made, b"2")] == registry.rows()


def test_attaching_more_does_not_make_an_older_entry_come_back_for_longer(
    client: Connect, stubs: Callable[..., Stub]
) -> None:
    stub, clock = stubs(), ManualClock()
    registry = TagSchema(stub)
    made = client(stub.host, clock=clock)
    put(made, b"1")
    clock.advance(400)
    second = put(made, b"2")
    registry.written.append(b'{"schemaVersion":2,"manifests":[]}')  # somebody removed both
    clock.advance(300)
    third = put(made, b"3")
    assert registry.rows() == [second, third]


def test_a_blob_on_another_host_is_fetched_without_the_credential(
    client: Connect, stubs: Callable[..., Stub], tmp_path: Path
) -> None:
    registry, storage = stubs(), stubs()
    raw = b"{}"
    storage.answer = lambda _: Reply(200, {}, raw)

    def answers(seen: Seen) -> Reply:
        if "authorization" not in seen.headers:
            return error(401, "UNAUTHORIZED", "", WWW_Authenticate='Basic realm="r"')
        return Reply(307, {"Location": f"{storage.url}/signed?x=1"})

    registry.answer = answers
    path = tmp_path / "config.json"
    login = base64.b64encode(b"bot:secret").decode()
    path.write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))
    path.chmod(0o600)
    made = client(registry.host, credential=Credential(path, registry.host))
    assert made.blob(Repository(f"{registry.host}/acme/orders"), Digest.of(raw), 10) == raw
    assert any("authorization" in seen.headers for seen in registry.requests)
    assert [seen for seen in storage.requests if "authorization" in seen.headers] == []


def test_a_blob_without_a_length_is_cut_off_once_it_is_too_large(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        for _ in range(4096):
            sent.append(65536)
            yield b"x" * 65536

    stub.answer = lambda _: Reply(200, {}, chunks=endless())
    with pytest.raises(Terminal, match="more than 100 bytes"):
        client(stub.host).blob(Repository(f"{stub.host}/acme/orders"), SUBJECT, 100)
    stub.close()
    assert sum(sent) < 64 * 1024 * 1024  # 256 MiB were offered; what is sent beyond the bound is in socket buffers


@pytest.mark.parametrize("location", ["http://{name}:1", "http://{name}:1?x=1", "//{name}:1"])
def test_an_upload_to_an_address_without_a_path_is_refused(
    client: Connect, stubs: Callable[..., Stub], location: str
) -> None:
    stub = stubs()
    to = location.format(name=stub.host.partition(":")[0])
    stub.answer = lambda seen: Reply(202, {"Location": to}) if seen.method == "POST" else Reply(404)
    with pytest.raises((Terminal, Unavailable)):
        client(stub.host).put_blob(Repository(f"{stub.host}/acme/orders"), b"raw")
    assert "PUT" not in stub.methods()


def test_every_write_is_confirmed_right_before_it_is_sent(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    stub.answer = lambda seen: Reply(202, {"Location": "/v2/u/1?state=a"}) if seen.method == "POST" else Reply(404)
    seen_before: list[int] = []

    def confirm() -> None:
        seen_before.append(len(stub.requests))
        if len(seen_before) == 2:
            raise Terminal("no longer")

    with pytest.raises(Terminal, match="no longer"):
        client(stub.host).put_blob(Repository(f"{stub.host}/acme/orders"), b"raw", confirm)
    assert stub.methods() == ["HEAD", "POST"]
    assert seen_before == [1, 2]


def test_entries_without_a_type_are_looked_at_by_their_manifest(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    manifest, _ = artifact(b"{}")
    row = {"mediaType": OCI_MANIFEST, "digest": manifest.digest, "size": len(manifest.raw)}
    index = json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()

    def answers(seen: Seen) -> Reply:
        if "/referrers/" in seen.path:
            return Reply(200, {"Content-Type": OCI_INDEX}, index)
        if seen.path.endswith(manifest.digest):
            return Reply(200, {"Content-Type": OCI_MANIFEST}, manifest.raw)
        return Reply(200, {}, b"{}") if "/blobs/" in seen.path else Reply(404)

    stub.answer = answers
    found = find(client(stub.host), Repository(f"{stub.host}/acme/orders"), SUBJECT, cosign_v2=False)
    assert [(f.manifest, f.raw) for f in found.found] == [(manifest.digest, b"{}")]


def test_a_wrong_set_up_is_not_taken_for_bad_evidence(
    client: Connect, stubs: Callable[..., Stub], tmp_path: Path
) -> None:
    stub = stubs()
    manifest, _ = artifact(b"{}")
    row = {"mediaType": OCI_MANIFEST, "digest": manifest.digest, "size": len(manifest.raw)}
    index = json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()

    def answers(seen: Seen) -> Reply:
        if "/referrers/" in seen.path:
            return Reply(200, {"Content-Type": OCI_INDEX}, index)
        if "/manifests/sha256:" in seen.path:
            return error(401, "UNAUTHORIZED", "", WWW_Authenticate='Basic realm="r"')
        return Reply(404)

    stub.answer = answers
    made = client(stub.host, credential=Credential(tmp_path / "gone.json", stub.host))
    with pytest.raises(ConfigError, match=r"gone\.json"):
        find(made, Repository(f"{stub.host}/acme/orders"), SUBJECT, cosign_v2=False)


def test_a_manifest_of_an_unknown_kind_is_malformed_not_oversized(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    manifest, _ = artifact(b"{}")
    row = {"mediaType": OCI_MANIFEST, "digest": manifest.digest, "size": len(manifest.raw)}
    index = json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()

    def answers(seen: Seen) -> Reply:
        if "/referrers/" in seen.path:
            return Reply(200, {"Content-Type": OCI_INDEX}, index)
        if "/manifests/sha256:" in seen.path:
            return Reply(200, {"Content-Type": "application/vnd.example+json"}, manifest.raw)
        return Reply(404)

    stub.answer = answers
    evidence = find(client(stub.host), Repository(f"{stub.host}/acme/orders"), SUBJECT, cosign_v2=False)
    assert [failed.refusal for failed in evidence.failed] == [Refusal.MALFORMED]
