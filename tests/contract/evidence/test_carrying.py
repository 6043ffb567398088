"""Which bundles of others may be the first at a digest that cosign v2 has signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters.handed_over import HandedOverFiles
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.evidence.authority import Authority
from reconciler.evidence.carrying import Carried, Carrier
from reconciler.evidence.keys import KeyAuthority
from state.oci import Digest, Repository
from tests.contract.evidence.support import believing
from tests.contract.registry.support import connect
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.evidence import envelope, key_bundle, new_key, statement
from tests.fixtures.proving import attest_v2, sign_v2
from tests.fixtures.sigstore import PrivateSigstore

NAME = "acme/orders"


class Place:
    """An image, and a directory in which CI hands a bundle over."""

    def __init__(self, registry: EmbeddedRegistry, client: OrasRegistry, folder: Path) -> None:
        self.host, self.client, self.folder = registry.host, client, folder
        self.repository = Repository(f"{registry.host}/{NAME}")
        self.digest = Digest.of(registry.push_image(NAME, "main", b"layer"))

    def carried(self, authority: Authority, *pieces: bytes, shadowing: bool = True) -> Carried:
        carrier = Carrier(self.client, authority, HandedOverFiles(self.folder))
        wanted = tuple(Digest.of(piece) for piece in pieces)
        return carrier.carried(self.repository, self.digest, wanted, shadowing=shadowing)

    def hands_over(self, bundle: object) -> bytes:
        raw = json.dumps(bundle).encode()
        target = self.folder / f"sha256-{self.digest.hex}"
        target.mkdir()
        (target / "p.sigstore.json").write_bytes(raw)
        return raw


@pytest.fixture
def place(embedded_registry: EmbeddedRegistry, tmp_path: Path) -> Iterator[Place]:
    client = connect(embedded_registry.host)
    yield Place(embedded_registry, client, tmp_path)
    client.close()


def test_a_bundle_by_certificate_is_never_the_first_beside_a_signature_that_cannot_be_proven(
    place: Place, private_sigstore: PrivateSigstore
) -> None:
    authority = believing(private_sigstore.trusted_root())
    raw = place.hands_over(private_sigstore.signed(statement(place.digest)))
    assert [ready.raw for ready in place.carried(authority, raw, shadowing=False).ready] == [raw]
    sign_v2(place.host, NAME, place.digest, new_key())
    kept = place.carried(authority, raw)
    assert (kept.ready, "would be the first bundle" in kept.blocked) == ((), True)


def test_an_older_attestation_about_another_digest_keeps_the_first_bundle_back(place: Place) -> None:
    key = new_key()
    authority = KeyAuthority([key.public_key()])
    raw = place.hands_over(key_bundle(key, statement(place.digest)))
    attest_v2(place.host, NAME, place.digest, envelope(key, statement(place.digest)))
    made = place.carried(authority, raw)
    assert [ready.raw for ready in made.ready][:1] == [raw]
    assert (len(made.ready), made.blocked) == (2, "")
    other = Digest.of(b"other")
    attest_v2(place.host, NAME, place.digest, envelope(key, statement(place.digest)), envelope(key, statement(other)))
    kept = place.carried(authority, raw)
    assert (kept.ready, "would be the first bundle" in kept.blocked) == ((), True)


def test_evidence_that_counted_and_is_gone_keeps_the_digest_from_a_release(place: Place) -> None:
    kept = place.carried(KeyAuthority([new_key().public_key()]), b"gone", shadowing=False)
    assert (kept.ready, "is gone before it was attached" in kept.blocked) == ((), True)
