"""Evidence that somebody made to deceive, on a real registry: each attempt has its refusal, and none reaches out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.registry_credential import Credential
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.found import BUNDLE_MAX_BYTES
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.verdicts import REFUSED_FOR_S, Verdicts
from reconciler.evidence.verifying import EvidenceVerifier
from reconciler.ports import Purpose
from state.errors import Denied, Transient
from state.git import CommitId, RefName
from state.oci import OCI_INDEX, OCI_MANIFEST, Digest, Repository
from state.verdict import Level, Outcome, Refusal, Verdict
from tests.contract.registry.support import ManualClock, connect
from tests.fixtures.embedded import EMPTY_CONFIG, EMPTY_TYPE, EmbeddedRegistry, descriptor, index
from tests.fixtures.evidence import (
    BUNDLE_TYPE,
    HEAD,
    IN_TOTO,
    SIGN_V1,
    SLSA_V1,
    SOURCE,
    b64,
    envelope,
    key_bundle,
    new_key,
    provenance_v1,
    simple_signing,
    statement,
)
from tests.fixtures.registry_stub import Front, Reply, Seen, Stub

NAME: Final = "acme/orders"
KEY: Final = new_key()
POLICY: Final = ClaimsPolicy(Purpose.BASELINE, Level.PROVENANCE, SOURCE)
OTHER_HEAD: Final = "2" * 40
SIMPLE_SIGNING_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"


def verifier(host: str, *, policy: ClaimsPolicy = POLICY, key: Any = KEY, **options: Any) -> EvidenceVerifier:
    """A verifier of one key with a client of its own; `clock`, `credential`, `cosign_v2` and `verdicts` as options."""
    clock = options.pop("clock", None) or ManualClock()
    reader = connect(host, clock=clock, credential=options.pop("credential", None))
    policies = {p: policy._replace(purpose=p) for p in Purpose}
    return EvidenceVerifier(reader, KeyAuthority([key.public_key()]), policies, clock, **options)


def verify(made: EvidenceVerifier, host: str, image: bytes, head: str | None = None, name: str = NAME) -> Verdict:
    purpose = Purpose.BASELINE if head is None else Purpose.PULL_REQUEST
    revision = None if head is None else CommitId(head)
    return made.verify(purpose, Repository(f"{host}/{name}"), Digest.of(image), revision)


def refused(verdict: Verdict, refusal: Refusal) -> str:
    assert (verdict.outcome, verdict.refusal, verdict.evidence) == (Outcome.REFUSED, refusal, ()), verdict.reason
    return verdict.reason


def artifact(subject: bytes, layer: Mapping[str, Any], **members: Any) -> bytes:
    """The manifest of a bundle, as cosign v3 writes it."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": BUNDLE_TYPE,
        "config": descriptor(EMPTY_CONFIG, EMPTY_TYPE),
        "layers": [layer],
        "subject": descriptor(subject, json.loads(subject)["mediaType"]),
        **members,
    }
    return json.dumps(body).encode()


def attach(registry: EmbeddedRegistry, image: bytes, bundle: Any, *, name: str = NAME, **members: Any) -> Digest:
    """Attach a bundle (an object, or bytes as they are) to an image; the digest of the manifest that holds it."""
    raw = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    for blob in (EMPTY_CONFIG, raw):
        registry.push_blob(name, blob)
    manifest = artifact(image, descriptor(raw, BUNDLE_TYPE), **members)
    answer = registry.push(name, Digest.of(manifest), manifest)
    assert answer.status_code == 201, answer.text
    return Digest.of(manifest)


def good(image: bytes, **source: Any) -> dict[str, Any]:
    return key_bundle(KEY, statement(Digest.of(image), predicate=provenance_v1(**source)))


@pytest.fixture
def registry(embedded_registry: EmbeddedRegistry) -> EmbeddedRegistry:
    return embedded_registry


@pytest.fixture
def image(registry: EmbeddedRegistry) -> bytes:
    return registry.push_image(NAME, "main", b"layer")


# --- what counts, and what it costs ----------------------------------------------------------------------------------


def test_signed_provenance_counts_and_is_named(registry: EmbeddedRegistry, image: bytes) -> None:
    held = attach(registry, image, good(image))
    made = verifier(registry.host)
    for head in (None, HEAD):
        verdict = verify(made, registry.host, image, head)
        assert (verdict.outcome, verdict.evidence) == (Outcome.ACCEPTED, (held,)), verdict.reason
    assert verdict.policy == made.policy(Purpose.PULL_REQUEST) != made.policy(Purpose.BASELINE)


