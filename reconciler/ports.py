"""The seams to everything outside: one Protocol per capability, readers and writers apart.

The docstrings are the contract; `tests/contract` holds every implementation to them. All calls block. Absence is None,
never an error. Errors are the families of `state.errors`:

* Transient    no usable answer in time, 429, 5xx: the same call may succeed later
* Denied       the credential does not allow it
* IntegrityError   bytes do not have the digest that names them
* Terminal     anything else that the same input will meet again
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from state.canonical import Json
from state.change import ChangeRecord
from state.entry import Kind, Logged
from state.git import CommitId, RefName
from state.observed import Catalogue, Image, Inventory, Listing, PullRequest
from state.oci import Descriptor, Digest, Manifest, Repository, Tag
from state.quarantine import Acceptance
from state.verdict import Verdict

T = TypeVar("T")
R = TypeVar("R")


# --- time, chance and work: injected, so that the loop runs under simulation -----------------------------------------


class Clock(Protocol):
    """Wall time for records, monotonic time for waiting."""

    def now(self) -> datetime:
        """The current UTC time, timezone-aware."""

    def monotonic_s(self) -> float:
        """Seconds that never go backwards; only differences mean anything."""


class Random(Protocol):
    """Chance, for jitter and identifiers; never for anything that a plan depends on."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""

    def token(self) -> str:
        """16 fresh hex digits."""


class Executor(Protocol):
    """Runs independent blocking calls side by side."""

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R | Exception]:
        """Each item's result, or the Exception it raised, in the order of the items. Never raises one itself."""


# --- the forge -------------------------------------------------------------------------------------------------------


class RepositoryIdentity(NamedTuple):
    """The immutable numeric id and the current name, which is for people."""

    id: int
    name: str


class ForgeReader(Protocol):
    """Open pull requests of one code repository. Source: design §9."""

    def repository(self) -> RepositoryIdentity:
        """Who this repository is. Raises Terminal if it does not exist: a 404 never means "no pull requests"."""

    def open_pull_requests(self) -> Listing:
        """Every open pull request, ascending by number; `complete` is False if any page or record was lost.

        Raises Transient or Denied if nothing could be read.
        """

    def pull_request(self, number: int) -> PullRequest | None:
        """One *open* pull request, never from a cache; None if it is closed or does not exist.

        Used right before a write: the answer is as fresh as the forge gives it.
        """

    def head_of(self, number: int) -> CommitId | None:
        """The head by the second witness, the git ref of the pull request; may differ from `pull_request`."""

    def merged(self, number: int) -> bool | None:
        """Whether a pull request was merged; False for one that is open or was closed, None if there is none.

        Never from a cache. Raises Transient or Denied.
        """

    def ref_of(self, number: int) -> RefName:
        """The git ref of a pull request's head, for fetching (`refs/pull/<n>/head`); asks nobody."""

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        """The numeric id of who last pushed `head` to the pull request's branch; None where the forge does not tell.

        Never from a cache, and never guessed: not the author of the commit, nor of the pull request. None for a fork,
        for a pull request that is not open at `head`, and for a push beyond the newest LAST_PUSHES_MAX.

        Raises Transient, Denied or Terminal where the forge cannot be asked.
        """


LAST_PUSHES_MAX: Final = 100
"""How many of a branch's newest pushes are looked at for who pushed a head."""


