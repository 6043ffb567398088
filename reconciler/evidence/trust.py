"""A Sigstore trusted root, read: which authorities may issue certificates and timestamps, and when.

Source: sigstore protobuf-specs, sigstore_trustroot.proto, in the JSON mapping of proto3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client import VerificationError as NotStamped
from sigstore.models import TrustedRoot
from sigstore_models.trustroot.v1 import TrustedRoot as Model

from reconciler.evidence.found import Refused
from state.errors import ConfigError
from state.verdict import Refusal

_TIMESTAMPS_MAX: Final = 32
"""As sigstore-go and sigstore-python limit them."""


class _Chain(NamedTuple):
    """One authority: its certificates from leaf or intermediate to root, and when it is trusted (end exclusive)."""

    certificates: tuple[x509.Certificate, ...]
    start: datetime
    end: datetime | None

    def trusted_at(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)


class Trust:
    """What a trusted root says. `root` is the same, as sigstore's own verifier takes it."""

    def __init__(self, root: TrustedRoot, issuers: Sequence[_Chain], stampers: Sequence[_Chain]) -> None:
        self.root = root
        self._issuers = tuple(issuers)
        self._stampers = tuple(stampers)
        self.logs = frozenset(log.log_id.key_id for log in root._inner.tlogs)
        """The ids of its transparency logs."""

    @classmethod
    def parse(cls, raw: bytes, what: str) -> Trust:
        """Raises ConfigError, whose message begins with `what` (the file's name)."""
        try:
            value: dict[str, Any] = {"tlogs": [], "ctlogs": [], **json.loads(raw)}
            model = Model.from_json(json.dumps(value))
            root = TrustedRoot(model)
            issuers = [_chain(authority) for authority in model.certificate_authorities]
            stampers = [_chain(authority) for authority in model.timestamp_authorities]
        except Exception as error:  # whatever is wrong with it, it cannot be used
            raise ConfigError(
                f"{what}: expected one Sigstore trusted root (JSON object): {type(error).__name__}: {str(error)[:300]};"
                " `gh attestation trusted-root` prints one per line, keep the line of your deployment"
            ) from error
        if not issuers:
            raise ConfigError(f"{what}: names no certificate authority")
        return cls(root, issuers, stampers)

    @property
    def stampers(self) -> int:
        """How many timestamp authorities it names."""
        return len(self._stampers)

    def stamped(self, timestamps: Sequence[bytes], signature: bytes) -> list[datetime]:
        """The times of those RFC 3161 timestamps over `signature` that a trusted authority made. Raises Refused."""
        if len(timestamps) > _TIMESTAMPS_MAX:
            raise Refused(Refusal.OVERSIZED, f"expected at most {_TIMESTAMPS_MAX} timestamps, got {len(timestamps)}")
        times: list[datetime] = []
        for raw in timestamps:
            try:
                response = decode_timestamp_response(raw)
                at = response.tst_info.gen_time
            except Exception as error:  # the decoder promises no closed set of errors
                raise Refused(Refusal.MALFORMED, f"timestamp: cannot be decoded: {str(error)[:200]}") from error
            if any(_stamps(s, response, signature) for s in self._stampers if s.trusted_at(at)):
                times.append(at)
        return times

    def check_issued(self, leaf: x509.Certificate, at: datetime) -> None:
        """Pass if a trusted authority issued `leaf` for signing code, and both were valid `at`. Raises Refused."""
        if any(chain.trusted_at(at) and _issued(chain, leaf, at) for chain in self._issuers):
            _check_purpose(leaf)
            return
        valid = leaf.not_valid_before_utc
        shown = f"{_shown(valid)} to {_shown(leaf.not_valid_after_utc)}"
        if any(_issued(chain, leaf, valid) for chain in self._issuers):
            raise Refused(
                Refusal.EXPIRED,
                f"certificate: valid from {shown}, or its authority's trust had ended; signed at {_shown(at)}",
            )
        raise Refused(Refusal.UNTRUSTED, "certificate: issued by no authority of the trusted root")


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _chain(authority: Any) -> _Chain:
    certificates = tuple(x509.load_der_x509_certificate(c.raw_bytes) for c in authority.cert_chain.certificates)
    if not certificates:
        raise ValueError("an authority without certificates")
    return _Chain(certificates, authority.valid_for.start, authority.valid_for.end)


def _issued(chain: _Chain, leaf: x509.Certificate, at: datetime) -> bool:
    """Whether the chain from `leaf` to the authority's root is good at that time."""
    # Purposes are not those of the web (client or server authentication): the leaf's is checked by `_check_purpose`.
    authorities = ExtensionPolicy.webpki_defaults_ca().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
    leaves = ExtensionPolicy.webpki_defaults_ee().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
    verifier = (
        PolicyBuilder()
        .store(Store([chain.certificates[-1]]))
        .time(at)
        .extension_policies(ca_policy=authorities, ee_policy=leaves)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, list(chain.certificates[:-1]))
    except (VerificationError, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return True


def _check_purpose(leaf: x509.Certificate) -> None:
    try:
        purposes: Iterable[x509.ObjectIdentifier] = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        signs = leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        purposes, signs = (), False
    if ExtendedKeyUsageOID.CODE_SIGNING not in purposes or not signs:
        raise Refused(Refusal.UNTRUSTED, "certificate: not issued for signing code")


def _stamps(chain: _Chain, response: TimeStampResponse, message: bytes) -> bool:
    """Whether this authority made the timestamp over `message`. Its first certificate is the one that signs."""
    if len(chain.certificates) < 2:  # the signing certificate alone is no authority to trust
        return False
    first, *between, root = chain.certificates
    builder = VerifierBuilder().tsa_certificate(first).add_root_certificate(root)
    for certificate in between:
        builder = builder.add_intermediate_certificate(certificate)
    try:
        return builder.build().verify_message(response, message)
    except (NotStamped, ValueError):
        return False
