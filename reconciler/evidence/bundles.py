"""Bytes from a registry → a Sigstore bundle or a bare DSSE envelope, bounded; nothing is believed yet.

Sources: sigstore protobuf-specs, bundle.proto (v0.1 to v0.3) in the JSON mapping of proto3; DSSE v1.0.2 envelope.md and
protocol.md. Every function raises Refused (MALFORMED, OVERSIZED or UNSUPPORTED) and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from reconciler.evidence.found import BUNDLE_MAX_BYTES, BUNDLE_MEDIA_TYPE, Refused
from state.canonical import Json
from state.verdict import Refusal

_CHAINED: Final = (
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
)
_LEAF_ONLY: Final = (BUNDLE_MEDIA_TYPE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
"""The two names that version 0.3 has had."""
_BUNDLE_MEMBERS: Final = frozenset({"mediaType", "verificationMaterial", "dsseEnvelope", "messageSignature"})
_SIGNERS: Final = ("publicKey", "certificate", "x509CertificateChain")
_MATERIAL_MEMBERS: Final = frozenset({*_SIGNERS, "tlogEntries", "timestampVerificationData"})

_JSON_PARTS_MAX: Final = 20_000
"""Objects, arrays and members of one document; a real bundle has some hundred. 10 MiB of `[],` would take 200 MiB."""
_CHAIN_MAX: Final = 10
_WITNESSES_MAX: Final = 100
_CERTIFICATE_MAX_BYTES: Final = 64 * 1024
_SIGNATURE_MAX_BYTES: Final = 16 * 1024
_NAME_MAX_CHARS: Final = 1024


class Envelope(NamedTuple):
    """A DSSE envelope with exactly one signature. What is signed is `pae(payload_type, payload)`."""

    payload_type: str
    """At most 255 printable ASCII characters."""
    payload: bytes
    signature: bytes
    key_id: str
    """An unauthenticated hint of the signer, often empty."""

    def to_json(self) -> dict[str, Json]:
        """The envelope in the JSON form of DSSE."""
        signature: dict[str, Json] = {"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}
        payload = base64.b64encode(self.payload).decode()
        return {"payload": payload, "payloadType": self.payload_type, "signatures": [signature]}


class Bundle(NamedTuple):
    """A Sigstore bundle around a DSSE envelope: exactly one of `certificate` and `key_hint` is set."""

    media_type: str
    envelope: Envelope
    certificate: bytes | None
    """DER of the signing certificate; of a chain (v0.1, v0.2) only the leaf."""
    key_hint: str | None
    """An unauthenticated hint of the public key, perhaps empty."""
    log_entries: int
    """How many transparency log entries it carries."""
    timestamps: int
    """How many RFC 3161 timestamps it carries."""

    @property
    def has_form_of_v03(self) -> bool:
        """Whether it is of the version that is attached as a referrer."""
        return self.media_type in _LEAF_ONLY


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that a DSSE signature is over. Source: DSSE v1 protocol.md, PAE."""
    name = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def parse_bundle(raw: bytes) -> Bundle:
    """A Sigstore bundle v0.3, or the older v0.1 and v0.2. A bundle with a message signature is UNSUPPORTED."""
    value = _loads(raw, "bundle")
    media_type = _text(value, "mediaType", "bundle")
    if media_type not in (*_CHAINED, *_LEAF_ONLY):
        raise Refused(
            Refusal.UNSUPPORTED,
            f"bundle: mediaType is {media_type[:120]!r}, expected {BUNDLE_MEDIA_TYPE} or an older one",
        )
    _no_others(value, _BUNDLE_MEMBERS, "bundle")
    material = _object(value, "verificationMaterial", "bundle")
    _no_others(material, _MATERIAL_MEMBERS, "bundle verificationMaterial")
    if value.get("messageSignature") is not None:
        if value.get("dsseEnvelope") is not None:
            raise _malformed("bundle: both a dsseEnvelope and a messageSignature, expected one of them")
        raise Refused(
            Refusal.UNSUPPORTED, "bundle: carries a messageSignature, expected a DSSE envelope with a statement"
        )
    envelope = _envelope(_object(value, "dsseEnvelope", "bundle"), "bundle dsseEnvelope")
    given = [name for name in _SIGNERS if material.get(name) is not None]
    if len(given) != 1:
        shown = " and ".join(given) or "none of them"
        raise _malformed(f"bundle verificationMaterial: expected one of {', '.join(_SIGNERS)}, got {shown}")
    if (given[0] == "certificate" and media_type in _CHAINED) or (given[0] == _SIGNERS[2] and media_type in _LEAF_ONLY):
        raise _malformed(f"bundle verificationMaterial: {given[0]} is not what {media_type} carries")
    signer = _object(material, given[0], "bundle verificationMaterial")
    stamps = material.get("timestampVerificationData")
    return Bundle(
        media_type,
        envelope,
        None if given[0] == "publicKey" else _certificate(signer, given[0]),
        _text(signer, "hint", "bundle publicKey", optional=True) if given[0] == "publicKey" else None,
        len(_objects(material, "tlogEntries", "bundle verificationMaterial")),
        0 if stamps is None else len(_objects(_dict(stamps, "timestamps"), "rfc3161Timestamps", "bundle timestamps")),
    )