def test_one_good_piece_among_bad_ones_is_enough(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, b"{")
    attach(registry, image, key_bundle(new_key(), statement(Digest.of(image))))
    held = attach(registry, image, good(image))
    verdict = verify(verifier(registry.host), registry.host, image)
    assert (verdict.outcome, verdict.evidence) == (Outcome.ACCEPTED, (held,)), verdict.reason


def test_fifty_digests_are_asked_for_once_and_never_again(registry: EmbeddedRegistry) -> None:
    images = [registry.push_image(NAME, f"t{at}", f"layer {at}".encode()) for at in range(50)]
    for each in images:
        attach(registry, each, good(each))
    clock = ManualClock()
    made = verifier(registry.host, clock=clock)
    before = len(registry.answered)
    cold = [verify(made, registry.host, each) for each in images]
    assert {v.outcome for v in cold} == {Outcome.ACCEPTED}
    asked = len(registry.answered)
    assert asked > before
    clock.advance(100 * REFUSED_FOR_S)
    assert [verify(made, registry.host, each) for each in images] == cold
    assert len(registry.answered) == asked


def test_a_refusal_is_looked_at_again_after_a_minute(registry: EmbeddedRegistry, image: bytes) -> None:
    clock = ManualClock()
    made = verifier(registry.host, clock=clock)
    refused(verify(made, registry.host, image), Refusal.NO_EVIDENCE)
    attach(registry, image, good(image))
    clock.advance(REFUSED_FOR_S - 1)
    refused(verify(made, registry.host, image), Refusal.NO_EVIDENCE)
    clock.advance(1)
    assert verify(made, registry.host, image).outcome is Outcome.ACCEPTED


def test_an_identity_that_was_taken_back_no_longer_counts(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, good(image))
    known = Verdicts(ManualClock())
    assert verify(verifier(registry.host, verdicts=known), registry.host, image).outcome is Outcome.ACCEPTED
    by_other_key = verifier(registry.host, key=new_key(), verdicts=known)
    refused(verify(by_other_key, registry.host, image), Refusal.UNTRUSTED)
    release = POLICY._replace(baseline_refs=(RefName("refs/heads/release"),))
    refused(verify(verifier(registry.host, policy=release, verdicts=known), registry.host, image), Refusal.WRONG_REF)
    asked = len(registry.answered)
    assert verify(verifier(registry.host, verdicts=known), registry.host, image).outcome is Outcome.ACCEPTED
    assert len(registry.answered) == asked


def test_the_verdicts_that_are_remembered_are_bounded(registry: EmbeddedRegistry) -> None:
    images = [registry.push_image(NAME, f"t{at}", f"layer {at}".encode()) for at in range(3)]
    clock = ManualClock()
    made = verifier(registry.host, clock=clock, verdicts=Verdicts(clock, most=2))
    for each in images:
        verify(made, registry.host, each)
    asked = len(registry.answered)
    verify(made, registry.host, images[2])
    assert len(registry.answered) == asked
    verify(made, registry.host, images[0])
    assert len(registry.answered) > asked


# --- statements that say something else ------------------------------------------------------------------------------


def test_a_statement_about_another_digest_is_refused(registry: EmbeddedRegistry, image: bytes) -> None:
    other = registry.push_image(NAME, "other", b"other layer")
    attach(registry, image, good(other))
    text = refused(verify(verifier(registry.host), registry.host, image), Refusal.WRONG_SUBJECT)
    assert Digest.of(image) in text
    assert Digest.of(other) in text


def test_a_statement_for_another_repository_is_refused(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, good(image, source="https://github.com/mallory/shop"))
    refused(verify(verifier(registry.host), registry.host, image), Refusal.WRONG_REPOSITORY)


def test_the_evidence_of_another_head_is_not_replayed(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, good(image, revision=OTHER_HEAD))
    made = verifier(registry.host)
    text = refused(verify(made, registry.host, image, HEAD), Refusal.WRONG_REVISION)
    assert HEAD in text
    assert OTHER_HEAD in text
    assert verify(made, registry.host, image, OTHER_HEAD).outcome is Outcome.ACCEPTED


def test_the_refusal_that_came_furthest_is_told_with_their_number(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, good(image, ref="refs/heads/next"))
    attach(registry, image, b"{")
    attach(registry, image, key_bundle(new_key(), statement(Digest.of(image))))
    text = refused(verify(verifier(registry.host), registry.host, image), Refusal.WRONG_REF)
    assert "refs/heads/next" in text
    assert "of 3 looked at" in text


