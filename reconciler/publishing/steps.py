"""What a GitOps pull request of ours needs next (pure; design §7).

The order is of what is certain: what people did to it ends our part, whatever else holds; then it is closed if it is
obsolete; only what is still wanted is brought up to date.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from reconciler.approval.evaluate import SKEW_S
from state.git import CommitId, RefName
from state.oci import Digest
from state.publishing import Proposal, ProposalState, Standing


class Closed(NamedTuple):
    """How a pull request of the code repository ended."""

    merged: bool


class Unread(NamedTuple):
    """It could not be read: nothing follows from it."""


class Source(NamedTuple):
    """What the approval was for, as it is now."""

    pull_request: tuple[CommitId, RefName] | Closed | Unread
    """Head and base of the code repository's pull request while it is open."""
    revoked: tuple[str, ...]
    """Those of its approvals that were revoked."""
    quarantined: bool
    newest_plan: Digest | None
    """The plan for this pull request and target that was recorded last."""
    now: int
    """Seconds since 1970."""
    promotion: bool = False
    """The digests come from another environment, so the code repository's pull request may have any end."""


class Seen(NamedTuple):
    """What was just read about one GitOps pull request."""

    open: bool
    merged: bool
    """Then it is not open."""
    tip: CommitId | None
    """Of its branch."""
    in_place: bool
    """The base holds every pin of the plan."""
    clean: bool
    """The branch merges into the base."""
    obsolete: str | None


class End(NamedTuple):
    """Record what people did; our part is over."""

    state: ProposalState
    why: str


class Close(NamedTuple):
    """Close it, for this reason."""

    reason: str


class Update(NamedTuple):
    """Its branch no longer merges into the base: make the same edits on the base's new tip."""


NextStep: TypeAlias = End | Close | Update | None


def next_step(standing: Standing, seen: Seen) -> NextStep:
    """What an open GitOps pull request needs; None for nothing."""
    if seen.merged:
        return End(ProposalState.MERGED, "merged")
    if not seen.open:
        return End(ProposalState.DECLINED, "closed by a person")
    if seen.tip is not None and seen.tip not in standing.commits:
        return End(ProposalState.HANDS_OFF, f"its branch is at {seen.tip.short}, which is no commit of ours")
    if seen.obsolete is not None:
        return Close(seen.obsolete)
    if seen.in_place:
        return Close("the base branch holds these digests already")
    if seen.tip is not None and not seen.clean:
        return Update()
    return None


def obsolete(proposal: Proposal, source: Source) -> str | None:
    """Why a GitOps pull request is no longer wanted; None while it is.

    A code pull request that was merged leaves it open until its approval ends; one that was closed does not.
    """
    if source.revoked:
        return f"its approval {source.revoked[0]} was revoked"
    if source.quarantined:
        return f"a tag of {proposal.head} was moved or removed: the head is in quarantine"
    if source.now > proposal.not_after + SKEW_S:
        return "its approval has ended"
    match source.pull_request:
        case (head, base):
            if head != proposal.head:
                return f"pull request #{proposal.pull_request} has a new head, {head}"
            if base != proposal.approved_base:
                return f"pull request #{proposal.pull_request} is for another base branch now, {base.short}"
        case Closed(merged=False) if not source.promotion:
            return f"pull request #{proposal.pull_request} was closed without being merged"
        case _:
            pass
    if source.newest_plan is not None and source.newest_plan != proposal.plan:
        return f"plan {source.newest_plan} took the place of this one and needs an approval of its own"
    return None