def parse_envelope(raw: bytes) -> Envelope:
    """A bare DSSE envelope, as a cosign v2 `.att` layer holds it."""
    return _envelope(_loads(raw, "DSSE envelope"), "DSSE envelope")


def decode_base64(text: str, what: str, max_bytes: int) -> bytes:
    """Bytes of padded base64, in the standard or the URL-safe alphabet (DSSE allows both). Raises Refused."""
    if len(text) > (max_bytes + 2) // 3 * 4:
        raise Refused(
            Refusal.OVERSIZED, f"{what}: expected at most {max_bytes} bytes, got {len(text)} base64 characters"
        )
    url_safe = ("-" in text or "_" in text) and not ("+" in text or "/" in text)
    standard = text.translate({ord("-"): "+", ord("_"): "/"}) if url_safe else text
    try:
        made = base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"{what}: not base64: {error}") from error
    if base64.b64encode(made).decode() != standard:  # bits beyond the last byte: a second spelling of the same bytes
        raise _malformed(f"{what}: not canonical base64")
    return made


def _envelope(value: Mapping[str, Any], what: str) -> Envelope:
    """Members that DSSE does not know are ignored, as its parsing rules demand."""
    payload_type = _text(value, "payloadType", what)
    if (
        "/" not in payload_type
        or len(payload_type) > 255
        or not (payload_type.isascii() and payload_type.isprintable())
    ):
        raise _malformed(f"{what}: payloadType is no media type: {payload_type[:80]!r}")
    signatures = _objects(value, "signatures", what)
    if len(signatures) != 1:
        raise Refused(Refusal.UNSUPPORTED, f"{what}: expected exactly one signature, got {len(signatures)}")
    signature = decode_base64(_text(signatures[0], "sig", what), f"{what} sig", _SIGNATURE_MAX_BYTES)
    if not signature:
        raise _malformed(f"{what}: the signature is empty")
    key_id = _text(signatures[0], "keyid", what, optional=True)
    payload = decode_base64(_text(value, "payload", what), f"{what} payload", BUNDLE_MAX_BYTES)
    return Envelope(payload_type, payload, signature, key_id)


def _certificate(signer: Mapping[str, Any], kind: str) -> bytes:
    if kind == "x509CertificateChain":
        chain = _objects(signer, "certificates", "bundle x509CertificateChain")
        if not 1 <= len(chain) <= _CHAIN_MAX:
            raise _malformed(f"bundle x509CertificateChain: expected 1 to {_CHAIN_MAX} certificates, got {len(chain)}")
        signer = chain[0]
    der = decode_base64(_text(signer, "rawBytes", f"bundle {kind}"), f"bundle {kind}", _CERTIFICATE_MAX_BYTES)
    if not der:
        raise _malformed(f"bundle {kind}: the certificate is empty")
    return der


def _loads(raw: bytes, what: str) -> Mapping[str, Any]:
    if len(raw) > BUNDLE_MAX_BYTES:
        raise Refused(Refusal.OVERSIZED, f"{what}: expected at most {BUNDLE_MAX_BYTES} bytes, got {len(raw)}")
    if (parts := sum(raw.count(mark) for mark in (b"[", b"{", b","))) > _JSON_PARTS_MAX:
        raise Refused(Refusal.OVERSIZED, f"{what}: expected at most {_JSON_PARTS_MAX} JSON parts, got {parts}")
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"{what}: not acceptable JSON: {str(error)[:200]}") from error
    return _dict(value, what)


def _dict(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value


def _object(value: Mapping[str, Any], key: str, what: str) -> Mapping[str, Any]:
    return _dict(value.get(key), f"{what} {key}")


def _objects(value: Mapping[str, Any], key: str, what: str) -> list[Mapping[str, Any]]:
    """A repeated member; proto3 JSON writes an empty one as [], null or not at all."""
    found = value.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _malformed(f"{what}: {key} must be a list, got {type(found).__name__}")
    if len(found) > _WITNESSES_MAX:
        raise Refused(Refusal.OVERSIZED, f"{what}: expected at most {_WITNESSES_MAX} {key}, got {len(found)}")
    return [_dict(item, f"{what} {key}") for item in found]


def _text(value: Mapping[str, Any], key: str, what: str, *, optional: bool = False) -> str:
    found = value.get(key)
    if found is None and optional:
        return ""
    if not isinstance(found, str):
        raise _malformed(f"{what}: {key} must be a string, got {type(found).__name__}")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        raise _malformed(f"{what}: {key} holds half of a surrogate pair") from error
    if optional and len(found) > _NAME_MAX_CHARS:
        raise Refused(Refusal.OVERSIZED, f"{what}: expected at most {_NAME_MAX_CHARS} characters of {key}")
    return found


def _no_others(value: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    if others := sorted(value.keys() - known):
        raise _malformed(f"{what}: unknown member {others[0][:80]!r}")


def _malformed(text: str) -> Refused:
    return Refused(Refusal.MALFORMED, text)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
