"""Which tags of closed pull requests are removed: a pure function of one look, the standing marks and a policy.

Only tags that our log recorded are candidates. Everything that is not known for sure keeps a tag: an open head, another
digest than the recorded one, a read that failed. Never a manifest is deleted, and a tag that is the last one of its
digest stays unless that was asked for, and stays anyway where the digest was ever proposed to GitOps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from state.git import CommitId
from state.history import Cell
from state.observed import Absent, Present, TagState
from state.oci import Digest, Repository, Tag


class Custody(NamedTuple):
    """One tag that the log recorded, and the tombstone that ended our custody of it."""

    repository: Repository
    head: CommitId
    digest: Digest
    pull_requests: tuple[int, ...]
    ended: CommitId

    @property
    def cell(self) -> Cell:
        return self.repository, self.head

    def __str__(self) -> str:
        return f"{self.repository}:{self.head}"


class Mark(NamedTuple):
    """A tag that a complete look found removable; `ended` says by which tombstone it was a candidate then."""

    repository: Repository
    head: CommitId
    digest: Digest
    ended: CommitId
    seen_at: datetime
    entry: str


@dataclass(frozen=True, slots=True)
class Policy:
    """How much is removed at once, and whether the last tag of a digest may be."""

    grace_s: int
    max_deletes: int
    last_tags: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """One look. A candidate that is not in `tags` was not read."""

    complete: bool
    """Whether the listing of open pull requests was; without it nothing is done."""
    why: str
    open_heads: frozenset[CommitId]
    tags: Mapping[Cell, TagState]
    beside: Mapping[Cell, Tag | None]
    """Candidate → another tag of its digest that stays; None where there surely is none, no entry where that is not
    known."""
    refusing: Mapping[str, str]
    """Registry host → why no tag can be removed there."""
    on_base: frozenset[CommitId]
    """Heads that a base branch has as its own commits: a fast-forward made the tag the base's."""
    published: frozenset[CommitId]
    """Heads that were proposed to GitOps."""


class Reason(StrEnum):
    """Why a tag is treated as it is. Closed: each has its line in docs/janitor.md."""

    DUE = "due"
    CLOSED = "closed"
    IN_GRACE = "in-grace"
    OVER_THE_CAP = "over-the-cap"
    OPEN_HEAD = "open-head"
    ON_BASE = "on-base"
    MOVED = "moved"
    GONE = "gone"
    UNKNOWN = "unknown"
    LAST_TAG = "last-tag"
    PUBLISHED = "published"
    HOST_REFUSES = "host-refuses"
    INCOMPLETE = "incomplete"


class Act(StrEnum):
    REMOVE = "remove"
    MARK = "mark"
    KEEP = "keep"


class Ruling(NamedTuple):
    custody: Custody
    act: Act
    reason: Reason
    why: str
    beside: Tag | None = None
    mark: Mark | None = None


class Decision(NamedTuple):
    """Rulings in order of repository and head, and the marks that are taken back, each with why."""

    complete: bool
    why: str
    rulings: tuple[Ruling, ...]
    withdrawn: tuple[tuple[Mark, str], ...]

    def acts(self, act: Act) -> tuple[Ruling, ...]:
        return tuple(r for r in self.rulings if r.act is act)

    @property
    def is_noop(self) -> bool:
        return not self.withdrawn and all(r.act is Act.KEEP for r in self.rulings)


_STANDS = frozenset({Reason.DUE, Reason.IN_GRACE, Reason.OVER_THE_CAP, Reason.UNKNOWN, Reason.CLOSED})
"""Reasons under which a mark goes on to stand."""


def decide(candidates: Iterable[Custody], seen: Seen, policy: Policy, now: datetime, marks: Iterable[Mark]) -> Decision:
    """What is done now, and why; equal sets give equal decisions, in whatever order they come."""
    ordered = sorted(candidates, key=lambda c: (c.repository, c.head))
    if not seen.complete:
        rulings = tuple(Ruling(c, Act.KEEP, Reason.INCOMPLETE, seen.why) for c in ordered)
        return Decision(False, seen.why, rulings, ())
    standing = {(m.repository, m.head): m for m in marks}
    made = []
    for custody in ordered:
        mark = standing.get(custody.cell)
        if mark is not None and (mark.digest, mark.ended) != (custody.digest, custody.ended):
            mark = None  # the head was taken up again since: it starts afresh
        made.append(_ruling(custody, seen, policy, now, mark))
    due = sorted(
        (r for r in made if r.act is Act.REMOVE and r.mark is not None),
        key=lambda r: (r.mark.seen_at if r.mark is not None else now, r.custody.repository, r.custody.head),
    )
    over = {r.custody.cell for r in due[policy.max_deletes :]}
    rulings = tuple(
        r._replace(act=Act.KEEP, reason=Reason.OVER_THE_CAP, why="as many as one run may remove come before it")
        if r.custody.cell in over
        else r
        for r in made
    )
    holding = {r.mark for r in rulings if r.mark is not None and r.reason in _STANDS}
    why = {r.custody.cell: r.why for r in rulings}
    withdrawn = tuple(
        (mark, why.get(cell, "our log has it no more as a tag of a closed pull request"))
        for cell, mark in sorted(standing.items())
        if mark not in holding
    )
    return Decision(True, "", rulings, withdrawn)


def _ruling(custody: Custody, seen: Seen, policy: Policy, now: datetime, mark: Mark | None) -> Ruling:
    beside = seen.beside.get(custody.cell)

    def keep(reason: Reason, why: str) -> Ruling:
        return Ruling(custody, Act.KEEP, reason, why, beside, mark)

    if custody.head in seen.open_heads:
        return keep(Reason.OPEN_HEAD, "an open pull request has this head")
    if custody.head in seen.on_base:
        return keep(Reason.ON_BASE, "a base branch has this commit as its own: the tag is the base's")
    if (why := seen.refusing.get(custody.repository.host)) is not None:
        return keep(Reason.HOST_REFUSES, why)
    match seen.tags.get(custody.cell):
        case None:
            return keep(Reason.UNKNOWN, "not read in this run")
        case Absent():
            return keep(Reason.GONE, "there is no such tag")
        case Present(digest):
            if digest != custody.digest:
                return keep(Reason.MOVED, f"recorded {custody.digest.short}, found {digest.short}: it is not ours")
        case unknown:
            return keep(Reason.UNKNOWN, unknown.why)
    if custody.cell not in seen.beside:
        return keep(Reason.UNKNOWN, "whether another tag has this digest could not be read within bounds")
    if beside is None:
        if custody.head in seen.published:
            return keep(Reason.PUBLISHED, "the only tag of a digest that was proposed to GitOps")
        if not policy.last_tags:
            return keep(Reason.LAST_TAG, "the only tag of its digest: a registry may collect what has none")
    if mark is None:
        return Ruling(custody, Act.MARK, Reason.CLOSED, "its pull requests are closed", beside)
    if now - mark.seen_at < timedelta(seconds=policy.grace_s):
        return keep(Reason.IN_GRACE, f"marked at {mark.seen_at:%Y-%m-%dT%H:%M:%SZ}, removed after {policy.grace_s} s")
    return Ruling(custody, Act.REMOVE, Reason.DUE, "its pull requests are closed", beside, mark)
