"""The authority made of public keys: for air-gapped use, and for keys in a KMS (`cosign sign --key`).

A signature counts by the key alone. Log entries and timestamps of key bundles are neither needed nor trusted, and a
bundle with a certificate is refused: one authority is configured, and keys are never a fallback for certificates.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from reconciler.evidence import bundles
from reconciler.evidence.authority import Proven
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Found, Layout, Refused
from state import canonical
from state.errors import ConfigError, InvalidValue
from state.oci import Digest
from state.verdict import Refusal

SIMPLE_SIGNING_TYPE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
CERTIFICATE_ANNOTATION: Final = "dev.sigstore.cosign/certificate"
DSSE_TYPE: Final = "application/vnd.dsse.envelope.v1+json"

_KEY_FILE_MAX_BYTES: Final = 64 * 1024
_SIGNATURE_MAX_BYTES: Final = 16 * 1024
_RSA_BITS: Final = range(2048, 16384 + 1)
_CURVES: Final = ("secp256r1", "secp384r1")

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class _Key(NamedTuple):
    fingerprint: Digest
    hints: frozenset[str]
    """What bundles write to name this key: the fingerprint in base64 (sigstore-go) or in hex."""
    public: PublicKey


class KeyAuthority:
    """Implements `authority.Authority` with a fixed set of public keys."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = tuple(_named(key) for key in keys)
        names = canonical.texts(sorted(key.fingerprint for key in self._keys))
        self._digest = canonical.digest({"keys": names, "kind": "keys"})

    @classmethod
    def from_files(cls, paths: Iterable[Path]) -> Self:
        """The keys of these PEM files, one each. Raises ConfigError with every problem of every file."""
        found: dict[Digest, Path] = {}
        keys: list[PublicKey] = []
        problems: list[str] = []
        for path in paths:
            try:
                key = _load(path)
            except (InvalidValue, OSError) as error:
                problems.append(f"{path}: {error.strerror if isinstance(error, OSError) else error}")
                continue
            fingerprint = _fingerprint(key)
            if (other := found.get(fingerprint)) is not None:
                problems.append(f"{path}: holds the same key as {other}; list it once")
            found[fingerprint] = path
            keys.append(key)
        if not keys and not problems:
            problems.append("no file is named, expected at least one public key")
        if problems:
            raise ConfigError("verification.authority.public_key_files cannot be used", tuple(problems))
        return cls(keys)

    @property
    def fingerprints(self) -> tuple[Digest, ...]:
        """SHA-256 of each key's DER SubjectPublicKeyInfo, in the order of the files."""
        return tuple(key.fingerprint for key in self._keys)

    def digest(self) -> Digest:
        """Of the set of keys."""
        return self._digest

    def prove(self, found: Found) -> Proven:
        """See `authority.Authority`. Raises Refused."""
        match found.layout:
            case Layout.BUNDLE | Layout.HANDED_OVER:
                bundle = bundles.parse_bundle(found.raw)
                if bundle.certificate is not None:
                    raise _by_certificate("the bundle")
                return self._envelope(bundle.envelope, bundle.key_hint or "")
            case Layout.COSIGN_ATTESTATION:
                _expect(found, DSSE_TYPE)
                return self._envelope(bundles.parse_envelope(found.raw), "")
            case Layout.COSIGN_SIGNATURE:
                _expect(found, SIMPLE_SIGNING_TYPE)
                signature = _signature(found.annotations)
                return Proven("simplesigning", found.raw, None, self._signer(found.raw, signature, frozenset()))
            case Layout.BUILDKIT | Layout.SBOM:
                raise Refused(Refusal.UNSIGNED, f"{found.layout.value}: carries no signature")

    def _envelope(self, envelope: bundles.Envelope, hint: str) -> Proven:
        signed = bundles.pae(envelope.payload_type, envelope.payload)
        signer = self._signer(signed, envelope.signature, frozenset({hint, envelope.key_id}))
        return Proven(envelope.payload_type, envelope.payload, None, signer)

    def _signer(self, signed: bytes, signature: bytes, hints: frozenset[str]) -> Digest:
        """The key that made the signature: those that a hint names are tried first, then all others."""
        hinted = [key for key in self._keys if key.hints & hints]
        for key in (*hinted, *(k for k in self._keys if k not in hinted)):
            if verifies(key.public, signature, signed):
                return key.fingerprint
        if hinted:
            raise Refused(Refusal.BAD_SIGNATURE, f"says it is signed by {hinted[0].fingerprint}, but is not")
        raise Refused(Refusal.UNTRUSTED, f"signed by none of the configured keys: {', '.join(self.fingerprints)}")


