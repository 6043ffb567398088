"""How much evidence is looked at and attached, at the very bound and one beyond it."""

from __future__ import annotations

import json

import pytest

from reconciler.adapters.evidence_key import KeySigner
from reconciler.evidence.attaching import ATTACHED_MAX, Attacher, Statement
from reconciler.evidence.found import BUNDLE_MAX_BYTES, CANDIDATES_MAX, EVIDENCE_MAX_BYTES
from reconciler.evidence.keys import KeyAuthority
from state.errors import Terminal
from state.oci import DOCKER_MANIFEST, OCI_INDEX, Descriptor, Digest, Repository
from state.statement import VERIFICATION_SUMMARY
from state.verdict import Outcome, Refusal
from tests.contract.registry.support import connect
from tests.e2e.test_evidence_attacks import NAME, artifact, attach, good, refused, verifier, verify
from tests.fixtures.embedded import EMPTY_CONFIG, EmbeddedRegistry, descriptor
from tests.fixtures.evidence import BUNDLE_TYPE, new_key, statement


@pytest.fixture
def registry(embedded_registry: EmbeddedRegistry) -> EmbeddedRegistry:
    return embedded_registry


@pytest.fixture
def image(registry: EmbeddedRegistry) -> bytes:
    return registry.push_image(NAME, "main", b"layer")


def attach_many(registry: EmbeddedRegistry, image: bytes, raw: bytes, count: int) -> None:
    """The same layer `count` times, each time in a manifest of its own."""
    for blob in (EMPTY_CONFIG, raw):
        registry.push_blob(NAME, blob)
    for n in range(count):
        manifest = artifact(image, descriptor(raw, BUNDLE_TYPE), annotations={"n": str(n)})
        assert registry.push(NAME, Digest.of(manifest), manifest).status_code == 201


def test_a_bundle_manifest_with_two_layers_is_refused(registry: EmbeddedRegistry, image: bytes) -> None:
    raw = json.dumps(good(image)).encode()
    for blob in (EMPTY_CONFIG, raw):
        registry.push_blob(NAME, blob)
    layer = descriptor(raw, BUNDLE_TYPE)
    manifest = artifact(image, layer, layers=[layer, layer])
    assert registry.push(NAME, Digest.of(manifest), manifest).status_code == 201
    assert "expected one layer" in refused(verify(verifier(registry.host), registry.host, image), Refusal.MALFORMED)


def test_a_layer_that_is_no_bundle_is_refused_whatever_its_manifest_says(
    registry: EmbeddedRegistry, image: bytes
) -> None:
    raw = json.dumps(good(image)).encode()
    for blob in (EMPTY_CONFIG, raw):
        registry.push_blob(NAME, blob)
    manifest = artifact(image, descriptor(raw, "application/octet-stream"))
    assert registry.push(NAME, Digest.of(manifest), manifest).status_code == 201
    reason = refused(verify(verifier(registry.host), registry.host, image), Refusal.MALFORMED)
    assert "its layer is no bundle" in reason


def test_no_more_than_so_many_pieces_are_looked_at(registry: EmbeddedRegistry, image: bytes) -> None:
    attach_many(registry, image, b"{}", CANDIDATES_MAX + 5)
    before = len(registry.answered)
    refused(verify(verifier(registry.host), registry.host, image), Refusal.MALFORMED)
    blobs = [path for method, path, _ in registry.answered[before:] if "/blobs/" in path]
    assert len(blobs) == CANDIDATES_MAX


def test_no_more_than_so_many_bytes_are_looked_at(registry: EmbeddedRegistry, image: bytes) -> None:
    attach_many(registry, image, bytes(BUNDLE_MAX_BYTES), EVIDENCE_MAX_BYTES // BUNDLE_MAX_BYTES + 3)
    before = len(registry.answered)
    refused(verify(verifier(registry.host), registry.host, image), Refusal.MALFORMED)
    blobs = [path for method, path, _ in registry.answered[before:] if "/blobs/" in path]
    assert len(blobs) == -(-EVIDENCE_MAX_BYTES // BUNDLE_MAX_BYTES)


def test_an_index_that_lists_nothing_counts_for_nothing(registry: EmbeddedRegistry) -> None:
    empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    assert registry.push(NAME, Digest.of(empty), empty, OCI_INDEX).status_code == 201
    attach(registry, empty, good(empty))
    refused(verify(verifier(registry.host), registry.host, empty), Refusal.INCOMPLETE_INDEX)


def test_a_child_that_is_not_as_it_is_listed_is_refused(registry: EmbeddedRegistry, image: bytes) -> None:
    row = descriptor(image, DOCKER_MANIFEST)
    listing = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [row]}).encode()
    assert registry.push(NAME, Digest.of(listing), listing, OCI_INDEX).status_code == 201
    attach(registry, listing, good(listing))
    assert "listed as" in refused(verify(verifier(registry.host), registry.host, listing), Refusal.INCOMPLETE_INDEX)


def test_nothing_is_attached_beyond_the_bound_that_admission_controllers_bear(
    registry: EmbeddedRegistry, image: bytes
) -> None:
    client, signer = connect(registry.host), KeySigner(new_key())
    attacher = Attacher(client, signer, KeyAuthority([signer.public_key]))
    repository, digest = Repository(f"{registry.host}/{NAME}"), Digest.of(image)
    subject = Descriptor(json.loads(image)["mediaType"], digest, len(image))
    said = [Statement(VERIFICATION_SUMMARY, statement(digest, VERIFICATION_SUMMARY, {"n": n})) for n in range(2)]
    attach_many(registry, image, b"no bundle", ATTACHED_MAX - 2)
    layer = descriptor(b"no bundle", BUNDLE_TYPE)
    unusable = artifact(image, layer, layers=[layer, layer])  # it counts, too: controllers count what is listed
    assert registry.push(NAME, Digest.of(unusable), unusable).status_code == 201
    for n, one in enumerate(said):
        evidence = attacher.look(repository, digest)
        if n == 0:
            made = attacher.attach(repository, subject, one, evidence, lambda: None)
        else:
            with pytest.raises(Terminal, match=f"has {ATTACHED_MAX} attached artifacts"):
                attacher.attach(repository, subject, one, evidence, lambda: None)
    # What is there already is found at the bound, too.
    assert attacher.attach(repository, subject, said[0], attacher.look(repository, digest), lambda: None) == made
    assert verify(verifier(registry.host), registry.host, image).outcome is Outcome.REFUSED
    client.close()