# --- manifests and lists that lie ------------------------------------------------------------------------------------


def test_a_signed_child_does_not_sign_the_index_around_it(registry: EmbeddedRegistry, image: bytes) -> None:
    around = index(image)
    assert registry.push(NAME, "index", around).status_code == 201
    attach(registry, image, good(image))
    made = verifier(registry.host)
    assert verify(made, registry.host, image).outcome is Outcome.ACCEPTED
    refused(verify(made, registry.host, around), Refusal.NO_EVIDENCE)


def test_an_index_whose_manifest_is_gone_is_refused(registry: EmbeddedRegistry, image: bytes, stub: Stub) -> None:
    around = index(image)
    assert registry.push(NAME, "index", around).status_code == 201
    attach(registry, around, good(around))
    assert verify(verifier(registry.host), registry.host, around).outcome is Outcome.ACCEPTED
    front = Front(stub, registry.host)
    front.fault = lambda seen: Reply(404) if seen.path.endswith(Digest.of(image)) else None
    refused(verify(verifier(front.host), front.host, around), Refusal.INCOMPLETE_INDEX)


def without_referrers(front: Front, fault: Callable[[Seen], Reply | None] = lambda _: None) -> Front:
    """A registry without the referrers API, so that the index at the tag is read."""
    front.fault = lambda seen: Reply(404) if "/referrers/" in seen.path else fault(seen)
    return front


