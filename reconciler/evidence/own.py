"""The authority that proves what this reconciler signed by certificate, and nothing that others signed."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.evidence.authority import Authority, CertificateClaims, Proven
from reconciler.evidence.found import Found, Refused
from state import canonical
from state.oci import Digest
from state.verdict import Refusal


class OwnCertificates:
    """Implements `authority.Authority`: the deployment's `root`, narrowed to the holder of one identity.

    `own` tells who we are, and may raise what the signer raises; it is asked only about evidence that `root` proved.
    """

    def __init__(self, root: Authority, own: Callable[[], CertificateClaims]) -> None:
        self._root = root
        self._own = own

    def prove(self, found: Found) -> Proven:
        """See `authority.Authority`. Raises Refused, and what `own` raises."""
        proven = self._root.prove(found)
        if proven.certificate is None:
            raise Refused(Refusal.UNTRUSTED, "not signed by a certificate")
        own = self._own()
        if proven.certificate.issuer != own.issuer:
            raise Refused(Refusal.WRONG_ISSUER, f"expected our issuer {own.issuer}, got {proven.certificate.issuer}")
        if proven.certificate.identity != own.identity:
            shown = proven.certificate.identity[:300]
            raise Refused(Refusal.WRONG_WORKFLOW, f"expected our identity {own.identity}, got {shown}")
        return proven

    def digest(self) -> Digest:
        """Of the root and our identity. Raises what `own` raises."""
        own = self._own()
        return canonical.digest(
            {"identity": own.identity, "issuer": own.issuer, "kind": "own", "root": self._root.digest()}
        )
