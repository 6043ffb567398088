"""What a registry has about a digest, before anything is believed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from state.oci import Digest
from state.verdict import Refusal

BUNDLE_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_MAX_BYTES: Final = 10 * 1024 * 1024
"""A bundle larger than this is refused; Kyverno reads no larger one either (facts/oci-sigstore.md C.2)."""
CANDIDATES_MAX: Final = 200
"""The most referrers of one digest that are looked at."""


EVIDENCE_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of evidence about one digest that are held at once."""


class Layout(StrEnum):
    """Where and in which form a piece of evidence was found."""

    BUNDLE = "bundle"
    """A Sigstore bundle in a referrer manifest (cosign v3, GitHub attestations)."""
    HANDED_OVER = "handed-over bundle"
    """A Sigstore bundle that CI handed over beside the registry."""
    COSIGN_SIGNATURE = "cosign-v2-signature"
    """A layer of the tag `sha256-<hex>.sig`: a simple-signing payload with its signature in annotations."""
    COSIGN_ATTESTATION = "cosign-v2-attestation"
    """A layer of the tag `sha256-<hex>.att`: a DSSE envelope."""
    BUILDKIT = "buildkit"
    """An unsigned in-toto statement of an attestation manifest inside the index."""
    SBOM = "sbom"
    """An unsigned SBOM referrer (`application/spdx+json`, `application/vnd.cyclonedx+json`)."""


class Found(NamedTuple):
    """One piece of evidence: its bytes as the registry gave them, checked against their digest, or as a file had them.

    `manifest` is the manifest that holds it, or would hold it once attached; `media_type` and `annotations` are the
    layer's.
    """

    layout: Layout
    manifest: Digest
    media_type: str
    raw: bytes
    annotations: Mapping[str, str]


class Failed(NamedTuple):
    """A piece of evidence that could not even be read as such: a reason that counts as a refusal."""

    refusal: Refusal
    text: str
    manifest: Digest | None = None


class Evidence(NamedTuple):
    """All that was found about one digest; order is the registry's."""

    found: tuple[Found, ...]
    failed: tuple[Failed, ...] = ()


class Refused(Exception):  # a judgement, not an error of this program
    """Evidence does not count, and why. Raised inside `reconciler.evidence` only; a verdict carries it out."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(f"{refusal.value}: {text}")
        self.refusal = refusal
        self.text = text