class Permission(StrEnum):
    """What a person may do in a repository, coarse enough for every forge."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ForgePeople(Protocol):
    """Who may do what, asked by numeric id: a login can be given up and taken by somebody else."""

    def permission(self, user_id: int) -> Permission:
        """What the user with this id may do in the repository now, never from a cache; NONE for one unknown to it.

        Raises Transient, Denied, or Terminal if the forge answers about another user.
        """


class LabelWriter(Protocol):
    """Labels of pull requests of the code repository (label mode, design §10). Both are idempotent."""

    def add_label(self, number: int, label: str) -> None:
        """Have `label` on an open pull request. Raises Terminal if there is no such pull request."""

    def remove_label(self, number: int, label: str) -> None:
        """Have `label` not on it; one that is not on it, or a pull request that is not there, changes nothing."""


class PreviewRefresh(Protocol):
    """Whoever makes previews from our answer."""

    def refresh(self) -> None:
        """Have it ask again now, not at its next turn. Raises Transient, Denied, Terminal or ConfigError."""


class Change(NamedTuple):
    """A pull request that we opened, or that has the branch we would use."""

    number: int
    branch: RefName
    base: RefName
    open: bool
    title: str
    body: str
    merged: bool = False
    """Whether it was merged; then it is not open."""


class ForgeWriter(Protocol):
    """Pull requests that we open (GitOps). Finding comes before creating."""

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        """Every pull request, open or closed, from `branch` to `base`, ascending by number."""

    def open_change(self, branch: RefName, base: RefName, title: str, body: str) -> Change:
        """Open one, or return the one that is open already (a conflict is a normal answer, adopted)."""

    def update_change(self, number: int, *, title: str, body: str) -> None:
        """Replace title and body."""

    def close_change(self, number: int, reason: str) -> None:
        """Close it and say why; closing a closed one changes nothing."""


class StatusState(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"


class StatusReporter(Protocol):
    """One status per head, replaced in place; re-derived output, never input."""

    def report(self, head: CommitId, state: StatusState, summary: str) -> None:
        """Set the status of `head`. `summary`'s first line is at most 140 characters. Raises Transient or Denied."""


# --- git and GitOps --------------------------------------------------------------------------------------------------


