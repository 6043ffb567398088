"""The authority of public keys: which keys it takes, and what they prove."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519

from reconciler.evidence.found import Found, Layout, Refused
from reconciler.evidence.keys import (
    CERTIFICATE_ANNOTATION,
    DSSE_TYPE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING_TYPE,
    KeyAuthority,
)
from state.errors import ConfigError
from state.oci import Digest
from state.verdict import Refusal
from tests.fixtures.evidence import (
    BUNDLE_TYPE,
    IN_TOTO,
    b64,
    envelope,
    hint_of,
    key_bundle,
    new_key,
    pae,
    public_pem,
    simple_signing,
    statement,
)

SUBJECT: Final = Digest.of(b"image")
PAYLOAD: Final = statement(SUBJECT)
RSA_2048: Final = rsa.generate_private_key(65537, 2048)


@pytest.fixture
def authority(tmp_path: Path) -> Callable[..., KeyAuthority]:
    """The authority of these private keys' public halves, read from files."""

    def make(*keys: Any) -> KeyAuthority:
        paths = [tmp_path / f"{at}.pub" for at in range(len(keys))]
        for path, key in zip(paths, keys, strict=True):
            path.write_bytes(public_pem(key))
        return KeyAuthority.from_files(paths)

    return make


def found(layout: Layout, value: Any, media_type: str = BUNDLE_TYPE, **annotations: str) -> Found:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Found(layout, Digest.of(b"manifest"), media_type, raw, annotations)


def bundle(value: Any) -> Found:
    return found(Layout.BUNDLE, value)


def signature(payload: bytes, signed: bytes, **annotations: str) -> Found:
    given = {SIGNATURE_ANNOTATION: b64(signed), **annotations}
    return found(Layout.COSIGN_SIGNATURE, payload, SIMPLE_SIGNING_TYPE, **given)


def refusal_of(authority: KeyAuthority, made: Found) -> Refusal:
    with pytest.raises(Refused) as caught:
        authority.prove(made)
    return caught.value.refusal


SIGNERS: Final[dict[str, tuple[Any, Callable[[Any, bytes], bytes]]]] = {
    "P-256": (new_key(), lambda key, raw: key.sign(raw, ec.ECDSA(hashes.SHA256()))),
    "P-384 with SHA-256": (
        ec.generate_private_key(ec.SECP384R1()),
        lambda key, raw: key.sign(raw, ec.ECDSA(hashes.SHA256())),
    ),
    "P-384 with SHA-384": (
        ec.generate_private_key(ec.SECP384R1()),
        lambda key, raw: key.sign(raw, ec.ECDSA(hashes.SHA384())),
    ),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), lambda key, raw: key.sign(raw)),
    "RSA": (RSA_2048, lambda key, raw: key.sign(raw, padding.PKCS1v15(), hashes.SHA256())),
}


@pytest.mark.parametrize("kind", SIGNERS)
def test_each_kind_of_key_proves_what_it_signed_and_nothing_else(
    kind: str, authority: Callable[..., KeyAuthority]
) -> None:
    key, sign = SIGNERS[kind]
    made = key_bundle(new_key(), PAYLOAD, hint="")
    made["dsseEnvelope"]["signatures"][0]["sig"] = b64(sign(key, pae(IN_TOTO, PAYLOAD)))
    judge = authority(new_key(), key)
    proven = judge.prove(bundle(made))
    assert (proven.payload_type, proven.payload, proven.certificate) == (IN_TOTO, PAYLOAD, None)
    assert proven.key == judge.fingerprints[1]
    for edit in ({"payload": b64(PAYLOAD + b" ")}, {"payloadType": "application/json"}):
        changed = {**made, "dsseEnvelope": {**made["dsseEnvelope"], **edit}}
        assert refusal_of(judge, bundle(changed)) is Refusal.UNTRUSTED


def test_a_signature_that_is_not_over_the_encoding_of_dsse_is_not_believed(
    authority: Callable[..., KeyAuthority],
) -> None:
    key = new_key()
    made = key_bundle(key, PAYLOAD, hint="")
    made["dsseEnvelope"]["signatures"][0]["sig"] = b64(key.sign(PAYLOAD, ec.ECDSA(hashes.SHA256())))
    assert refusal_of(authority(key), bundle(made)) is Refusal.UNTRUSTED


def test_a_wrong_hint_is_only_a_hint(authority: Callable[..., KeyAuthority]) -> None:
    key, other = new_key(), new_key()
    assert authority(other, key).prove(bundle(key_bundle(key, PAYLOAD, hint=hint_of(other)))).key is not None


