"""Which pull requests count (pure).

Two pull requests at one head share its tags, so they are one piece of work. A pull request that is not admitted (a
fork without an `admit` marker, another base branch) is left out of it: it can neither start nor block anything. The
hold label on any admitted one holds the head.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from state.git import CommitId
from state.hold import Reason
from state.observed import PullRequest, Snapshot
from state.plan import Hold


class Head(NamedTuple):
    """One head commit and the admitted open pull requests that have it, ascending by number."""

    commit: CommitId
    pull_requests: tuple[PullRequest, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(pr.number for pr in self.pull_requests)


class Admission(NamedTuple):
    """The heads to work on, newest pull request first, and why the others are held."""

    heads: tuple[Head, ...]
    holds: tuple[Hold, ...]


def admit(seen: Snapshot) -> Admission:
    """Sort the listing into heads to work on and holds.

    An incomplete listing holds everything: what it does show may be half of the truth (design invariant 2).
    """
    holds: list[Hold] = []
    by_head: defaultdict[CommitId, list[PullRequest]] = defaultdict(list)
    for pr in seen.listing.pull_requests:
        if (reason := _refused(pr, seen)) is not None:
            holds.append(Hold(pr.head, None, reason, (pr.number,)))
        else:
            by_head[pr.head].append(pr)
    heads: list[Head] = []
    newest_first = sorted(by_head.items(), key=lambda item: -max(pr.number for pr in item[1]))
    for commit, prs in newest_first:
        head = Head(commit, tuple(sorted(prs, key=lambda pr: pr.number)))
        label = seen.policy.hold_label
        if label is not None and any(label in pr.labels for pr in prs):
            holds.append(Hold(commit, None, Reason.HOLD_LABEL, head.numbers))
        elif len(heads) >= seen.policy.max_heads:
            holds.append(Hold(commit, None, Reason.OVER_MAX_HEADS, head.numbers))
        else:
            heads.append(head)
    return Admission(tuple(heads), tuple(holds))


def _refused(pr: PullRequest, seen: Snapshot) -> Reason | None:
    if not seen.listing.complete:
        return Reason.LISTING_INCOMPLETE
    if seen.suspended:
        return Reason.SUSPENDED
    if pr.head_repository_id != seen.repository_id:
        fork = pr.head_repository_id
        if fork is None or (fork, pr.number, pr.head) not in seen.admitted_forks:
            return Reason.FORK_NOT_ADMITTED
    if pr.base not in seen.policy.base_branches:
        return Reason.BASE_NOT_PREVIEWED
    return None
