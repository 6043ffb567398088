"""The authority made of a pinned Sigstore trusted root, of the public deployment or of a private one.

Nothing is fetched, cached or written: what is believed is in the one file. There are two modes and no fallback between
them. With a transparency log every bundle carries an entry of a log of the trusted root. Without (GitHub's attestations
for private repositories) every bundle carries a timestamp of an authority of the trusted root, and no log entry.

Import this module only where kind sigstore is configured: sigstore takes 0.3 s to import.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from sigstore.errors import VerificationError
from sigstore.models import Bundle, IncompatibleEntry, InvalidBundle
from sigstore.verify import Verifier
from sigstore_models.bundle.v1 import Bundle as Model

from reconciler.evidence import bundles
from reconciler.evidence.authority import Proven
from reconciler.evidence.certificates import claims_of
from reconciler.evidence.found import Found, Layout, Refused
from reconciler.evidence.keys import verifies
from reconciler.evidence.trust import Trust
from reconciler.strict_yaml import read_regular
from state import canonical
from state.errors import ConfigError
from state.oci import Digest
from state.verdict import Refusal

ROOT_MAX_BYTES: Final = 1024 * 1024
_CURVES: Final = ("secp256r1", "secp384r1")

_PHRASES: Final = (
    ("expired at time of signing", Refusal.EXPIRED),
    ("failed to verify SCT", Refusal.UNTRUSTED),
    ("invalid log entry", Refusal.BAD_SIGNATURE),
    ("DSSE: invalid signature", Refusal.BAD_SIGNATURE),
    ("do not match bundle", Refusal.BAD_SIGNATURE),
    ("does not match bundle", Refusal.BAD_SIGNATURE),
    ("inconsistent", Refusal.BAD_SIGNATURE),
    ("Unsupported DSSE log entry", Refusal.UNSUPPORTED),
    ("Integrated time only supported", Refusal.UNSUPPORTED),
)
"""Sigstore tells most failures apart by text alone; what none of these is in is UNTRUSTED."""


class RootAuthority:
    """Implements `authority.Authority`; safe to share between threads."""

    def __init__(self, trust: Trust, raw: bytes, *, transparency_log: bool) -> None:
        self._trust = trust
        self._verifier = Verifier(trusted_root=trust.root) if transparency_log else None
        self._digest = canonical.digest(
            {"kind": "sigstore", "transparency_log": transparency_log, "trusted_root": Digest.of(raw)}
        )

    @classmethod
    def from_file(cls, path: Path, *, transparency_log: bool) -> Self:
        """The authority of a trusted root file. Raises ConfigError."""
        raw = read_regular(path, max_bytes=ROOT_MAX_BYTES)
        return cls.from_bytes(raw, str(path), transparency_log=transparency_log)

    @classmethod
    def from_bytes(cls, raw: bytes, what: str, *, transparency_log: bool) -> Self:
        """The authority of a trusted root that was read from `what`. Raises ConfigError."""
        trust = Trust.parse(raw, what)
        if transparency_log and not trust.logs:
            raise ConfigError(
                f"{what}: names no transparency log; if its deployment has none, as GitHub's for private repositories,"
                " set `transparency_log: false`"
            )
        if not transparency_log and not trust.stampers:
            raise ConfigError(f"{what}: names no timestamp authority, which `transparency_log: false` needs")
        return cls(trust, raw, transparency_log=transparency_log)

    def digest(self) -> Digest:
        """Of the file's bytes and the mode."""
        return self._digest

    def prove(self, found: Found) -> Proven:
        """See `authority.Authority`. Raises Refused."""
        match found.layout:
            case Layout.BUNDLE | Layout.HANDED_OVER:
                bundle = bundles.parse_bundle(found.raw)
            case Layout.COSIGN_SIGNATURE | Layout.COSIGN_ATTESTATION:
                raise Refused(
                    Refusal.UNSUPPORTED,
                    f"{found.layout.value}: does not carry all that a certificate's signature is verified with;"
                    " expected a Sigstore bundle, as cosign 3 and actions/attest write it",
                )
            case Layout.BUILDKIT | Layout.SBOM:
                raise Refused(Refusal.UNSIGNED, f"{found.layout.value}: carries no signature")
        if bundle.certificate is None:
            raise Refused(
                Refusal.UNTRUSTED, "the bundle is signed by a key, and the configured authority is a trusted root"
            )
        try:
            certificate = _certificate(bundle.certificate)
            if self._verifier is None:
                return self._stamped(found.raw, bundle, certificate)
            return self._logged(self._verifier, found.raw, bundle)
        except Refused:
            raise
        except Exception as error:  # fail closed, whatever the libraries below raise on hostile input
            raise _refused(error) from error

    def _logged(self, verifier: Verifier, raw: bytes, bundle: bundles.Bundle) -> Proven:
        if not bundle.log_entries:
            raise Refused(
                Refusal.UNSUPPORTED,
                "the bundle carries no transparency log entry; if its deployment has no log, as GitHub's for private"
                " repositories, set `transparency_log: false` and name that deployment's trusted root",
            )
        signed = Bundle.from_json(raw)
        captured = _Captured()
        try:
            payload_type, payload = verifier.verify_dsse(signed, captured)
        except Exception as error:
            # Why is told better than sigstore does; whatever this finds, the bundle is refused.
            self._trust.check_issued(signed.signing_certificate, _claimed_time(signed))
            if (log_id := signed.log_entry._inner.log_id.key_id) not in self._trust.logs:
                raise Refused(
                    Refusal.UNTRUSTED,
                    f"log entry: of the log {log_id.hex()[:64]}, which the trusted root does not name",
                ) from error
            raise _refused(error) from error
        if captured.certificate is None:
            raise Refused(Refusal.UNTRUSTED, "certificate: was not looked at")
        at = self._witnessed(signed, bundle.envelope.signature)
        # Sigstore's verifier leaves out when the trusted root says that an authority was trusted.
        self._trust.check_issued(captured.certificate, at)
        return Proven(payload_type, payload, claims_of(captured.certificate), None, at)

    def _witnessed(self, signed: Bundle, signature: bytes) -> datetime:
        """When a bundle that was verified was signed."""
        entry = signed.log_entry._inner
        if entry.integrated_time and entry.inclusion_promise:
            return datetime.fromtimestamp(entry.integrated_time, UTC)
        times = self._trust.stamped(_timestamps(signed._inner), signature)
        if not times:
            raise Refused(Refusal.UNTRUSTED, "neither log nor timestamp authority of the trusted root says when")
        return min(times)

    def _stamped(self, raw: bytes, bundle: bundles.Bundle, certificate: x509.Certificate) -> Proven:
        if bundle.log_entries:
            raise Refused(
                Refusal.UNSUPPORTED,
                "the bundle carries a transparency log entry, and `transparency_log: false` is configured; set it to"
                " true and name the trusted root with that log",
            )
        envelope = bundle.envelope
        times = self._trust.stamped(_timestamps(Model.from_json(raw)), envelope.signature)
        if not times:
            raise Refused(
                Refusal.UNTRUSTED,
                f"none of {bundle.timestamps} timestamps is one of the signature by an authority of the trusted root",
            )
        for at in times:
            self._trust.check_issued(certificate, at)
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not verifies(
            key, envelope.signature, bundles.pae(envelope.payload_type, envelope.payload)
        ):
            raise Refused(Refusal.BAD_SIGNATURE, "not signed by the key of its certificate")
        return Proven(envelope.payload_type, envelope.payload, claims_of(certificate), None, min(times))