def test_a_signature_that_names_our_key_and_is_not_its_own_is_bad(authority: Callable[..., KeyAuthority]) -> None:
    key = new_key()
    forged = key_bundle(new_key(), PAYLOAD, hint=hint_of(key))
    assert refusal_of(authority(key), bundle(forged)) is Refusal.BAD_SIGNATURE


def test_a_key_that_is_not_listed_is_untrusted(authority: Callable[..., KeyAuthority]) -> None:
    assert refusal_of(authority(new_key()), bundle(key_bundle(new_key(), PAYLOAD))) is Refusal.UNTRUSTED


def test_a_certificate_is_never_believed_for_a_key(authority: Callable[..., KeyAuthority]) -> None:
    key = new_key()
    made = key_bundle(key, PAYLOAD)
    made["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}
    assert refusal_of(authority(key), bundle(made)) is Refusal.UNTRUSTED
    payload = simple_signing(SUBJECT)
    signed = key.sign(payload, ec.ECDSA(hashes.SHA256()))
    certified = signature(payload, signed, **{CERTIFICATE_ANNOTATION: "-----BEGIN CERTIFICATE-----"})
    assert refusal_of(authority(key), certified) is Refusal.UNTRUSTED


def test_cosign_v2_layouts_are_proven(authority: Callable[..., KeyAuthority]) -> None:
    key = new_key()
    judge = authority(key)
    payload = simple_signing(SUBJECT)
    proven = judge.prove(signature(payload, key.sign(payload, ec.ECDSA(hashes.SHA256()))))
    assert (proven.payload_type, proven.payload, proven.key) == ("simplesigning", payload, judge.fingerprints[0])
    attested = found(Layout.COSIGN_ATTESTATION, envelope(key, PAYLOAD), DSSE_TYPE, **{SIGNATURE_ANNOTATION: ""})
    assert judge.prove(attested).payload == PAYLOAD


def test_cosign_v2_layers_of_other_forms_are_refused(authority: Callable[..., KeyAuthority]) -> None:
    key = new_key()
    judge = authority(key)
    payload = simple_signing(SUBJECT)
    signed = key.sign(payload, ec.ECDSA(hashes.SHA256()))
    assert refusal_of(judge, signature(payload + b" ", signed)) is Refusal.UNTRUSTED
    assert refusal_of(judge, found(Layout.COSIGN_SIGNATURE, payload, SIMPLE_SIGNING_TYPE)) is Refusal.MALFORMED
    wrong = {SIGNATURE_ANNOTATION: "*"}
    assert refusal_of(judge, found(Layout.COSIGN_SIGNATURE, payload, SIMPLE_SIGNING_TYPE, **wrong)) is Refusal.MALFORMED
    other = found(Layout.COSIGN_SIGNATURE, payload, "text/plain", **{SIGNATURE_ANNOTATION: b64(signed)})
    assert refusal_of(judge, other) is Refusal.UNSUPPORTED
    assert refusal_of(judge, found(Layout.BUILDKIT, PAYLOAD, IN_TOTO)) is Refusal.UNSIGNED


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    good = new_key()
    private = good.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    files = {
        "good": public_pem(good),
        "twice": public_pem(good),
        "private": private,
        "p521": public_pem(ec.generate_private_key(ec.SECP521R1())),
        "small": public_pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - to be refused
        "x25519": public_pem(x25519.X25519PrivateKey.generate()),
        "two": public_pem(new_key()) * 2,
        "none": b"hello",
        "broken": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "large": b"x" * 100_000,
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        KeyAuthority.from_files([*(tmp_path / name for name in files), tmp_path / "missing"])
    told = {Path(p.partition(": ")[0]).name: p for p in caught.value.problems}
    assert set(told) == {*files, "missing"} - {"good"}
    assert "private key" in told["private"]
    assert "secp521r1" in told["p521"]
    assert "1024 bits" in told["small"]
    assert "same key" in told["twice"]
    assert "PRIVATE" not in str(caught.value)


def test_no_key_at_all_is_a_wrong_set_up() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        KeyAuthority.from_files([])


def test_the_digest_is_of_the_set_of_keys(authority: Callable[..., KeyAuthority]) -> None:
    one, two = new_key(), new_key()
    assert authority(one, two).digest() == authority(two, one).digest()
    assert authority(one).digest() != authority(one, two).digest()
