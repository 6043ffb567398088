"""The code repository and the GitOps repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from state.change import ChangeRecord
from state.git import CommitId, RefName
from state.observed import Catalogue, Image, Inventory
from state.oci import Digest


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
