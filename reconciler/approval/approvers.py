"""The approvers' policy as a value: who they are, how their signatures are known, and who may do what.

Pure, and without the file's form, which is `reconciler.approval.policy`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from state import canonical
from state.approval import Marker
from state.canonical import Json
from state.oci import Digest
from state.sshsig import PublicKey


class Identity(NamedTuple):
    """The holder of a certificate, each member exactly as the certificate has it."""

    issuer: str
    subject: str
    """Subject alternative name."""
    environment: str | None = None
    """Deployment environment (1.3.6.1.4.1.57264.1.23); None asks for none."""

    def to_json(self) -> dict[str, Json]:
        return {"environment": self.environment, "issuer": self.issuer, "subject": self.subject}


class VerifyingKey(NamedTuple):
    """A public key that is not an SSH key: ECDSA P-256 or Ed25519."""

    fingerprint: Digest
    """SHA-256 of `der`."""
    der: bytes
    """SubjectPublicKeyInfo."""


class Principal(NamedTuple):
    """One person or workflow, who counts once however many keys sign."""

    name: str
    forge_id: int | None
    """Numeric id at the forge; None for one that has no account there, and so is author of nothing."""
    ssh_keys: tuple[PublicKey, ...] = ()
    keys: tuple[VerifyingKey, ...] = ()
    identities: tuple[Identity, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {
            "forge_id": self.forge_id,
            "identities": [i.to_json() for i in sorted(self.identities, key=lambda i: (*i[:2], i.environment or ""))],
            "keys": canonical.texts(sorted(k.fingerprint for k in self.keys)),
            "ssh_keys": canonical.texts(sorted(k.line for k in self.ssh_keys)),
        }


class Rule(NamedTuple):
    """Who may approve for one target, or admit. Names are of principals."""

    approvers: frozenset[str]
    threshold: int
    """Distinct principals that are needed."""
    max_life_s: int
    """The longest time from `issued_at` to `not_after`."""
    revokers: frozenset[str] = frozenset()
    """Who, besides a marker's own signers, may take markers back."""

    def to_json(self) -> dict[str, Json]:
        return {
            "approvers": canonical.texts(sorted(self.approvers)),
            "max_life_s": self.max_life_s,
            "revokers": canonical.texts(sorted(self.revokers)),
            "threshold": self.threshold,
        }


@dataclass(frozen=True)
class ApproversPolicy:
    """The whole of it. `admission` is None where nobody may admit."""

    principals: Mapping[str, Principal]
    targets: Mapping[str, Rule]
    admission: Rule | None = None

    def to_json(self) -> dict[str, Json]:
        return {
            "admission": self.admission.to_json() if self.admission is not None else None,
            "principals": {name: p.to_json() for name, p in self.principals.items()},
            "targets": {name: rule.to_json() for name, rule in self.targets.items()},
            "version": 1,
        }

    def digest(self) -> Digest:
        """Of the content; order, comments and spellings of the file do not count."""
        return self._digest

    @cached_property
    def _digest(self) -> Digest:
        return canonical.digest(self.to_json())


class Signed(NamedTuple):
    """A marker whose envelope was verified by the policy in force."""

    marker: Marker
    principals: tuple[str, ...]
    """Who signed, in order; exactly the marker's `approvers`."""
    digest: Digest
    """Of the envelope's bytes."""
    statement: Digest
    """Of the signed statement's bytes: the same however often and by what way it is posted."""
