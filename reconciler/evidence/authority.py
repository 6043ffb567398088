"""Who is believed: the one configured authority, either public keys or a Sigstore trusted root.

An authority proves who signed which bytes; whether that signer and those bytes count is `claims`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from reconciler.evidence.found import Found
from state.oci import Digest


class CertificateClaims(NamedTuple):
    """What a signing certificate says of its holder. Source: Fulcio, oid-info.md (1.3.6.1.4.1.57264.1.*).

    Each is None where the certificate has no such extension.
    """

    issuer: str | None
    """OIDC issuer (1.8, or the older 1.1)."""
    identity: str
    """Subject alternative name: a workflow with its ref (`…/workflows/x.yml@refs/heads/main`), or an email."""
    source_repository: str | None = None
    """1.12: the source repository's URL."""
    source_repository_id: str | None = None
    """1.15: its immutable numeric id."""
    source_ref: str | None = None
    """1.14: `refs/heads/main`."""
    source_revision: str | None = None
    """1.13: the commit."""
    build_signer: str | None = None
    """1.9: the reusable workflow that signed, with its ref."""
    runner_environment: str | None = None
    """1.11: `github-hosted` or `self-hosted`."""
    environment: str | None = None
    """1.23: the deployment environment, whose protection rules let the job run."""


class Proven(NamedTuple):
    """Bytes whose signature is good, and who signed them: exactly one of `certificate` and `key` is set."""

    payload_type: str
    """DSSE payload type, or `simplesigning` for a cosign v2 signature."""
    payload: bytes
    certificate: CertificateClaims | None
    key: Digest | None
    """SHA-256 of the DER SubjectPublicKeyInfo of the configured key that signed."""
    signed_at: datetime | None = None
    """When it was signed, by a trusted log or timestamp; None where there is no such witness."""


class Authority(Protocol):
    """Implemented by `keys.KeyAuthority` and `trusted_root.RootAuthority`."""

    def prove(self, found: Found) -> Proven:
        """The signed bytes of `found` and who signed them. Raises Refused; anything unexpected is refused too."""

    def digest(self) -> Digest:
        """Of all that this authority's answers depend on (the keys' or the root's bytes, its settings)."""
