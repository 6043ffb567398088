"""Which pull requests count (pure).

Two pull requests at one head share its tags, so they are one piece of work. A pull request that is not admitted is left
out of it: it can neither start nor block anything. The hold label on any admitted one holds the head.

A pull request is refused for one reason, the most fundamental first, so that the remedy that is told is the one that
comes first:

1. what is known of the whole repository: `listing-incomplete`, `suspended`;
2. where the head comes from: `fork-not-admitted`;
3. who wrote it: `author-outside`;
4. where it goes: `base-not-previewed`;
5. what its author says of it: `draft`, then `label-missing`.

Only then come `hold-label` and `over-max-heads`, which hold a head. An `admit` marker takes the place of 2 and 3, for
exactly the repository, number and head that it names, and of nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import Final, NamedTuple

from state.git import CommitId
from state.hold import Reason
from state.observed import Policy, PullRequest, Snapshot
from state.plan import Hold

REFUSALS: Final = frozenset(
    {
        Reason.FORK_NOT_ADMITTED,
        Reason.AUTHOR_OUTSIDE,
        Reason.BASE_NOT_PREVIEWED,
        Reason.DRAFT,
        Reason.LABEL_MISSING,
    }
)
"""What `refusal` gives: reasons that keep one pull request out, and leave others at its head alone."""


class Tier(StrEnum):
    """What the author of a pull request is to this repository, by numeric forge id; names and labels do not count."""

    MEMBER = "member"
    AGENT = "agent"
    """A bot or an agent: its pull requests are previewed, and it can never approve."""
    OUTSIDE = "outside"


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


def tier_of(pr: PullRequest, policy: Policy, repository_id: int) -> Tier:
    """The author's tier. Without `members`, who has a branch in the repository itself is one; a fork's author is not.

    Args:
        repository_id: the code repository's, to tell its own branches from those of forks.
    """
    if pr.author_id in policy.agents:
        return Tier.AGENT
    if policy.members is None:
        return Tier.MEMBER if pr.head_repository_id == repository_id else Tier.OUTSIDE
    return Tier.MEMBER if pr.author_id in policy.members else Tier.OUTSIDE


def _refused(pr: PullRequest, seen: Snapshot) -> Reason | None:
    if not seen.listing.complete:
        return Reason.LISTING_INCOMPLETE
    if seen.suspended:
        return Reason.SUSPENDED
    return refusal(pr, seen)


def refusal(pr: PullRequest, seen: Snapshot) -> Reason | None:
    """Why a pull request does not count by what it is itself, points 2 to 5 above; None if it does."""
    policy, origin = seen.policy, pr.head_repository_id
    if origin is None or (origin, pr.number, pr.head) not in seen.admitted_forks:
        if origin != seen.repository_id:
            return Reason.FORK_NOT_ADMITTED
        if tier_of(pr, policy, seen.repository_id) is Tier.OUTSIDE:
            return Reason.AUTHOR_OUTSIDE
    if pr.base not in policy.base_branches:
        return Reason.BASE_NOT_PREVIEWED
    if pr.draft and not policy.drafts:
        return Reason.DRAFT
    if not set(policy.labels).issubset(pr.labels):
        return Reason.LABEL_MISSING
    return None
