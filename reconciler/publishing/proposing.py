"""An approved plan → an open GitOps pull request (design §6, §7; invariant 6).

1. The facts are read anew and the recorded approvals are judged on them.
2. The edits are made on the base's tip as it is now, and proven to be exactly the approved ones.
3. One intent consumes the approvals, and is on the log's remote before anything else is written.
4. The branch is pushed; the facts are read and judged once more; the pull request is looked for, then opened.
5. One outcome says what came of it.

A process that ends between 3 and 5 leaves an open intent: the next one goes on at 4, without consuming again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from reconciler.approval.codes import Code
from reconciler.approval.evaluate import Granted, Refusals, evaluate
from reconciler.approval.evaluate import Standing as Consumption
from reconciler.approval.policy import ApproversPolicy
from reconciler.approval.signatures import Refused, Signed
from reconciler.events import Emitter, Event
from reconciler.gitops import edits
from reconciler.ports import Change, Clock, LogStore
from reconciler.publishing import wording
from reconciler.publishing.facts import FactReader
from reconciler.publishing.intake import Intake, seconds
from reconciler.publishing.lanes import Lane
from reconciler.record import Recorder
from state.approval import Approval
from state.canonical import Json
from state.entry import Kind
from state.errors import WRITER_STOPS, IntegrityError, ReconcilerError, StaleObservation, Terminal
from state.git import CommitId
from state.observed import Snapshot
from state.oci import Digest
from state.pin_plan import PinPlan
from state.publishing import Proposal, ProposalState, Step

PER_PASS_MAX: Final = 20
"""Plans that one pass judges approvals for; the next pass goes on."""


class Told(NamedTuple):
    """Why recorded approvals of a plan did not lead to a pull request, for a person."""

    code: str
    text: str


class _Made(NamedTuple):
    """A proposal whose commit was made on a base, not pushed."""

    proposal: Proposal
    approved_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """What proposing needs."""

    lanes: Mapping[str, Lane]
    facts: FactReader
    intake: Intake
    policy: Callable[[], ApproversPolicy]
    recorder: Recorder
    log: LogStore
    clock: Clock


class Proposer:
    """Opens GitOps pull requests for one code repository."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.refused: dict[str, Told] = {}
        """Marker id → why it has not led to a pull request, as of the last pass; for explaining it."""

    def run(self, seen: Snapshot, emit: Emitter, stopping: Callable[[], bool]) -> None:
        """Go on with what was begun, then open what is approved.

        What concerns one plan is in `refused` or told as an event. Raises LedgerMoved, Fenced or LogRollback.
        """
        self.refused = {}
        publishing = self._desk.recorder.history.publishing
        for intent, proposals in list(publishing.open_steps.items()):
            if proposals[0].step is Step.OPEN and not stopping():
                self._guarded(proposals[0].plan, emit, lambda i=intent, p=proposals[0]: self._resume(i, p, seen, emit))
        groups = list(self._approvals().items())[:PER_PASS_MAX]
        for (target, plan), markers in groups:
            if not stopping():
                self._guarded(plan, emit, lambda t=target, p=plan, m=markers: self._propose(t, p, m, seen, emit))

    def _guarded(self, plan: Digest, emit: Emitter, work: Callable[[], None]) -> None:
        try:
            work()
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            event = Event.INTEGRITY_VIOLATED if isinstance(error, IntegrityError) else Event.PROPOSAL_FAILED
            emit.emit(event, plan=plan, error=str(error))

    # --- 1. what is approved

    def _approvals(self) -> dict[tuple[str, Digest], list[Signed]]:
        """The recorded approvals that may still count, by target and plan; why the others do not is in `refused`."""
        publishing = self._desk.recorder.history.publishing
        now = seconds(self._desk.clock.now())
        groups: dict[tuple[str, Digest], list[Signed]] = {}
        for marker in publishing.markers.values():
            if marker.kind != "approval" or marker.id in publishing.consumed or marker.id in publishing.revoked:
                continue
            try:
                signed = self._desk.intake.read(marker)
            except Refused as refused:
                self.refused[marker.id] = Told(refused.code.value, refused.text)
                continue
            approval = signed.marker
            if isinstance(approval, Approval) and approval.not_after + _SKEW_S >= now:
                groups.setdefault((approval.target, approval.plan), []).append(signed)
        return groups

    def _judge(
        self, target: str, markers: Sequence[Signed], plan: PinPlan | None, seen: Snapshot, intent: CommitId | None
    ) -> Granted | Refusals:
        """`intent` is the one that consumed these markers, where one did: going on is not consuming again."""
        desk, publishing = self._desk, self._desk.recorder.history.publishing
        lane = desk.lanes.get(target)
        promotion = lane is not None and lane.after is not None
        first = markers[0].marker
        about = plan
        if about is None and isinstance(first, Approval):
            about = publishing.plans.get(first.plan)
        if about is None or lane is None:
            return Refusals({m.marker.id: (Code.PLAN_CHANGED, _NO_PLAN.format(target)) for m in markers})
        newest = publishing.newest_plan.get((about.pull_request, target))
        facts = desk.facts.read(about, seen, promotion=promotion)
        if newest is not None and newest != about.digest():
            facts = facts._replace(plan=publishing.plans[newest])
        consumed = {m for m, by in publishing.consumed.items() if by != intent}
        open_plans = {
            s.proposal.plan
            for s in publishing.proposals.values()
            if s.intent != intent and s.state not in (ProposalState.CLOSED, ProposalState.DROPPED)
        }
        standing = Consumption(
            consumed=frozenset(consumed), revoked=frozenset(publishing.revoked), published=frozenset(open_plans)
        )
        return evaluate(markers, target, facts, desk.policy(), standing, seconds(desk.clock.now()))

    def _propose(self, target: str, plan: Digest, markers: list[Signed], seen: Snapshot, emit: Emitter) -> None:
        judged = self._judge(target, markers, None, seen, None)
        if isinstance(judged, Refusals):
            self._refuse(judged, emit)
            return
        made = self._make(self._desk.lanes[target], judged, emit)
        if made is None:
            return
        # 3. Consumed by the intent, which has to be on the remote first.
        rows: list[Json] = [made.proposal.to_json()]
        intent = self._desk.recorder.append(Kind.INTENT, {"proposals": rows, "writes": []})
        self._finish(intent, made, judged.markers, seen, emit)

    def _refuse(self, judged: Refusals, emit: Emitter) -> None:
        for marker, (code, text) in judged.why.items():
            self.refused[marker] = Told(code.value, text)
            emit.emit(Event.APPROVAL_REFUSED, marker=marker, reason=code.value, detail=text)

    # --- 2. the edits

    def _make(self, lane: Lane, granted: Granted, emit: Emitter) -> _Made | None:
        """The commit on the base as it is now; None where there is nothing to propose, which is told.

        Raises ConfigError for pins that cannot be edited, IntegrityError where the difference is not the approved one.
        """
        plan, publishing = granted.plan, self._desk.recorder.history.publishing
        ids = tuple(sorted(m.marker.id for m in granted.markers))
        base = lane.base()
        before = lane.files(base, plan.edits)
        after = edits.edited(before, plan.edits)
        edits.verify(before, after, plan.edits)
        changed = {path: raw for path, raw in after.items() if raw != before[path]}
        standing = publishing.proposals.get(plan.branch)
        if why := _nothing_to_do(lane, changed, standing.state if standing is not None else None):
            self._refuse(Refusals(dict.fromkeys(ids, why)), emit)
            return None
        tip = lane.writer.tip(plan.branch)
        if tip is not None and (standing is None or tip not in standing.commits):
            text = f"branch {plan.branch.short} is at {tip}, which is no commit of ours; delete the branch"
            self._refuse(Refusals(dict.fromkeys(ids, (Code.FOREIGN_BRANCH, text))), emit)
            return None
        parents = (base,) if tip is None else (base, tip)
        approvals = [m.marker for m in granted.markers if isinstance(m.marker, Approval)]
        proposal = Proposal(
            Step.OPEN,
            lane.target.name,
            plan.digest(),
            plan.pull_request,
            plan.head,
            plan.branch,
            commit=None,
            parents=parents,
            approvals=ids,
            approved_base=approvals[0].base,
            not_after=min(a.not_after for a in approvals),
        )
        commit = self._commit(lane, plan, proposal, granted.markers, changed)
        return _Made(proposal._replace(commit=commit), _principals(granted.markers))

    def _commit(
        self, lane: Lane, plan: PinPlan, proposal: Proposal, markers: Sequence[Signed], changed: Mapping[str, bytes]
    ) -> CommitId:
        """Signed, not pushed; equal proposals give the same id. Raises IntegrityError if more than the pins differs."""
        principals = _principals(markers)
        message = wording.commit_message(plan, proposal.approvals, principals)
        approved_at = max(m.marker.issued_at for m in markers)
        commit = lane.writer.commit(proposal.parents, changed, message, approved_at)
        differs = lane.writer.changed(proposal.parents[0], commit)
        if list(differs) != sorted(changed):
            raise IntegrityError(f"{plan.branch.short}: expected {sorted(changed)} to differ, got {list(differs)}")
        return commit

    # --- 4. and 5.

    def _resume(self, intent: CommitId, proposal: Proposal, seen: Snapshot, emit: Emitter) -> None:
        """Go on where a process ended: the same commit, made again if it was lost."""
        publishing = self._desk.recorder.history.publishing
        lane, plan = self._desk.lanes.get(proposal.target), publishing.plans[proposal.plan]
        if lane is None:
            self._conclude(intent, proposal, ProposalState.DROPPED, f"target {proposal.target} is gone", emit)
            return
        try:
            signed = [self._desk.intake.read(publishing.markers[m]) for m in proposal.approvals]
        except Refused as refused:
            self._conclude(intent, proposal, ProposalState.DROPPED, f"{refused.code.value}: {refused.text}", emit)
            return
        lane.base()  # has the objects that the commit was made on
        before = lane.files(proposal.parents[0], plan.edits)
        after = edits.edited(before, plan.edits)
        edits.verify(before, after, plan.edits)
        changed = {path: raw for path, raw in after.items() if raw != before[path]}
        commit = self._commit(lane, plan, proposal, signed, changed)
        if commit != proposal.commit:
            why = f"the commit that the intent names, {proposal.commit}, cannot be made again; got {commit}"
            self._conclude(intent, proposal, ProposalState.DROPPED, why, emit)
            return
        self._finish(intent, _Made(proposal, _principals(signed)), signed, seen, emit)

    def _finish(
        self, intent: CommitId, made: _Made, markers: Sequence[Signed], seen: Snapshot, emit: Emitter
    ) -> None:
        desk, proposal = self._desk, made.proposal
        if not desk.log.push():
            raise Terminal("log.remote is not configured, so nothing can be published; set it")
        lane = desk.lanes[proposal.target]
        plan = desk.recorder.history.publishing.plans[proposal.plan]
        if proposal.commit is None:
            raise Terminal(f"{proposal.branch.short}: an open without a commit; this is a bug")
        try:
            lane.writer.push(proposal.branch, proposal.commit, desk.recorder.confirm)
        except StaleObservation as error:
            self._conclude(intent, proposal, ProposalState.HANDS_OFF, str(error), emit)
            return
        # The world may have moved while the branch was pushed.
        judged = self._judge(proposal.target, markers, plan, seen, intent)
        if isinstance(judged, Refusals):
            why = "; ".join(f"{code.value}: {text}" for code, text in judged.why.values())
            self._conclude(intent, proposal, ProposalState.DROPPED, why, emit)
            return
        change, state = self._open(lane, plan, made)
        self._conclude(intent, proposal._replace(change=change.number), state, "", emit)

    def _open(self, lane: Lane, plan: PinPlan, made: _Made) -> tuple[Change, ProposalState]:
        """The pull request of this branch: the one that is open, or a new one. One that a person closed stays so."""
        standing = self._desk.recorder.history.publishing.proposals[plan.branch]
        before = lane.changes.find_change(plan.branch, lane.target.base)
        for change in before:
            if change.open:
                return change, ProposalState.OPEN
        if before and before[-1].merged:
            return before[-1], ProposalState.MERGED
        if before and not (standing.closed_by_us and before[-1].number == standing.change):
            return before[-1], ProposalState.DECLINED
        self._desk.recorder.confirm()
        title = wording.title(plan)
        body = wording.body(plan, made.proposal.approvals, made.approved_by, self._desk.log.tip())
        return lane.changes.open_change(plan.branch, lane.target.base, title, body), ProposalState.OPEN

    def _conclude(
        self, intent: CommitId, proposal: Proposal, state: ProposalState, why: str, emit: Emitter
    ) -> None:
        row: dict[str, Json] = {**proposal._replace(reason=why).to_json(), "result": state.value}
        self._desk.recorder.append(Kind.OUTCOME, {"intent": intent, "proposals": [row], "writes": []})
        event = Event.PROPOSAL_OPENED if state is ProposalState.OPEN else Event.PROPOSAL_ENDED
        number = {} if proposal.change is None else {"change": proposal.change}
        emit.emit(
            event,
            target=proposal.target,
            plan=proposal.plan,
            pull_request=proposal.pull_request,
            reason=state.value,
            detail=why,
            **number,
        )


_SKEW_S: Final = 60
_NO_PLAN: Final = "there is no such plan, or no target {}; fetch the plan again: `ameide approval plan`"


def _principals(markers: Sequence[Signed]) -> tuple[str, ...]:
    return tuple(sorted({name for one in markers for name in one.principals}))


def _nothing_to_do(
    lane: Lane, changed: Mapping[str, bytes], state: ProposalState | None
) -> tuple[Code, str] | None:
    """Why an approved plan needs, or may have, no pull request."""
    match state:
        case ProposalState.DECLINED | ProposalState.HANDS_OFF:
            return Code.DECLINED, "a person closed the pull request of this plan, or took it over; that stays so"
        case ProposalState.MERGED:
            return Code.ALREADY_PUBLISHED, "the pull request of this plan was merged"
        case _ if not changed:
            return Code.NOTHING_TO_DO, f"{lane.target.base.short} holds these digests already"
        case _:
            return None