class _Captured:
    """A policy that accepts any certificate and keeps it: `claims` decides, outside of Sigstore's verifier."""

    def __init__(self) -> None:
        self.certificate: x509.Certificate | None = None

    def verify(self, cert: x509.Certificate) -> None:
        self.certificate = cert


def _certificate(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
    except Exception as error:
        raise Refused(Refusal.MALFORMED, f"certificate: cannot be read: {str(error)[:200]}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise Refused(Refusal.UNSUPPORTED, f"certificate: expected a key on one of {', '.join(_CURVES)}")
    return certificate


def _timestamps(model: Any) -> list[bytes]:
    data = model.verification_material.timestamp_verification_data
    return [] if data is None else [stamp.signed_timestamp for stamp in data.rfc3161_timestamps]


def _claimed_time(signed: Bundle) -> datetime:
    """The time that an unverified bundle gives, to tell an expired certificate from a strange one."""
    at = signed.log_entry._inner.integrated_time
    return datetime.fromtimestamp(at, UTC) if at else signed.signing_certificate.not_valid_before_utc


def _refused(error: Exception) -> Refused:
    text = f"{str(error)[:300]}" or type(error).__name__
    match error:
        case IncompatibleEntry():
            return Refused(Refusal.UNSUPPORTED, text)
        case InvalidBundle() | ValidationError():
            return Refused(Refusal.MALFORMED, text)
        case VerificationError():
            said = (refusal for phrase, refusal in _PHRASES if phrase in text)
            return Refused(next(said, Refusal.UNTRUSTED), text)
        case _:
            return Refused(Refusal.MALFORMED, f"cannot be verified: {type(error).__name__}: {text}")
