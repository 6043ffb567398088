"""Raw bytes, from wherever → a verified marker, strictly. Source: DSSE v1.0.2; sigstore protobuf-specs, Bundle v0.3.

An envelope is a DSSE envelope with one to eight signatures, or a Sigstore bundle v0.3 with one. Every signature in it
has to be good and by a principal: one that is not spoils it, so that equal approvals have few spellings.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from reconciler.approval.approvers import Signed
from reconciler.approval.codes import Code, RefusedMarker
from reconciler.approval.signatures import Signers
from reconciler.evidence.bundles import decode_base64, pae, parse_bundle
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Refused
from state import approval, canonical
from state.approval import APPROVERS_MAX, MARKER_MAX_BYTES, Marker
from state.errors import InvalidValue
from state.git import CommitId
from state.oci import Digest
from state.statement import PAYLOAD_TYPE

SKEW_S: Final = 60
"""How far two clocks may be apart."""
_SIGNATURE_MAX_BYTES: Final = 2048
_BUNDLE_TYPES: Final = (BUNDLE_MEDIA_TYPE, "application/vnd.dev.sigstore.bundle+json;version=0.3")
_MEMBERS: Final = frozenset({"payload", "payloadType", "signatures"})


class Envelope(NamedTuple):
    """A DSSE envelope: what is signed, and by whom it is said to be (`keyid`, signature)."""

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]


def verify(raw: bytes, signers: Signers) -> Signed:
    """The marker in `raw` and who signed it. Raises RefusedMarker: nothing else, whatever the bytes are."""
    signed_at = None
    envelope = _parsed(raw)
    if envelope is None:
        proven = signers.of_certificate(raw)
        _check_type(proven.payload_type)
        payload, names, signed_at = proven.payload, {proven.principal}, proven.signed_at
    else:
        payload = envelope.payload
        encoded = pae(envelope.payload_type, payload)
        names = {signers.of_signature(key_id, signature, encoded) for key_id, signature in envelope.signatures}
    marker = _marker(payload)
    principals = tuple(sorted(names))
    if marker.approvers != principals:
        raise RefusedMarker(
            Code.APPROVER_MISMATCH, f"it names {', '.join(marker.approvers)}, and is signed by {', '.join(principals)}"
        )
    if signed_at is not None and marker.issued_at > signed_at.timestamp() + SKEW_S:
        raise RefusedMarker(Code.NOT_YET_VALID, f"it was signed at {signed_at:%Y-%m-%dT%H:%M:%SZ} for a later time")
    return Signed(marker, principals, Digest.of(raw), Digest.of(payload))


def inspect(raw: bytes) -> Marker:
    """What `raw` says, checked as far as no policy and no state is needed: nobody is believed. Raises RefusedMarker."""
    envelope = _parsed(raw)
    if envelope is None:
        try:
            inner = parse_bundle(raw).envelope
        except Refused as error:
            raise RefusedMarker(Code.BAD_ENVELOPE, error.text[:300]) from error
        _check_type(inner.payload_type)
        return _marker(inner.payload)
    return _marker(envelope.payload)


class SignedBytes(NamedTuple):
    """What `ssh-keygen -Y verify` needs of an envelope: the bytes that are signed, and the signatures as files."""

    payload: bytes
    signed: bytes
    """The DSSE pre-authentication encoding of the payload."""
    signatures: tuple[bytes, ...]
    """Empty for a bundle with a certificate, which cosign reads as it is."""


def signatures_of(raw: bytes) -> SignedBytes:
    """Take an envelope apart; nobody is believed. Raises RefusedMarker."""
    envelope = _parsed(raw)
    if envelope is not None:
        signed = pae(envelope.payload_type, envelope.payload)
        return SignedBytes(envelope.payload, signed, tuple(signature for _, signature in envelope.signatures))
    try:
        inner = parse_bundle(raw).envelope
    except Refused as error:
        raise RefusedMarker(Code.BAD_ENVELOPE, error.text[:300]) from error
    return SignedBytes(inner.payload, pae(inner.payload_type, inner.payload), ())


def seal(payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """The DSSE envelope of `payload` with these (`keyid`, signature), in canonical JSON."""
    rows: list[canonical.Json] = [
        {"keyid": key_id, "sig": base64.b64encode(signature).decode()} for key_id, signature in signatures
    ]
    return canonical.dumps(
        {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": rows}
    )


def _parsed(raw: bytes) -> Envelope | None:
    """The envelope; None for a bundle with a certificate, which its authority parses. Raises RefusedMarker."""
    if len(raw) > MARKER_MAX_BYTES:
        raise RefusedMarker(Code.TOO_LARGE, f"{len(raw)} bytes or more")
    value = _object(raw)
    try:
        if "mediaType" not in value:
            return _envelope(value)
        if value["mediaType"] not in _BUNDLE_TYPES:
            raise RefusedMarker(Code.BAD_ENVELOPE, f"expected a bundle of type {BUNDLE_MEDIA_TYPE}")
        bundle = parse_bundle(raw)
    except Refused as error:
        raise RefusedMarker(Code.BAD_ENVELOPE, error.text[:300]) from error
    if bundle.certificate is not None:
        return None
    inner = bundle.envelope
    _check_type(inner.payload_type)
    return Envelope(inner.payload_type, inner.payload, ((bundle.key_hint or "", inner.signature),))


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedMarker(Code.BAD_ENVELOPE, f"no JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise RefusedMarker(Code.BAD_ENVELOPE, f"expected a JSON object, got {type(value).__name__}")
    return value


def _envelope(value: Mapping[str, Any]) -> Envelope:
    if value.keys() != _MEMBERS:
        raise RefusedMarker(Code.BAD_ENVELOPE, "expected exactly payload, payloadType and signatures")
    rows = value["signatures"]
    if not isinstance(rows, list) or not 1 <= len(rows) <= APPROVERS_MAX:
        raise RefusedMarker(Code.BAD_ENVELOPE, f"expected 1 to {APPROVERS_MAX} signatures")
    _check_type(value["payloadType"])
    payload = decode_base64(_text(value["payload"], "payload"), "payload", MARKER_MAX_BYTES)
    return Envelope(PAYLOAD_TYPE, payload, tuple(_signature(row) for row in rows))


def _signature(row: object) -> tuple[str, bytes]:
    if not isinstance(row, dict) or not {"sig"} <= row.keys() <= {"keyid", "sig"}:
        raise RefusedMarker(Code.BAD_ENVELOPE, "a signature has sig, and perhaps keyid, and nothing else")
    key_id = _text(row.get("keyid", ""), "keyid")
    return key_id, decode_base64(_text(row["sig"], "sig"), "sig", _SIGNATURE_MAX_BYTES)


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RefusedMarker(Code.BAD_ENVELOPE, f"{what} must be a string")
    return value


def _check_type(payload_type: object) -> None:
    if payload_type != PAYLOAD_TYPE:
        raise RefusedMarker(Code.BAD_PAYLOAD_TYPE, f"expected {PAYLOAD_TYPE}, got {str(payload_type)[:80]!r}")


def _marker(payload: bytes) -> Marker:
    try:
        return approval.parse(payload)
    except InvalidValue as error:
        raise _why(payload, str(error)) from error


def _why(payload: bytes, text: str) -> RefusedMarker:
    """What exactly is wrong with a payload that is no marker."""
    try:
        value = json.loads(payload.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except RefusedMarker as error:
        return error
    except (ValueError, RecursionError) as error:
        return RefusedMarker(Code.BAD_STATEMENT, f"no JSON: {str(error)[:100]}")
    kind = value.get("predicateType") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not approval.is_marker(kind):
        return RefusedMarker(Code.WRONG_PREDICATE, f"{str(kind)[:100]!r}")
    try:
        if canonical.dumps(value) != payload:
            return RefusedMarker(Code.NOT_CANONICAL)
    except InvalidValue as error:
        return RefusedMarker(Code.NOT_CANONICAL, str(error)[:200])
    predicate = value.get("predicate")
    if isinstance(predicate, dict) and isinstance(head := predicate.get("head"), str):
        try:
            CommitId(head)
        except InvalidValue:
            return RefusedMarker(Code.BAD_SHA, f"got {head[:80]!r}")
    return RefusedMarker(Code.BAD_STATEMENT, text[:200])


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RefusedMarker(Code.DUPLICATE_KEY, f"{twice[:80]!r}")
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