class Git(Protocol):
    """The code repository's objects, for reading. Every argument is a full commit id; results are immutable facts."""

    def branch_tip(self, branch: RefName) -> CommitId | None:
        """The remote's tip of `branch` now, its objects fetched; None if the remote has no such branch."""

    def fetch(self, commit: CommitId, ref: RefName) -> None:
        """Have `commit` and its history. Fetched as exactly this id, or by `ref` if the server refuses ids.

        Raises StaleObservation if `ref` no longer leads to `commit`, Transient if the remote does not answer.
        """

    def catalogue(self, commit: CommitId) -> Catalogue:
        """The validated catalogue at `commit`. Raises ConfigError naming every problem, each with its path."""

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        """Which images `head` changes against `base`, by input fingerprints (design §3). Raises Transient."""

    def faithful_commits(
        self, image: Image, base: CommitId, merge_base: CommitId, fingerprint: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        """Commits of first-parent `base` history, from `merge_base` back, whose inputs equal `fingerprint`.

        Newest first, ending at the first commit that differs, at most `limit`.
        """

    def retain(self, commits: frozenset[CommitId]) -> None:
        """Let go of what only other commits need: it may be pruned, and is fetched again if it is asked for."""


class GitOps(Protocol):
    """The GitOps repository, for reading."""

    def inventory(self) -> Inventory:
        """Which components are previewed, at the trusted ref's tip. Raises ConfigError or Transient."""

    def ref_name(self) -> str:
        """The trusted ref, for messages."""


class GitOpsWriter(Protocol):
    """Branches of one GitOps repository, read and written without a work tree. Nothing is forced, nothing deleted."""

    def tip(self, branch: RefName) -> CommitId | None:
        """The remote's tip of `branch` now, its commits fetched; None if there is no such branch.

        Raises Transient or Denied.
        """

    def files(self, commit: CommitId, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The bytes of these regular files at a fetched commit; those that are not there are left out.

        Raises ConfigError for a path that is a directory, a symbolic link or a submodule, or a file beyond 4 MiB.
        """

    def commit(self, parents: Sequence[CommitId], files: Mapping[str, bytes], message: str, at: int) -> CommitId:
        """The id of a signed commit: the first parent's tree with `files` replaced. Not pushed.

        Equal arguments give the same id: `at` (seconds since 1970) is both of its times. Only files that are there
        are replaced. Raises ConfigError for one that is not.
        """

    def changed(self, base: CommitId, commit: CommitId) -> tuple[str, ...]:
        """The paths that differ between the trees of two fetched or made commits, in order; at most 10,000."""

    def merges(self, base: CommitId, commit: CommitId) -> bool:
        """Whether `commit` merges into `base` without a conflict (true where it is already in it)."""

    def contains(self, commit: CommitId, ancestor: CommitId) -> bool:
        """Whether `ancestor` is `commit` or in its history."""

    def push(self, branch: RefName, commit: CommitId, confirm: Callable[[], None] | None = None) -> None:
        """Have `commit` as the tip of `branch` at the remote, by creating it or by fast-forward; never by force.

        Judged by what the server says of the ref. `confirm` is called right before it is sent. A branch that is there
        already at `commit` is a success. Raises StaleObservation if the branch is elsewhere, Denied, Transient.
        """


class LaneWriter(GitOpsWriter, Protocol):
    """A `GitOpsWriter` that may also add files and take them away, which pins never need."""

    def committed_at(self, commit: CommitId) -> int:
        """When a fetched commit was made, as it says itself: seconds since 1970, 0 for a time before that."""

    def commit_files(
        self, parents: Sequence[CommitId], files: Mapping[str, bytes | None], message: str, at: int
    ) -> CommitId:
        """As `commit`; files that are not there are added, and those whose content is None are removed.

        Raises ConfigError where something else than a regular file is in the place of one, or one that is to be
        removed is not there.
        """


# --- the registry ----------------------------------------------------------------------------------------------------


REFERRERS_MAX: Final = 1000


class Referrer(NamedTuple):
    """One entry of a referrers list. `annotations` are the descriptor's."""

    descriptor: Descriptor
    artifact_type: str
    annotations: Mapping[str, str]


class RegistryReader(Protocol):
    """Manifests and tags by the OCI distribution-spec v1.1.1. Every read is bounded in bytes, pages and time."""

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        """The digest behind `tag` by HEAD; None on a 404, which alone is not proof of absence (design invariant 2)."""

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """The exact bytes and media type; None on a 404.

        Raises IntegrityError if the bytes have another digest than the one asked for or announced,
        Terminal if they are more than MANIFEST_MAX_BYTES.
        """

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        """Every tag, in the registry's order, without duplicates; None on a 404. Follows Link, never loops."""


TAGS_PER_PUT: Final = 10
"""The most tags that every registry which knows of several in one request takes. Source: distribution-spec main."""


class RegistryWriter(Protocol):
    """Writing tags."""

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        """Store `manifest` under `tag`, byte for byte, with its own media type.

        An existing tag is overwritten: whether that may happen is the caller's decision. `confirm` is called right
        before each request is sent, after every wait for a turn: what it raises is raised, and nothing is sent.
        Returns only on a 201 (or 200) whose `Docker-Content-Digest` is the manifest's. Source: distribution-spec
        v1.1.1, end-7.

        Raises:
            IntegrityError: the registry answers with another digest.
            Denied: 401 or 403 after one fresh token.
            Transient: 408, 429, 5xx, or no answer in time. The write may or may not have happened.
        """

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag]:
        """Store `manifest` under all `tags` (at most TAGS_PER_PUT) in one request; those the registry confirmed.

        A tag that is not in the answer was not written: put it by itself. None is confirmed by a registry that does not
        know such a request. Raises as `put_manifest`, for all tags alike. Source: distribution-spec main (2026), end-7
        with `?tag=` and `OCI-Tag`.
        """


class TagRemover(Protocol):
    """Taking tags away, one at a time."""

    def untag(self, repository: Repository, tag: Tag, confirm: Callable[[], None] | None = None) -> bool:
        """Remove one tag; False if there was none. Whether its digest keeps its other tags is the registry's doing:
        measure it first. `confirm` as in `put_manifest`. Source: distribution-spec v1.1.1, "Deleting Tags".

        Raises Unsupported if the registry does not remove tags, Denied, Transient (it may be gone or not).
        """


class ArtifactReader(Protocol):
    """What is attached to digests, and the bytes of it."""

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """See RegistryReader."""

    def referrers(self, repository: Repository, subject: Digest) -> Sequence[Referrer]:
        """Everything that is attached to `subject`: the referrers API, and the tag `sha256-<hex>` beside it.

        Both are read and merged by digest, since a registry may have learned the API after others wrote the tag; a
        registry without the API (404, 303, 405, 429, HTML) is read by the tag alone. Entries without a known type
        are returned with an empty `artifact_type`, never dropped. Empty where nothing is there.

        Raises Terminal beyond REFERRERS_MAX entries, Transient or Denied if neither way gives a usable answer.
        Source: distribution-spec v1.1.1, "Listing Referrers" and "Unavailable Referrers API".
        """

    def blob(self, repository: Repository, digest: Digest, max_bytes: int) -> bytes | None:
        """A blob's bytes, checked against `digest`; None on a 404.

        Raises IntegrityError for other bytes, Terminal as soon as more than `max_bytes` come. A redirect to a storage
        host is followed without the credential; nothing is read from a descriptor's `urls`.
        """


class BlobReader(Protocol):
    """Blobs that are too large to be held."""

    def save_blob(self, repository: Repository, wanted: Descriptor, target: Path, until_s: float) -> None:
        """Write a blob's bytes to the new file `target`, checked against digest and size of `wanted`.

        `until_s` is the monotonic time at which it is given up. Raises IntegrityError for other bytes, Terminal where
        it is not there, Unavailable where it does not end in time; then `target` is of no use. Redirects as `blob`.
        """


class ArtifactWriter(Protocol):
    """Attaching artifacts to digests (distribution-spec v1.1.1, "Pushing Manifests with Subject")."""

    def put_blob(self, repository: Repository, raw: bytes, confirm: Callable[[], None] | None = None) -> Descriptor:
        """Store `raw` (nothing is sent if it is there already); its descriptor as `application/octet-stream`.

        `confirm` and errors as `RegistryWriter.put_manifest`.
        """

    def put_artifact(
        self,
        repository: Repository,
        manifest: Manifest,
        subject: Digest,
        referrer: Referrer,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        """Store `manifest` by its digest as a referrer of `subject`, so that every reader finds it.

        Where the registry does not list it itself (no `OCI-Subject`, or no referrers API), `referrer` is merged into
        the index at the tag `sha256-<hex>`: read, merge, write, read again, until it is in it, with every other
        writer's entry and unknown field kept. An index that cannot be parsed is never replaced. Returns when
        `manifest` is found by `referrers`, or its presence was confirmed by `OCI-Subject` and the API.

        Raises IntegrityError, Denied, Transient as `RegistryWriter.put_manifest`, Terminal for an unreadable index.
        """


class ImageWriter(Protocol):
    """The parts of an image, by their digests: seen by nobody who asks for a tag."""

    def may_push(self, repository: Repository) -> bool:
        """Whether the credential may begin an upload there. Raises Transient."""

    def put_blob_file(
        self, repository: Repository, wanted: Descriptor, file: Path, until_s: float, confirm: Callable[[], None]
    ) -> None:
        """Store the bytes of `file`, which are those of `wanted` (nothing is sent if they are there already).

        `until_s` is the monotonic time at which it is given up. `confirm` and errors as `RegistryWriter.put_manifest`;
        a transfer that broke off is begun anew by the next call.
        """

    def put_untagged(self, repository: Repository, manifest: Manifest, confirm: Callable[[], None]) -> None:
        """Store `manifest` by its digest alone. `confirm` and errors as `RegistryWriter.put_manifest`."""


# --- evidence --------------------------------------------------------------------------------------------------------


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


# --- what is remembered and told -------------------------------------------------------------------------------------


class LogStore(Protocol):
    """The append-only log of one (repository, role). Appends are compare-and-swap, signed and fsynced."""

    def entries(self) -> Iterable[Logged]:
        """Every entry, oldest first."""

    def read(self, entry: CommitId) -> Logged:
        """One entry by its id. Raises IntegrityError if it is not one."""

    def blob(self, oid: str) -> bytes:
        """An observation blob. Raises IntegrityError if it is missing or too large."""

    def tip(self) -> CommitId | None:
        """The id of the newest entry."""

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        """Append one entry after the tip this writer knows; when it returns, the entry is on disk.

        Raises LedgerMoved if another writer appended first, Fenced if this writer's epoch is over.
        """

    def confirm(self) -> None:
        """Pass if the branch here still ends with the entry that this writer appended last. Cheap: one ref is read.

        Raises LedgerMoved or Fenced if another writer appended, LogRollback if the branch lost entries.
        """

    def push(self) -> bool:
        """Bring the remote up to the tip; False where no remote is configured.

        Raises Transient if the remote does not answer, Fenced if it refuses (the tail is saved first).
        """


class Acceptances(Protocol):
    """What operators handed over about quarantined heads (`ameide head accept`), for one repository."""

    def pending(self) -> Sequence[Acceptance]:
        """What was handed over and not taken up yet. Raises Terminal if it cannot be believed."""

    def done(self, acceptance: Acceptance) -> None:
        """Forget one that was taken up, or that came too late."""


class Metrics(Protocol):
    """Numbers about this process, with a fixed set of names and bounded labels."""

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""

    def timed(self, name: str, **labels: str) -> AbstractContextManager[None]:
        """Observe how long the block takes."""
