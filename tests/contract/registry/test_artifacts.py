"""Blobs and attached artifacts on real registries: with the referrers API (embedded) and by the tag schema (others)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.evidence.finding import EMPTY_BLOB, attach_manifest, buildkit, check_index, find
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Layout, Refused
from state.errors import IntegrityError, RateLimited, Terminal
from state.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Digest, Manifest, Repository, Tag
from state.statement import SLSA_PROVENANCE_V1
from state.verdict import Refusal
from tests.contract.registry.support import Connect, ManualClock
from tests.fixtures.oci_images import encode, push_blob, push_image, put_raw
from tests.fixtures.registry_stub import Reply, Seen, Stub

Server = Any


def image(host: str, name: str, content: str = "") -> tuple[Repository, Manifest]:
    """An image in a repository of the test's own."""
    return Repository(f"{host}/{name}"), push_image(host, name, "main", content=content)


def attach(client: OrasRegistry, repository: Repository, subject: Manifest, bundle: bytes) -> Digest:
    """Attach bytes as a bundle; nothing here looks at what they say."""
    blob = client.put_blob(repository, bundle)
    client.put_blob(repository, EMPTY_BLOB)
    layer = Descriptor(BUNDLE_MEDIA_TYPE, blob.digest, blob.size)
    manifest, referrer = attach_manifest(subject.descriptor, layer, SLSA_PROVENANCE_V1)
    client.put_artifact(repository, manifest, subject.digest, referrer)
    return manifest.digest


def raws(client: OrasRegistry, repository: Repository, subject: Manifest) -> set[bytes]:
    return {f.raw for f in find(client, repository, subject.digest, cosign_v2=False).found}


def fallback(repository: Repository, subject: Manifest) -> dict[str, Any] | None:
    """The index at the tag, seen with a plain client; None where there is none."""
    url = f"http://{repository.host}/v2/{repository.path}/manifests/sha256-{subject.digest.hex}"
    answer = requests.get(url, headers={"Accept": OCI_INDEX}, timeout=20)
    made: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
    return made


def test_what_is_attached_is_found_again_byte_for_byte(client: Connect, registry_server: Server) -> None:
    made = client(registry_server.host)
    repository, subject = image(registry_server.host, "artifacts/found")
    assert find(made, repository, subject.digest, cosign_v2=True).found == ()
    first = attach(made, repository, subject, b'{"one":1}')
    second = attach(made, repository, subject, b'{"two":2}')
    found = find(made, repository, subject.digest, cosign_v2=False)
    assert found.failed == ()
    assert {(f.layout, f.manifest, f.raw) for f in found.found} == {
        (Layout.BUNDLE, first, b'{"one":1}'),
        (Layout.BUNDLE, second, b'{"two":2}'),
    }
    check_index(made, repository, subject.digest)


def test_attaching_the_same_again_adds_nothing(client: Connect, registry_server: Server) -> None:
    made = client(registry_server.host)
    repository, subject = image(registry_server.host, "artifacts/again")
    assert attach(made, repository, subject, b"{}") == attach(made, repository, subject, b"{}")
    assert len(made.referrers(repository, subject.digest)) == 1


def test_every_one_of_many_attachments_at_once_is_kept(client: Connect, registry_server: Server) -> None:
    made = client(registry_server.host)
    repository, subject = image(registry_server.host, "artifacts/many")
    bodies = {b'{"n":%d}' % n for n in range(32)}
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda raw: attach(made, repository, subject, raw), bodies))
    assert raws(made, repository, subject) == bodies


@pytest.mark.distribution
def test_entries_and_members_of_another_writer_survive(client: Connect, distribution: Server) -> None:
    made = client(distribution.host)
    repository, subject = image(distribution.host, "artifacts/foreign")
    attach(made, repository, subject, b'{"first":1}')
    theirs = fallback(repository, subject)
    assert theirs is not None
    theirs["manifests"][0]["x-entry"] = "kept"
    raw = encode({**theirs, "annotations": {"by": "somebody"}, "x-unknown": [1.5]})
    with requests.Session() as session:
        base = f"http://{distribution.host}/v2/{repository.path}"
        put_raw(base, session, f"sha256-{subject.digest.hex}", Manifest.of(OCI_INDEX, raw))
    attach(made, repository, subject, b'{"second":2}')
    merged = fallback(repository, subject)
    assert merged is not None
    assert merged["annotations"] == {"by": "somebody"}
    assert merged["x-unknown"] == [1.5]
    assert merged["manifests"][0] == theirs["manifests"][0]
    assert merged["manifests"][1]["artifactType"] == BUNDLE_MEDIA_TYPE
    assert merged["manifests"][1]["annotations"]["dev.sigstore.bundle.predicateType"] == SLSA_PROVENANCE_V1
    assert raws(made, repository, subject) == {b'{"first":1}', b'{"second":2}'}


