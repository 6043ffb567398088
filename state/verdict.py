"""What a verifier says of one digest, and under which policy it said so."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from state.oci import Digest


class Level(StrEnum):
    """How much proof a policy asks for (design: verification levels)."""

    PROVENANCE = "provenance"
    SIGNATURE = "signature"
    NONE = "none"


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCHECKED = "unchecked"
    """The configured level is `none`: nothing was proven, and it is shown as unproven everywhere."""


class Refusal(StrEnum):
    """Why evidence does not count: a closed list. Where several candidates fail, the one that came furthest is told."""

    NO_EVIDENCE = "no-evidence"
    """Nothing is attached to the digest."""
    UNSIGNED = "unsigned"
    """Only unsigned material is there, such as BuildKit's attestations or a plain SBOM."""
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    UNSUPPORTED = "unsupported"
    """A form of evidence that this program cannot verify; the text says which."""
    WRONG_SUBJECT = "wrong-subject"
    """The signed statement is about another digest."""
    BAD_SIGNATURE = "bad-signature"
    UNTRUSTED = "untrusted"
    """Signed by a key, an authority or a log that the configured authority does not know."""
    EXPIRED = "expired"
    """The certificate, or the trust in it, was not valid when it was used."""
    WRONG_PREDICATE = "wrong-predicate"
    WRONG_ISSUER = "wrong-issuer"
    WRONG_WORKFLOW = "wrong-workflow"
    WRONG_REPOSITORY = "wrong-repository"
    """Made for another source repository, by name or by numeric id."""
    WRONG_REF = "wrong-ref"
    WRONG_REVISION = "wrong-revision"
    WRONG_BUILDER = "wrong-builder"
    INCOMPLETE_INDEX = "incomplete-index"
    """The index lists manifests that the registry does not have, or not as it lists them."""


class Verdict(NamedTuple):
    """`accepted`, `refused` with a reason, or `unchecked`; with the digest of the policy it was reached under.

    `evidence` are the manifests of the accepted pieces, for the record. A piece that lies beside the registry is named
    by the manifest that it gets when it is attached.
    """

    outcome: Outcome
    policy: Digest
    reason: str = ""
    refusal: Refusal | None = None
    evidence: tuple[Digest, ...] = ()
    carried: tuple[Digest, ...] = ()
    """Digests of the bytes of accepted pieces that are no bundles at the registry yet: handed over by CI, or of an
    older layout."""
