"""What the checks remember: what each process was told by the world, and what the log says of each head."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.ports import Purpose
from state.git import CommitId, RefName
from state.observed import Listing, Mode, PullRequest
from state.oci import Digest, Repository
from state.verdict import Outcome
from tests.simulation.world import MAIN, RELEASE, REPOSITORY_ID, Cell


class Violation(BaseException):
    """An invariant is broken. Not an Exception, so that no product code can take it for a failed call."""

    def __init__(self, invariant: int, what: str) -> None:
        super().__init__(f"invariant {invariant}: {what}")
        self.invariant = invariant


@dataclass(slots=True)
class View:
    """What one process was told in its current pass, and since its newest log entry (the window of a batch)."""

    epoch: int
    mode: Mode = Mode.FILL
    suspended: bool = False
    listing: Listing | None = None
    tips: dict[RefName, CommitId] = field(default_factory=dict)
    shown: set[Repository] = field(default_factory=set)
    mains: set[tuple[Repository, Digest]] = field(default_factory=set)
    present: set[tuple[Repository, str, Digest]] = field(default_factory=set)
    asked: set[Cell] = field(default_factory=set)
    """Tags that were answered with 404 in this pass."""
    absent: set[Cell] = field(default_factory=set)
    """Tags that this process may take for absent: 404 in a pass in which their repository showed something."""
    verdicts: dict[tuple[Purpose, Repository, Digest], Outcome] = field(default_factory=dict)
    # the window
    missing: set[Cell] = field(default_factory=set)
    pulls: dict[int, PullRequest | None] = field(default_factory=dict)
    verified_now: set[tuple[Repository, Digest]] = field(default_factory=set)


@dataclass(slots=True)
class Chain:
    """What the log's decision entries say of one head."""

    images: dict[Repository, tuple[str, Digest | None, str]] = field(default_factory=dict)
    considered: set[tuple[Repository, RefName, CommitId]] = field(default_factory=set)
    """(image, base branch, its tip) of every comparison."""
    pinned_bases: frozenset[RefName] = frozenset()
    """Base branches of the admitted pull requests when it was pinned."""


def admitted(pr: PullRequest) -> bool:
    return pr.head_repository_id == REPOSITORY_ID and pr.base in (MAIN, RELEASE)