@pytest.mark.distribution
def test_a_tag_that_is_no_index_is_nothing_to_a_reader_and_is_not_replaced_by_a_writer(
    client: Connect, distribution: Server
) -> None:
    made = client(distribution.host)
    repository, subject = image(distribution.host, "artifacts/poisoned")
    single = push_image(distribution.host, "artifacts/poisoned", f"sha256-{subject.digest.hex}", single=True)
    assert made.referrers(repository, subject.digest) == ()
    with pytest.raises(Terminal, match="it is not replaced"):
        attach(made, repository, subject, b"{}")
    held = made.manifest(repository, Tag(f"sha256-{subject.digest.hex}"))
    assert held is not None
    assert held.digest == single.digest


@pytest.mark.distribution
def test_a_tag_that_leads_to_the_image_itself_is_nothing(client: Connect, distribution: Server) -> None:
    made = client(distribution.host)
    repository, subject = image(distribution.host, "artifacts/itself")
    with requests.Session() as session:
        put_raw(f"http://{distribution.host}/v2/artifacts/itself", session, f"sha256-{subject.digest.hex}", subject)
    assert made.referrers(repository, subject.digest) == ()


def test_a_blob_of_more_bytes_than_wanted_is_not_read(client: Connect, registry_server: Server) -> None:
    made = client(registry_server.host)
    repository, _ = image(registry_server.host, "artifacts/large")
    blob = made.put_blob(repository, b"x" * 4096)
    assert made.blob(repository, blob.digest, 4096) == b"x" * 4096
    with pytest.raises(Terminal, match="at most 4095 are read"):
        made.blob(repository, blob.digest, 4095)
    assert made.blob(repository, Digest.of(b"nothing"), 10) is None


def test_a_missing_platform_manifest_makes_an_index_incomplete(client: Connect, embedded_registry: Server) -> None:
    made = client(embedded_registry.host)
    repository, subject = image(embedded_registry.host, "artifacts/half")
    child = json.loads(subject.raw)["manifests"][1]["digest"]
    url = f"http://{embedded_registry.host}/v2/artifacts/half/manifests/{child}"
    assert requests.delete(url, timeout=20).status_code == 202
    with pytest.raises(Refused, match="listed and not there") as refused:
        check_index(made, repository, subject.digest)
    assert refused.value.refusal is Refusal.INCOMPLETE_INDEX


def test_unsigned_statements_of_buildkit_are_found_inside_the_index(client: Connect, registry_server: Server) -> None:
    made = client(registry_server.host)
    name = "artifacts/buildkit"
    repository, subject = image(registry_server.host, name)
    base = f"http://{registry_server.host}/v2/{name}"
    platform = json.loads(subject.raw)["manifests"][0]["digest"]
    said = b'{"_type":"https://in-toto.io/Statement/v0.1"}'
    with requests.Session() as session:
        layer = {
            "mediaType": "application/vnd.in-toto+json",
            "digest": push_blob(base, session, said),
            "size": len(said),
            "annotations": {"in-toto.io/predicate-type": "https://spdx.dev/Document"},
        }
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": push_blob(base, session, b"{}")}
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {**config, "size": 2}, "layers": [layer]}
        attestation = Manifest.of(OCI_MANIFEST, encode(body))
        put_raw(base, session, attestation.digest, attestation)
        rows = json.loads(subject.raw)["manifests"]
        rows.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": attestation.digest,
                "size": len(attestation.raw),
                "platform": {"architecture": "unknown", "os": "unknown"},
                "annotations": {
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": platform,
                },
            }
        )
        built = Manifest.of(OCI_INDEX, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}))
        put_raw(base, session, "built", built)
    found = find(made, repository, built.digest, cosign_v2=False)
    assert [(f.layout, f.raw) for f in found.found] == [(Layout.BUILDKIT, said)]
    assert buildkit(made, repository, built.digest) == list(found.found)


# --- a registry that misbehaves --------------------------------------------------------------------------------------


SUBJECT = Digest.of(b"subject")
ENTRY = {
    "mediaType": OCI_MANIFEST,
    "digest": Digest.of(b"entry"),
    "size": 5,
    "artifactType": BUNDLE_MEDIA_TYPE,
}
INDEX = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [ENTRY]}).encode()
AS_INDEX = {"Content-Type": OCI_INDEX, "Docker-Content-Digest": Digest.of(INDEX)}