def listing(*manifests: bytes) -> bytes:
    """An index that lists manifests as what is attached to something."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{**descriptor(m, OCI_MANIFEST), "artifactType": BUNDLE_TYPE} for m in manifests],
        }
    ).encode()


def fallback(image: bytes) -> str:
    return f"sha256-{Digest.of(image).hex}"


def test_a_referrer_of_another_subject_is_refused(registry: EmbeddedRegistry, image: bytes, stub: Stub) -> None:
    other = registry.push_image(NAME, "other", b"other layer")
    raw = json.dumps(good(image)).encode()
    attach(registry, other, raw)  # says the right thing, and hangs at another image
    manifest = artifact(other, descriptor(raw, BUNDLE_TYPE))
    assert registry.push(NAME, fallback(image), listing(manifest)).status_code == 201
    front = without_referrers(Front(stub, registry.host))
    refused(verify(verifier(front.host), front.host, image), Refusal.WRONG_SUBJECT)


def test_the_index_at_the_tag_is_read_where_there_is_no_api(
    registry: EmbeddedRegistry, image: bytes, stub: Stub
) -> None:
    raw = json.dumps(good(image)).encode()
    attach(registry, image, raw)
    manifest = artifact(image, descriptor(raw, BUNDLE_TYPE))
    assert registry.push(NAME, fallback(image), listing(manifest)).status_code == 201
    front = without_referrers(Front(stub, registry.host))
    assert verify(verifier(front.host), front.host, image).outcome is Outcome.ACCEPTED


def test_a_tag_that_leads_to_the_image_itself_lists_nothing(
    registry: EmbeddedRegistry, image: bytes, stub: Stub
) -> None:
    around = index(image)
    for each in (image, around):
        assert registry.push(NAME, fallback(each), each).status_code == 201
    front = without_referrers(Front(stub, registry.host))
    for each in (image, around):
        refused(verify(verifier(front.host), front.host, each), Refusal.NO_EVIDENCE)


@pytest.mark.parametrize(
    "poison",
    [
        b"{",
        b"[]",
        b'{"schemaVersion":2,"manifests":{}}',
        b'{"schemaVersion":2,"manifests":[null,{"digest":"sha256:x"},{"digest":7,"size":true,"mediaType":[]}]}',
        b'{"schemaVersion":2,"manifests":' + b"[" * 100_000,
    ],
    ids=["cut", "list", "object", "rows", "deep"],
)
def test_a_poisoned_index_at_the_tag_lists_nothing(
    registry: EmbeddedRegistry, image: bytes, stub: Stub, poison: bytes
) -> None:
    found: list[str] = []

    def fault(seen: Seen) -> Reply | None:
        if not seen.path.endswith(fallback(image)):
            return None
        found.append(seen.path)
        return Reply(200, {"Content-Type": OCI_INDEX, "Docker-Content-Digest": Digest.of(poison)}, poison)

    front = without_referrers(Front(stub, registry.host), fault)
    refused(verify(verifier(front.host), front.host, image), Refusal.NO_EVIDENCE)
    assert found


def served(front: Front, image: bytes, manifest: bytes) -> None:
    """The registry lists `manifest` as attached to `image`, and has it, whatever it says."""
    rows = listing(manifest)

    def fault(seen: Seen) -> Reply | None:
        if seen.path.endswith(f"/referrers/{Digest.of(image)}"):
            return Reply(200, {"Content-Type": OCI_INDEX}, rows)
        if seen.path.endswith(f"/manifests/{Digest.of(manifest)}"):
            return Reply(200, {"Content-Type": OCI_MANIFEST}, manifest)
        return None

    front.fault = fault


def test_a_layer_of_a_gigabyte_is_not_fetched(registry: EmbeddedRegistry, image: bytes, stub: Stub) -> None:
    front = Front(stub, registry.host)
    layer = {**descriptor(b"", BUNDLE_TYPE), "size": 1024**3}
    served(front, image, artifact(image, layer))
    refused(verify(verifier(front.host), front.host, image), Refusal.OVERSIZED)
    assert not [seen.path for seen in stub.requests if "/blobs/" in seen.path]


def test_a_layer_that_grows_beyond_its_size_is_cut_off(registry: EmbeddedRegistry, image: bytes, stub: Stub) -> None:
    front = Front(stub, registry.host)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 64:
            sent += 1
            yield b" " * 1024 * 1024

    raw = json.dumps(good(image)).encode()
    served(front, image, artifact(image, descriptor(raw, BUNDLE_TYPE)))
    lists = front.fault
    front.fault = lambda seen: Reply(200, chunks=endless()) if "/blobs/" in seen.path else lists(seen)
    refused(verify(verifier(front.host), front.host, image), Refusal.OVERSIZED)
    assert sent < 64


def test_bytes_that_are_not_those_of_the_digest_are_refused(
    registry: EmbeddedRegistry, image: bytes, stub: Stub
) -> None:
    front = Front(stub, registry.host)
    raw = json.dumps(good(image)).encode()
    served(front, image, artifact(image, descriptor(b"something else", BUNDLE_TYPE)))
    lists = front.fault
    front.fault = lambda seen: Reply(200, body=raw) if "/blobs/" in seen.path else lists(seen)
    refused(verify(verifier(front.host), front.host, image), Refusal.MALFORMED)


def test_the_addresses_of_a_foreign_layer_are_never_fetched(
    registry: EmbeddedRegistry, image: bytes, stubs: Callable[..., Stub]
) -> None:
    front, elsewhere = Front(stubs(), registry.host), stubs()
    raw = json.dumps(good(image)).encode()
    elsewhere.answer = lambda _: Reply(200, body=raw)
    layer = {**descriptor(raw, BUNDLE_TYPE), "urls": [f"{elsewhere.url}/bundle"]}
    served(front, image, artifact(image, layer))
    refused(verify(verifier(front.host), front.host, image), Refusal.MALFORMED)
    assert elsewhere.requests == []


def test_a_redirect_to_storage_carries_no_credential(
    registry: EmbeddedRegistry, image: bytes, stubs: Callable[..., Stub], tmp_path: Path
) -> None:
    attach(registry, image, good(image))
    front, storage = Front(stubs(), registry.host), stubs()

    def fault(seen: Seen) -> Reply | None:
        if "authorization" not in seen.headers:
            return Reply(401, {"WWW-Authenticate": 'Basic realm="registry"'})
        if "/blobs/" in seen.path:
            kept = front.forwards(seen)
            storage.answer = lambda _: kept
            return Reply(307, {"Location": f"{storage.url}/storage"})
        return None

    front.fault = fault
    login = tmp_path / "login.json"
    login.write_text(json.dumps({"auths": {front.host: {"auth": b64(b"ci:secret-token")}}}))
    login.chmod(0o600)
    made = verifier(front.host, credential=Credential(login, front.host))
    verdict = verify(made, front.host, image)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.reason
    assert any("authorization" in seen.headers for seen in front.stub.requests)
    assert storage.requests
    for seen in storage.requests:
        assert "authorization" not in seen.headers
        assert b64(b"ci:secret-token") not in str(seen)


# --- forms -----------------------------------------------------------------------------------------------------------


def test_what_only_buildkit_says_is_unsigned(registry: EmbeddedRegistry, image: bytes) -> None:
    raw = statement(Digest.of(image))
    for blob in (EMPTY_CONFIG, raw):
        registry.push_blob(NAME, blob)
    held = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(EMPTY_CONFIG, "application/vnd.oci.image.config.v1+json"),
            "layers": [{**descriptor(raw, IN_TOTO), "annotations": {"in-toto.io/predicate-type": SLSA_V1}}],
        }
    ).encode()
    assert registry.push(NAME, Digest.of(held), held).status_code == 201
    noted = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": Digest.of(image)}
    rows = [descriptor(image, OCI_MANIFEST), {**descriptor(held, OCI_MANIFEST), "annotations": noted}]
    around = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}).encode()
    assert registry.push(NAME, "index", around).status_code == 201
    text = refused(verify(verifier(registry.host), registry.host, around), Refusal.UNSIGNED)
    assert text == "expected signed evidence, got only buildkit"


@pytest.mark.parametrize(
    ("bundle", "refusal"),
    [
        (b"{", Refusal.MALFORMED),
        (b"[" * 100_000, Refusal.OVERSIZED),
        (b" " * (BUNDLE_MAX_BYTES + 1), Refusal.OVERSIZED),
        (b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.9+json"}', Refusal.UNSUPPORTED),
    ],
    ids=["cut", "parts", "bytes", "version"],
)
def test_a_bundle_that_is_none_is_refused(
    registry: EmbeddedRegistry, image: bytes, bundle: bytes, refusal: Refusal
) -> None:
    attach(registry, image, bundle)
    refused(verify(verifier(registry.host), registry.host, image), refusal)


def test_a_signature_is_no_provenance(registry: EmbeddedRegistry, image: bytes) -> None:
    attach(registry, image, key_bundle(KEY, statement(Digest.of(image), SIGN_V1, {})))
    refused(verify(verifier(registry.host), registry.host, image), Refusal.WRONG_PREDICATE)
    enough = verifier(registry.host, policy=POLICY._replace(level=Level.SIGNATURE))
    assert verify(enough, registry.host, image).outcome is Outcome.ACCEPTED


def push_layers(registry: EmbeddedRegistry, tag: str, *layers: tuple[bytes, str, dict[str, str]]) -> None:
    for blob in (EMPTY_CONFIG, *(raw for raw, _, _ in layers)):
        registry.push_blob(NAME, blob)
    rows = [{**descriptor(raw, kind), "annotations": noted} for raw, kind, noted in layers]
    config = descriptor(EMPTY_CONFIG, "application/vnd.oci.image.config.v1+json")
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": rows}
    assert registry.push(NAME, tag, json.dumps(body).encode()).status_code == 201


def test_the_tags_of_cosign_v2_are_read_only_where_that_is_asked_for(registry: EmbeddedRegistry, image: bytes) -> None:
    raw = json.dumps(envelope(KEY, statement(Digest.of(image)))).encode()
    noted = {"dev.cosignproject.cosign/signature": ""}
    push_layers(registry, f"{fallback(image)}.att", (raw, "application/vnd.dsse.envelope.v1+json", noted))
    refused(verify(verifier(registry.host), registry.host, image), Refusal.NO_EVIDENCE)
    assert verify(verifier(registry.host, cosign_v2=True), registry.host, image).outcome is Outcome.ACCEPTED


def test_a_cosign_v2_signature_of_another_image_is_refused(registry: EmbeddedRegistry, image: bytes) -> None:
    signature = POLICY._replace(level=Level.SIGNATURE)

    def sign(name: str) -> None:
        payload = simple_signing(Digest.of(image), name)
        noted = {"dev.cosignproject.cosign/signature": b64(KEY.sign(payload, ec.ECDSA(hashes.SHA256())))}
        push_layers(registry, f"{fallback(image)}.sig", (payload, SIMPLE_SIGNING_TYPE, noted))

    sign(f"{registry.host}/acme/payments")
    made = verifier(registry.host, policy=signature, cosign_v2=True)
    refused(verify(made, registry.host, image), Refusal.WRONG_SUBJECT)
    sign(f"{registry.host}/{NAME}")
    made = verifier(registry.host, policy=signature, cosign_v2=True)
    assert verify(made, registry.host, image).outcome is Outcome.ACCEPTED


# --- a registry that does not answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [(503, Transient), (403, Denied)])
def test_a_check_that_cannot_run_is_no_verdict(
    registry: EmbeddedRegistry, image: bytes, stub: Stub, status: int, error: type[Exception]
) -> None:
    attach(registry, image, good(image))
    front = Front(stub, registry.host)
    front.fault = lambda seen: Reply(status) if "/blobs/" in seen.path else None
    made = verifier(front.host)
    with pytest.raises(error):
        verify(made, front.host, image)
    front.fault = lambda _: None
    assert verify(made, front.host, image).outcome is Outcome.ACCEPTED
