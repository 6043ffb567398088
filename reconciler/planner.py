"""Snapshot → Plan: the one place that decides what a pass does (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

from reconciler.admission import admit
from reconciler.heads import Examiner, Work
from reconciler.judgement import Fill, Held, Take
from state.git import CommitId
from state.hold import Reason
from state.observed import Mode, Recorded, Snapshot
from state.plan import Action, Adopt, EndHead, Hold, Plan, QuarantineHead, Release, Retag
from state.quarantine import Breach
from state.verdict import Outcome, Verdict


def plan(seen: Snapshot, resting: Mapping[CommitId, Work] = MappingProxyType({})) -> Plan:
    """Return the work that closes every `:<HEAD_SHA>` gap of `seen`, and a hold with a reason for what stays open.

    Pure: no clock, no I/O, no logging. Equal snapshots give equal plans. Heads come newest pull request first, images
    in the order of the inventory. In mode `observe` nothing is decided or written: what would be is a hold. For heads
    that are `resting` there is nothing to do or to tell, and knowing them changes no plan.
    """
    admission = admit(seen)
    examiner = Examiner(seen, resting)
    budget = _Budget(seen.writes_left)
    actions: list[Action] = _ended(seen)
    holds: list[Hold] = list(admission.holds)
    for head in admission.heads:
        if examiner.rests(head.commit):
            continue
        _plan_head(seen, examiner.examine(head), budget, actions, holds)
    return Plan(tuple(actions), tuple(holds))


class _Budget:
    """The tag writes that the hourly limit still allows."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0


def _plan_head(seen: Snapshot, work: Work, budget: _Budget, actions: list[Action], holds: list[Hold]) -> None:
    head, numbers = work.head.commit, work.head.numbers
    observing = seen.mode is Mode.OBSERVE
    if work.held is not None:
        holds.append(Hold(head, None, work.held, numbers))
        return
    holds += (Hold(head, None, Reason.COMPONENT_UNKNOWN, numbers, component) for component in work.missing)
    if work.pin is not None and not observing:
        actions.append(work.pin)
    if work.breaches and not observing:
        actions.append(QuarantineHead(head, work.breaches, numbers))
    backing_off = head in seen.backing_off
    for repository, judgement in work.judgements.items():
        match judgement:
            case Recorded():
                pass
            case Held(reason, found, recorded, said):
                detail = str(Breach(repository, recorded, found)) if recorded is not None else said
                holds.append(Hold(head, repository, reason, numbers, detail))
            case Take(digest, how, proven, replaces):
                if not observing:
                    actions.append(Adopt(repository, head, digest, how, numbers, proven, replaces))
            case Fill(baseline):
                if observing:
                    holds.append(Hold(head, repository, Reason.OBSERVE_MODE, numbers))
                elif backing_off:
                    holds.append(Hold(head, repository, Reason.BACKING_OFF, numbers))
                elif not budget.take():
                    holds.append(Hold(head, repository, Reason.WRITE_BUDGET_SPENT, numbers))
                else:
                    actions.append(Retag(repository, head, baseline, numbers))
            case never:
                assert_never(never)
    if releasable(seen, work):
        _plan_release(seen, work, actions, holds)


def releasable(seen: Snapshot, work: Work) -> bool:
    """Whether every previewed image of the head is recorded, and no release set says so yet."""
    return (
        seen.policy.release_sets is not None
        and work.head.commit not in seen.released
        and bool(work.judgements)
        and not work.missing
        and all(isinstance(j, Recorded) for j in work.judgements.values())
    )


def _plan_release(seen: Snapshot, work: Work, actions: list[Action], holds: list[Hold]) -> None:
    """Nothing unproven enters a release set (design §5), and none is made of what may not be all: it stays as it is."""
    head, numbers = work.head.commit, work.head.numbers
    if head in seen.quarantined:  # for an image that is previewed no more, or every gap would be held
        holds.append(Hold(head, None, Reason.QUARANTINED, numbers))
        return
    if head in seen.unreleasable:
        holds.append(Hold(head, None, Reason.RELEASE_REFUSED, numbers))
        return
    if work.unread is not None:
        detail = f"what is previewed could not be read ({work.unread.value})"
        holds.append(Hold(head, None, Reason.RELEASE_UNPROVEN, numbers, detail))
        return
    unproven = []
    for repository in work.judgements:
        proof = seen.proofs.get((repository, head))
        if not isinstance(proof, Verdict) or proof.outcome is not Outcome.ACCEPTED:
            said = proof.reason if isinstance(proof, Verdict) else "its evidence could not be read"
            unproven.append(Hold(head, repository, Reason.RELEASE_UNPROVEN, numbers, said))
    if unproven:
        holds += unproven
    elif seen.mode is Mode.OBSERVE:
        holds.append(Hold(head, None, Reason.OBSERVE_MODE, numbers))
    elif head in seen.backing_off:
        holds.append(Hold(head, None, Reason.BACKING_OFF, numbers))
    else:
        actions.append(Release(head, numbers))


def _ended(seen: Snapshot) -> list[Action]:
    """Heads that no open pull request has any more. Only a complete listing can say so (design invariant 2)."""
    if not seen.listing.complete:
        return []
    alive = {pr.head for pr in seen.listing.pull_requests}
    return [EndHead(head, d.pull_requests) for head, d in sorted(seen.decisions.items()) if head not in alive]