@pytest.mark.parametrize(
    "answer",
    [
        Reply(404),
        Reply(405),
        Reply(303, {"Location": "/login"}),
        Reply(200, {"Content-Type": "text/html"}, b"<html>"),
        Reply(200, {"Content-Type": OCI_INDEX}, b"<html>"),
        Reply(200, {"Content-Type": "application/json"}, INDEX),
    ],
    ids=["404", "405", "303", "html", "html-as-index", "json"],
)
def test_where_the_api_is_missing_the_tag_is_read_and_the_answer_is_remembered_for_a_while(
    client: Connect, stubs: Callable[..., Stub], answer: Reply
) -> None:
    stub, clock = stubs(), ManualClock()

    def answers(seen: Seen) -> Reply:
        if seen.path == "/login":
            return Reply(200, {"Content-Type": "text/html"}, b"<html>")
        return answer if "/referrers/" in seen.path else Reply(200, AS_INDEX, INDEX)

    stub.answer = answers
    made, repository = client(stub.host, clock=clock), Repository(f"{stub.host}/acme/orders")

    def asked() -> int:
        return sum("/referrers/" in r.path for r in stub.requests)

    for _ in range(3):
        assert [r.descriptor.digest for r in made.referrers(repository, SUBJECT)] == [ENTRY["digest"]]
    assert asked() == 1
    clock.advance(601)
    made.referrers(repository, SUBJECT)
    assert asked() == 2


def test_a_rate_limit_of_the_api_is_not_taken_for_nothing(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    there = True

    def answers(seen: Seen) -> Reply:
        if "/referrers/" in seen.path:
            return Reply(429, {"Retry-After": "1"})
        return Reply(200, AS_INDEX, INDEX) if there else Reply(404)

    stub.answer = answers
    made = client(stub.host, limits=Limits(writes_per_s=None, attempts=1))
    repository = Repository(f"{stub.host}/acme/orders")
    assert len(made.referrers(repository, SUBJECT)) == 1
    there = False
    with pytest.raises(RateLimited):
        made.referrers(repository, SUBJECT)


def test_pages_of_the_api_are_followed_and_merged_with_the_tag(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    pages = [
        json.dumps({"schemaVersion": 2, "manifests": [{**ENTRY, "digest": Digest.of(name)}]}).encode()
        for name in (b"a", b"b")
    ]

    def answers(seen: Seen) -> Reply:
        if "/referrers/" not in seen.path:
            return Reply(200, AS_INDEX, INDEX)
        if "page=2" in seen.query:
            return Reply(200, {"Content-Type": OCI_INDEX}, pages[1])
        return Reply(200, {"Content-Type": OCI_INDEX, "Link": f'<{seen.path}?page=2>; rel="next"'}, pages[0])

    stub.answer = answers
    found = client(stub.host).referrers(Repository(f"{stub.host}/acme/orders"), SUBJECT)
    assert [r.descriptor.digest for r in found] == [Digest.of(b"a"), Digest.of(b"b"), ENTRY["digest"]]


def test_pages_without_end_are_given_up(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()

    def answers(seen: Seen) -> Reply:
        more = int(seen.query.partition("=")[2] or 0) + 1
        return Reply(200, {"Content-Type": OCI_INDEX, "Link": f'<{seen.path}?page={more}>; rel="next"'}, INDEX)

    stub.answer = answers
    with pytest.raises(Terminal, match="the pages do not end"):
        client(stub.host).referrers(Repository(f"{stub.host}/acme/orders"), SUBJECT)
    assert len(stub.requests) <= 110


def test_other_bytes_under_the_digest_of_a_blob_are_refused(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub = stubs()
    stub.answer = lambda _: Reply(200, {}, b"other")
    with pytest.raises(IntegrityError, match="nothing was used"):
        client(stub.host).blob(Repository(f"{stub.host}/acme/orders"), SUBJECT, 100)


def test_an_upload_that_is_sent_to_another_host_is_not_followed(client: Connect, stubs: Callable[..., Stub]) -> None:
    stub, other = stubs(), stubs()
    stub.answer = lambda seen: (
        Reply(202, {"Location": f"http://localhost:{other.port}/upload"}) if seen.method == "POST" else Reply(404)
    )
    with pytest.raises(Terminal, match="another host"):
        client(stub.host).put_blob(Repository(f"{stub.host}/acme/orders"), b"raw")
    assert other.requests == []


def test_the_api_counts_only_if_it_lists_although_the_header_names_the_subject(
    client: Connect, stubs: Callable[..., Stub]
) -> None:
    stub = stubs()
    written: list[bytes] = []

    def answers(seen: Seen) -> Reply:
        if seen.method == "PUT":
            if "sha256-" in seen.path:
                written.append(seen.body)
            return Reply(201, {"OCI-Subject": SUBJECT, "Docker-Content-Digest": Digest.of(seen.body)})
        if "sha256-" in seen.path and written:
            return Reply(200, {"Content-Type": OCI_INDEX}, written[-1])
        return Reply(404)

    stub.answer = answers
    made = client(stub.host)
    layer = Descriptor(BUNDLE_MEDIA_TYPE, SUBJECT, 2)
    manifest, referrer = attach_manifest(Descriptor(OCI_INDEX, SUBJECT, 7), layer, SLSA_PROVENANCE_V1)
    made.put_artifact(Repository(f"{stub.host}/acme/orders"), manifest, SUBJECT, referrer)
    assert [row["digest"] for row in json.loads(written[-1])["manifests"]] == [manifest.digest]
