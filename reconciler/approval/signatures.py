"""Which principal made a signature, by the approvers' policy. Every form is verified over the DSSE pre-authentication
encoding of the payload.

1. An SSH signature (Ed25519), armoured as `ssh-keygen -Y sign -n publish-approval@ameide.io` writes it. `keyid` is
   empty or the key's fingerprint, `SHA256:…`.
2. A bare signature by an ECDSA P-256 or Ed25519 key. `keyid`, or a bundle's hint, is the key's fingerprint: SHA-256 of
   its DER form, as `sha256:<hex>`, hex or base64. Without it nothing is tried: a stranger's envelope costs no more than
   one verification a signature.
3. A Sigstore bundle with a certificate that the pinned trusted root vouches for.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from reconciler.approval.approvers import ApproversPolicy
from reconciler.approval.codes import Code, RefusedMarker
from reconciler.evidence.authority import Authority, CertificateClaims
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Found, Layout, Refused
from reconciler.evidence.keys import PublicKey, verifies
from state import sshsig
from state.errors import IntegrityError, InvalidValue
from state.oci import Digest
from state.verdict import Refusal

NAMESPACE: Final = "publish-approval@ameide.io"
_ARMOUR: Final = b"-----BEGIN SSH SIGNATURE-----"
_CODES: Final = {
    Refusal.MALFORMED: Code.BAD_ENVELOPE,
    Refusal.OVERSIZED: Code.BAD_ENVELOPE,
    Refusal.UNSUPPORTED: Code.BAD_ENVELOPE,
    Refusal.BAD_SIGNATURE: Code.BAD_SIGNATURE,
}


class ByCertificate(NamedTuple):
    """Who signed a bundle, which bytes, and when by a trusted witness."""

    principal: str
    payload_type: str
    payload: bytes
    signed_at: datetime | None


class Signers:
    """Knows every key and identity of one policy. Safe to share between threads."""

    def __init__(self, policy: ApproversPolicy, certificates: Authority | None = None) -> None:
        """`certificates` is the pinned root that vouches for identities; without it no certificate counts."""
        self.policy = policy
        self._certificates = certificates
        self._ssh: dict[sshsig.PublicKey, str] = {}
        self._keys: dict[str, tuple[str, PublicKey]] = {}
        self._identities: dict[tuple[str, str], list[tuple[str | None, str]]] = {}
        for name, principal in policy.principals.items():
            self._ssh.update(dict.fromkeys(principal.ssh_keys, name))
            for key in principal.keys:
                loaded = load_der_public_key(key.der)
                if not isinstance(loaded, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
                    raise InvalidValue(f"{name}: expected an ECDSA P-256 or Ed25519 key")
                hint = base64.b64encode(bytes.fromhex(key.fingerprint.hex)).decode()
                self._keys.update(dict.fromkeys((key.fingerprint, key.fingerprint.hex, hint), (name, loaded)))
            for identity in principal.identities:
                self._identities.setdefault(identity[:2], []).append((identity.environment, name))

    def of_signature(self, key_id: str, signature: bytes, signed: bytes) -> str:
        """The principal that made one signature of an envelope. Raises RefusedMarker."""
        if signature.startswith(_ARMOUR):
            return self._of_ssh(key_id, signature, signed)
        if (known := self._keys.get(key_id)) is None:
            raise RefusedMarker(Code.UNKNOWN_KEY, f"keyid {key_id[:80]!r}")
        name, key = known
        if not verifies(key, signature, signed):
            raise RefusedMarker(Code.BAD_SIGNATURE, f"by the key of {name}")
        return name

    def of_certificate(self, raw: bytes) -> ByCertificate:
        """The principal that signed a bundle with a certificate, and what. Raises RefusedMarker."""
        if self._certificates is None:
            raise RefusedMarker(Code.UNKNOWN_KEY, "signed by a certificate, and no trusted root is configured for any")
        try:
            proven = self._certificates.prove(Found(Layout.BUNDLE, Digest.of(raw), BUNDLE_MEDIA_TYPE, raw, {}))
        except Refused as error:
            raise RefusedMarker(_CODES.get(error.refusal, Code.CERTIFICATE_REFUSED), error.text[:300]) from error
        if proven.certificate is None:
            raise RefusedMarker(Code.CERTIFICATE_REFUSED, "not signed by a certificate")
        name = self._of_identity(proven.certificate)
        return ByCertificate(name, proven.payload_type, proven.payload, proven.signed_at)

    def _of_ssh(self, key_id: str, armour: bytes, signed: bytes) -> str:
        try:
            signature = sshsig.parse(armour.decode("ascii"))
        except (InvalidValue, UnicodeDecodeError) as error:
            raise RefusedMarker(Code.BAD_ENVELOPE, str(error)[:200]) from error
        if key_id not in {"", signature.key.fingerprint}:
            raise RefusedMarker(
                Code.BAD_SIGNATURE, f"keyid is {key_id[:80]!r}, and the signature is by {signature.key.fingerprint}"
            )
        if (name := self._ssh.get(signature.key)) is None:
            raise RefusedMarker(Code.UNKNOWN_KEY, signature.key.fingerprint)
        try:
            signature.check(signed, key=signature.key, namespace=NAMESPACE)
        except IntegrityError as error:
            raise RefusedMarker(Code.BAD_SIGNATURE, str(error)[:200]) from error
        return name

    def _of_identity(self, claims: CertificateClaims) -> str:
        known = self._identities.get((claims.issuer or "", claims.identity), [])
        names = {name for environment, name in known if environment is None or environment == claims.environment}
        if len(names) != 1:
            where = f"environment {claims.environment}" if claims.environment else "no environment"
            shown = f"{claims.identity[:200]} by {(claims.issuer or 'nobody')[:200]}, {where}"
            raise RefusedMarker(Code.UNKNOWN_KEY, shown)
        return names.pop()
