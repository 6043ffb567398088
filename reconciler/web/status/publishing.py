"""Approvals and GitOps pull requests of one repository, as the last pass left them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from reconciler.approval.codes import MEANING, Code
from reconciler.shown import Approval, Planned, Published
from state.canonical import Json, texts
from state.oci import Digest
from state.publishing import FINAL, ProposalState, Standing

T = TypeVar("T")
ROWS_PER_PAGE: Final = 100


class Became(StrEnum):
    """What became of a recorded marker."""

    REVOKED = "revoked"
    CONSUMED = "consumed"
    """It was used for a GitOps pull request."""
    REFUSED = "refused"
    ADMITS = "admits"
    """It lets a fork's head in; it approves nothing."""
    WAITS = "waits"
    """For others, or for the next pass."""
    PASSED_OVER = "passed over"
    """Its plan is not the one that holds now."""


def became(approval: Approval, published: Published) -> Became:
    if approval.revoked_by is not None:
        return Became.REVOKED
    if approval.consumed_by is not None:
        return Became.CONSUMED
    if approval.code:
        return Became.REFUSED
    if approval.marker.plan is None:
        return Became.ADMITS
    return Became.WAITS if approval.marker.plan in published.holding else Became.PASSED_OVER


def remedy(approval: Approval) -> str | None:
    """What a person can do about an approval that does not count."""
    return MEANING[Code(approval.code)].remedy if approval.code else None


def by_plan(published: Published) -> dict[Digest, Standing]:
    """The GitOps pull request of each plan that has one, the newest."""
    return {s.proposal.plan: s for s in reversed(published.proposals)}


def cut(rows: Sequence[T], page: int) -> tuple[Sequence[T], int]:
    """The rows of a page, and how many pages there are. Behind the last one there are none."""
    return rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE], max(1, -(-len(rows) // ROWS_PER_PAGE))


def live_first(proposals: tuple[Standing, ...]) -> tuple[Standing, ...]:
    """Those that may still need something before those that are over; newest first in each."""
    return tuple(sorted(proposals, key=lambda s: s.state in FINAL))


def approvals_json(plans: Iterable[Planned], approvals: Iterable[Approval], published: Published) -> dict[str, Json]:
    return {
        "approvals": [_approval(a, became(a, published)) for a in approvals],
        "plans": [_plan(p) for p in plans],
    }


def proposals_json(proposals: Iterable[Standing]) -> list[Json]:
    return [_proposal(s) for s in proposals]


def counts(proposals: tuple[Standing, ...]) -> list[tuple[ProposalState, int]]:
    """How many stand where, of those states that occur."""
    found = [(state, sum(s.state is state for s in proposals)) for state in ProposalState]
    return [(state, count) for state, count in found if count]


def _approval(approval: Approval, result: Became) -> dict[str, Json]:
    marker = approval.marker
    return {
        "became": result.value,
        "code": approval.code,
        "entry": marker.entry,
        "id": marker.id,
        "kind": marker.kind,
        "plan": marker.plan,
        "pr": approval.pull_request,
        "principals": texts(marker.principals),
        "target": approval.target,
        "told": approval.told,
    }


def _plan(plan: Planned) -> dict[str, Json]:
    return {
        "edits": None if plan.plan is None else len(plan.plan.edits),
        "head_sha": None if plan.plan is None else plan.plan.head,
        "plan": plan.digest,
        "pr": plan.pull_request,
        "target": plan.target,
        "why": plan.why,
    }


def _proposal(standing: Standing) -> dict[str, Json]:
    proposal = standing.proposal
    return {
        "approvals": texts(proposal.approvals),
        "branch": proposal.branch,
        "change": standing.change,
        "head_sha": proposal.head,
        "intent": standing.intent,
        "plan": proposal.plan,
        "pr": proposal.pull_request,
        "state": standing.state.value,
        "target": proposal.target,
        "why": standing.why,
    }
