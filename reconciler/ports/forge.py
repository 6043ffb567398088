"""The code forge: its pull requests, people, labels and statuses, and the pull requests that we open."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from state.git import CommitId, RefName
from state.observed import Listing, PullRequest


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