def verifies(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether `signature` is good, with the schemes that cosign uses for each kind of key."""
    match key:
        case ec.EllipticCurvePublicKey():
            # cosign hashes with SHA-256 for every curve, sigstore-go with SHA-384 for P-384
            wide = (hashes.SHA384(),) if key.curve.name == "secp384r1" else ()
            return any(_ecdsa(key, signature, signed, algorithm) for algorithm in (hashes.SHA256(), *wide))
        case rsa.RSAPublicKey():
            try:
                key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                return False
            return True
        case ed25519.Ed25519PublicKey():
            try:
                key.verify(signature, signed)
            except InvalidSignature:
                return False
            return True


def _ecdsa(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes, algorithm: hashes.HashAlgorithm) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _expect(found: Found, media_type: str) -> None:
    """The layer's type, and that it comes without a certificate: cosign v2 keeps that in an annotation."""
    if found.media_type != media_type:
        raise Refused(Refusal.UNSUPPORTED, f"layer type is {found.media_type}, expected {media_type}")
    if found.annotations.get(CERTIFICATE_ANNOTATION):
        raise _by_certificate("the layer")


def _signature(annotations: Mapping[str, str]) -> bytes:
    text = annotations.get(SIGNATURE_ANNOTATION)
    if not text:
        raise Refused(Refusal.MALFORMED, f"the layer has no annotation {SIGNATURE_ANNOTATION}")
    return bundles.decode_base64(text, SIGNATURE_ANNOTATION, _SIGNATURE_MAX_BYTES)


def _by_certificate(what: str) -> Refused:
    return Refused(
        Refusal.UNTRUSTED, f"{what} is signed by a certificate, and the configured authority is a set of keys"
    )


def _load(path: Path) -> PublicKey:
    with path.open("rb") as file:
        raw = file.read(_KEY_FILE_MAX_BYTES + 1)
    if len(raw) > _KEY_FILE_MAX_BYTES:
        raise InvalidValue(f"expected a PEM public key of at most {_KEY_FILE_MAX_BYTES} bytes")
    if b"PRIVATE KEY-----" in raw:
        raise InvalidValue("holds a private key; name the file of its public key, and keep this one elsewhere")
    if raw.count(b"-----BEGIN ") != 1:
        raise InvalidValue(f"expected exactly one PEM block, got {raw.count(b'-----BEGIN ')}")
    try:
        key = serialization.load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidValue(f"no PEM public key that can be read: {str(error)[:120]}") from error
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS:
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case ec.EllipticCurvePublicKey():
            shown = f"ECDSA on {key.curve.name}"
        case rsa.RSAPublicKey():
            shown = f"RSA of {key.key_size} bits"
        case _:
            shown = type(key).__name__.removesuffix("PublicKey")
    raise InvalidValue(
        f"expected ECDSA P-256 or P-384, Ed25519, or RSA of {_RSA_BITS.start} to {_RSA_BITS[-1]} bits, got {shown}"
    )


def _fingerprint(key: PublicKey) -> Digest:
    return Digest.of(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def hint_of(fingerprint: Digest) -> str:
    """What sigstore-go and cosign write into a bundle to name the key with this fingerprint."""
    return base64.b64encode(bytes.fromhex(fingerprint.hex)).decode()


def key_bundle(envelope: bundles.Envelope, signer: Digest) -> bytes:
    """The bundle v0.3 around an envelope that the key with this fingerprint signed; equal envelopes, equal bytes.

    It has no log entry and no timestamp: whoever verifies it has the public key.
    """
    return canonical.dumps(
        {
            "dsseEnvelope": envelope.to_json(),
            "mediaType": BUNDLE_MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint_of(signer)}},
        }
    )


def _named(key: PublicKey) -> _Key:
    fingerprint = _fingerprint(key)
    return _Key(fingerprint, frozenset({hint_of(fingerprint), fingerprint.hex, str(fingerprint)}), key)
