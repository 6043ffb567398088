"""What proves an image: who verifies, makes and signs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from state.git import CommitId
from state.oci import Digest, Manifest, Repository
from state.verdict import Verdict


class Purpose(StrEnum):
    """What a digest is to be relied on for; each has its own policy (`verification.*`)."""

    BASELINE = "baseline"
    PULL_REQUEST = "pull_request"


class Verifier(Protocol):
    """Whether a digest may be relied on."""

    def policy(self, purpose: Purpose) -> Digest:
        """The digest of the policy in force for `purpose`."""

    def verify(
        self, purpose: Purpose, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> Verdict:
        """Accepted, refused with a reason, or unchecked (level `none`). A check that cannot run is Transient."""


class Releases(Protocol):
    """Release sets that were published before, for a start without a log."""

    def digests(self, head: CommitId) -> Mapping[Repository, Digest] | None:
        """Image repository → digest of the head's release set, if we signed it; None if there is none of ours.

        Raises Transient or Denied.
        """


class HandedFile(NamedTuple):
    """A file that CI handed over about one digest; `raw` is empty where it cannot be used, and `problem` says why."""

    name: str
    raw: bytes
    problem: str = ""


class HandOver(Protocol):
    """Evidence that CI hands over beside the registry, by digest. What is in it is judged by the caller."""

    def files(self, digest: Digest, suffix: str) -> Sequence[HandedFile]:
        """The files about `digest` whose names end with `suffix`, by name; empty where none are.

        Raises Unavailable if it cannot be read at all.
        """


class SbomMaker(Protocol):
    """Makes an SBOM of what is in an image."""

    def make(self, repository: Repository, manifest: Manifest) -> bytes:
        """An SPDX 2.3 document (JSON) of the image with this manifest, of one platform. Two calls may give two.

        Raises Transient where the registry or the program does not answer in time, Terminal where the image is too
        large or the program fails, ConfigError if it cannot be started.
        """


class BuildRequest(NamedTuple):
    """One platform of an image to build: everything that decides what comes out."""

    context: Path
    """Directory with the build context."""
    file: Path
    """The Dockerfile; it may lie outside the context."""
    platform: str
    """Such as linux/arm64."""
    created_s: int
    """Seconds since 1970: what the image, and every file that the build makes, says of its time."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Build arguments, (name, value) in the order in which the builder gets them."""
    bases: tuple[str, ...] = ()
    """The images that may be pulled for it, `host/path[:tag]@digest`; no others, whatever the file or a base says."""


class ImageBuilder(Protocol):
    """Builds images. Whose code runs in the process of building is the caller's risk to take."""

    def build(self, request: BuildRequest, layout: Path, told: Callable[[str], None]) -> None:
        """Build one platform and write it as an OCI image layout with one image into the new directory `layout`.

        `told` gets lines of the builder's output. Raises Terminal where the build fails, ConfigError where the builder
        cannot be used, Unavailable where it does not end in time.
        """


class EvidenceSigner(Protocol):
    """Signs statements of ours (SBOMs, verification summaries, release sets)."""

    def sign(self, statement: bytes) -> bytes:
        """A Sigstore bundle v0.3 (JSON bytes) with `statement` in a DSSE envelope, `application/vnd.in-toto+json`.

        Raises Transient if an authority does not answer, Denied if it refuses us, ConfigError if the key or token
        cannot be used. Two calls give two bundles: look up before signing.
        """

    def name(self) -> str:
        """Who signs, for records: the key's fingerprint, or the certificate identity."""


class Signer(Protocol):
    """Signs the log's commits (SSHSIG, namespace `git`)."""

    def public_key(self) -> str:
        """The OpenSSH public key line without a comment: `ssh-ed25519 AAAA…`."""

    def sign(self, payload: bytes) -> str:
        """The armoured SSH signature of `payload`. Source: OpenSSH PROTOCOL.sshsig."""


class Markers(Protocol):
    """Channels that carry signed markers. Transport only: what arrives here is verified by the caller."""

    def pending(self) -> Sequence[bytes]:
        """The envelopes that wait, each bounded in size; the same one may be returned again."""

    def done(self, markers: Iterable[Digest]) -> None:
        """These envelopes were recorded or will never count: a channel that keeps its own may forget them."""
