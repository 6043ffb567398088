"""An approved plan → an open GitOps pull request (design §6, §7; invariant 6).

1. The facts are read anew and the recorded approvals are judged on them.
2. The edits are made on the base's tip as it is now, and proven to be exactly the approved ones.
3. One intent consumes the approvals, and is on the log's remote before anything else is written.
4. The branch is pushed; markers are taken up, the facts read and judged once more, the branch's tip with them; the pull
   request is looked for, then opened.
5. One outcome says what came of it.

A process that ends between 3 and 5 leaves an open intent: the next one goes on at 4, without consuming again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from reconciler.approval.approvers import ApproversPolicy, Signed
from reconciler.approval.codes import Code, Refusal, RefusedMarker, explained
from reconciler.approval.evaluate import Granted, Refused, evaluate
from reconciler.approval.evaluate import Standing as Consumption
from reconciler.events import Emitter, Event
from reconciler.gitops import difference, edits
from reconciler.ports import Change, Clock, LogStore
from reconciler.publishing import wording
from reconciler.publishing.facts import FactReader
from reconciler.publishing.intake import Intake, seconds
from reconciler.publishing.lanes import Lane
from reconciler.record import Recorder
from state.approval import Approval, Marker
from state.canonical import Json
from state.entry import Kind
from state.errors import WRITER_STOPS, IntegrityError, ReconcilerError, StaleObservation, Terminal, Unavailable
from state.git import CommitId
from state.observed import Snapshot
from state.oci import Digest
from state.pin_plan import PinPlan
from state.publishing import Proposal, ProposalState, Step

PER_PASS_MAX: Final = 20
"""Plans that one pass judges approvals for; the next pass goes on with those that have waited longest."""

_PASSING: Final = frozenset({Code.NO_PLAN, Code.HEAD_UNSTABLE})
"""What may be otherwise in a moment, as where the inventory could not be read: no reason to use up an approval."""

_PUBLISHED: Final = frozenset({ProposalState.INTENDED, ProposalState.OPEN, ProposalState.MERGED})


class Told(NamedTuple):
    """Why recorded approvals of a plan did not lead to a pull request, for a person."""

    code: Code
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
    plan_now: Callable[[int, str], PinPlan | None]
    """The plan for a pull request and target that holds as of this pass."""
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
        self._told: dict[str, Told] = {}
        """The same as of the pass before: what stays as it is, is told once."""
        self._turns: dict[tuple[str, Digest], int] = {}
        """(target, plan) → the turn in which its approvals were judged last."""

    def run(self, seen: Snapshot, emit: Emitter, stopping: Callable[[], bool]) -> None:
        """Go on with what was begun, then open what is approved.

        What concerns one plan is in `refused` or told as an event. Raises LedgerMoved, Fenced or LogRollback.
        """
        self._told, self.refused = self.refused, {}
        publishing = self._desk.recorder.history.publishing
        for intent, proposals in list(publishing.open_steps.items()):
            if proposals[0].step is Step.OPEN and not stopping():
                self._guarded(proposals[0].plan, emit, partial(self._resume, intent, proposals[0], seen, emit))
        try:
            groups = self._in_turn(self._approvals(emit), seen, emit)
        except ReconcilerError as error:
            # The policy cannot be read, so nobody is an approver; what is open is looked after all the same.
            self.refused = dict(self._told)
            emit.emit(Event.PASS_PROBLEM, error=f"approvals: {error}")
            return
        for (target, plan), markers in groups.items():
            if not stopping():
                self._guarded(plan, emit, partial(self._propose, (target, plan), markers, seen, emit))

    def _guarded(self, plan: Digest, emit: Emitter, work: Callable[[], None]) -> None:
        try:
            work()
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            event = Event.INTEGRITY_VIOLATED if isinstance(error, IntegrityError) else Event.PROPOSAL_FAILED
            emit.emit(event, plan=plan, error=str(error))

    # --- 1. what is approved

    def _approvals(self, emit: Emitter) -> dict[tuple[str, Digest], list[Signed]]:
        """The recorded approvals that may still count, by target and plan; why the others do not is in `refused`."""
        publishing = self._desk.recorder.history.publishing
        now = seconds(self._desk.clock.now())
        groups: dict[tuple[str, Digest], list[Signed]] = {}
        for marker in publishing.markers.values():
            if marker.kind != "approval" or marker.id in publishing.consumed or marker.id in publishing.revoked:
                continue
            try:
                if self._desk.intake.ended(marker, now):
                    if marker.plan in publishing.plans:
                        self._refuse_one(marker.id, Told(Code.EXPIRED, explained(Code.EXPIRED)), emit)
                    continue
                signed = self._desk.intake.read(marker)
            except RefusedMarker as refused:
                self._refuse_one(marker.id, Told(refused.code, refused.text), emit)
                continue
            approval = signed.marker
            if isinstance(approval, Approval):
                groups.setdefault((approval.target, approval.plan), []).append(signed)
        return groups

    def _in_turn(
        self, groups: Mapping[tuple[str, Digest], list[Signed]], seen: Snapshot, emit: Emitter
    ) -> dict[tuple[str, Digest], list[Signed]]:
        """Those to judge in this pass: what is refused each time takes turns with the rest, and what nothing has to be
        read for takes none."""
        plans, waiting = self._desk.recorder.history.publishing.plans, dict(groups)
        for about in [about for about in groups if about[0] not in self._desk.lanes or about[1] not in plans]:
            self._refuse([_because(m, _why_no_plan(m.marker, seen)) for m in waiting.pop(about)], emit)
        order = sorted(waiting, key=lambda about: self._turns.get(about, 0))
        turn = 1 + max(self._turns.values(), default=0)
        self._turns = {about: self._turns.get(about, 0) for about in order}
        self._turns.update(dict.fromkeys(order[:PER_PASS_MAX], turn))
        for marker in (m.marker.id for about in order[PER_PASS_MAX:] for m in waiting[about]):
            if marker in self._told:
                self.refused[marker] = self._told[marker]
        return {about: waiting[about] for about in order[:PER_PASS_MAX]}

    def _judge(
        self, lane: Lane, plan: PinPlan, markers: Sequence[Signed], seen: Snapshot, intent: CommitId | None = None
    ) -> Granted | Refused:
        """`intent` is the one that consumed these markers, where one did: going on is not consuming again."""
        desk, publishing = self._desk, self._desk.recorder.history.publishing
        target = lane.target.name
        facts = desk.facts.read(plan, seen, promotion=lane.after is not None)
        facts = facts._replace(plan=desk.plan_now(plan.pull_request, target))
        consumed = {m for m, by in publishing.consumed.items() if by != intent}
        published = {
            s.proposal.plan for s in publishing.proposals.values() if s.intent != intent and s.state in _PUBLISHED
        }
        standing = Consumption(
            consumed=frozenset(consumed),
            revoked=frozenset(publishing.revoked),
            published=frozenset(published),
            taken={marker.id: marker.statement for marker in publishing.markers.values()},
        )
        judged = evaluate(markers, target, facts, desk.policy(), standing, seconds(desk.clock.now()))
        if intent is not None and isinstance(judged, Granted) and judged.refused:
            return Refused(judged.refused)  # one of them ended: that closes what is open (`steps.obsolete`), too
        return judged

    def _propose(self, about: tuple[str, Digest], markers: list[Signed], seen: Snapshot, emit: Emitter) -> None:
        target, digest = about
        lane, plan = self._desk.lanes[target], self._desk.recorder.history.publishing.plans[digest]
        judged = self._judge(lane, plan, markers, seen)
        if isinstance(judged, Refused):
            self._refuse(judged.markers, emit)
            return
        self._refuse(judged.refused, emit)
        made = self._make(lane, plan, judged.markers, emit)
        if made is None:
            return
        # 3. Consumed by the intent, which has to be on the remote first.
        rows: list[Json] = [made.proposal.to_json()]
        intent = self._desk.recorder.append(Kind.INTENT, {"proposals": rows, "writes": []})
        self._finish(intent, made, judged.markers, seen, emit)

    def _refuse(self, refusals: Iterable[Refusal], emit: Emitter) -> None:
        for _, marker, code, text in refusals:
            self._refuse_one(marker, Told(code, text), emit)

    def _refuse_one(self, marker: str, told: Told, emit: Emitter) -> None:
        self.refused[marker] = told
        if self._told.get(marker) != told:
            emit.emit(Event.APPROVAL_REFUSED, marker=marker, reason=told.code.value, detail=told.text)

    # --- 2. the edits

    def _make(self, lane: Lane, plan: PinPlan, markers: Sequence[Signed], emit: Emitter) -> _Made | None:
        """The commit on the base as it is now; None where there is nothing to propose, which is told.

        Raises ConfigError for pins that cannot be edited, IntegrityError where the difference is not the approved one.
        """
        publishing = self._desk.recorder.history.publishing
        base = lane.base()
        before = lane.files(base, plan.edits)
        after = edits.edited(before, plan.edits)
        difference.verify(before, after, plan.edits)
        changed = {path: raw for path, raw in after.items() if raw != before[path]}
        standing = publishing.proposals.get(plan.branch)
        if (why := _nothing_to_do(lane, changed, standing.state if standing is not None else None)) is not None:
            self._refuse([_because(m, *why) for m in markers], emit)
            return None
        tip = lane.writer.tip(plan.branch)
        if tip is not None and (standing is None or tip not in standing.commits):
            self._refuse([_because(m, Code.FOREIGN_BRANCH, f"{plan.branch.short} is at {tip}") for m in markers], emit)
            return None
        parents = (base,) if tip is None else (base, tip)
        approvals = [m.marker for m in markers if isinstance(m.marker, Approval)]
        proposal = Proposal(
            Step.OPEN,
            lane.target.name,
            plan.digest(),
            plan.pull_request,
            plan.head,
            plan.branch,
            commit=None,
            parents=parents,
            approvals=tuple(sorted(a.id for a in approvals)),
            approved_base=approvals[0].base,
            not_after=min(a.not_after for a in approvals),
        )
        commit = self._commit(lane, plan, proposal, markers, changed)
        return _Made(proposal._replace(commit=commit), _principals(markers))

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
        except RefusedMarker as refused:
            self._drop(intent, lane, proposal, f"{refused.code.value}: {refused.text}", emit)
            return
        # Before anything that may fail each time, so that this ends with its approvals at the latest.
        judged = self._judge(lane, plan, signed, seen, intent)
        if isinstance(judged, Refused):
            self._refused_late(intent, lane, proposal, judged, emit)
            return
        lane.base()  # this and the next bring the objects that the commit was made on
        lane.writer.tip(proposal.branch)
        before = lane.files(proposal.parents[0], plan.edits)
        after = edits.edited(before, plan.edits)
        difference.verify(before, after, plan.edits)
        changed = {path: raw for path, raw in after.items() if raw != before[path]}
        commit = self._commit(lane, plan, proposal, signed, changed)
        if commit != proposal.commit:
            why = f"the commit that the intent names, {proposal.commit}, cannot be made again; got {commit}"
            self._drop(intent, lane, proposal, why, emit)
            return
        self._finish(intent, _Made(proposal, _principals(signed)), signed, seen, emit)

    def _finish(self, intent: CommitId, made: _Made, markers: Sequence[Signed], seen: Snapshot, emit: Emitter) -> None:
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
            standing = desk.recorder.history.publishing.proposals[proposal.branch]
            if (tip := lane.writer.tip(proposal.branch)) is None or tip in standing.commits:
                raise  # nobody took it: something else was in the way, such as a lock, or a branch `ameide`
            self._conclude(intent, proposal, ProposalState.HANDS_OFF, str(error), emit)
            return
        # The world may have moved while the branch was pushed: revocations first, since they are in a channel.
        desk.intake.take(emit)
        judged = self._judge(lane, plan, markers, seen, intent)
        if isinstance(judged, Refused):
            self._refused_late(intent, lane, proposal, judged, emit)
            return
        tip = lane.writer.tip(proposal.branch)
        if tip is not None and tip != proposal.commit:
            why = f"{proposal.branch.short} is at {tip}, and not at our commit {proposal.commit}"
            self._conclude(intent, proposal, ProposalState.HANDS_OFF, why, emit)
            return
        change, state = self._found(lane, proposal) or (self._open(lane, plan, made), ProposalState.OPEN)
        self._conclude(intent, proposal._replace(change=change.number), state, "", emit)

    def _found(self, lane: Lane, proposal: Proposal) -> tuple[Change, ProposalState] | None:
        """The pull request of this branch, if it is there: open, merged, or closed by a person, so that it stays so."""
        standing = self._desk.recorder.history.publishing.proposals[proposal.branch]
        before = lane.changes.find_change(proposal.branch, lane.target.base)
        for change in before:
            if change.open:
                return change, ProposalState.OPEN
        if before and before[-1].merged:
            return before[-1], ProposalState.MERGED
        if before and not (standing.closed_by_us and before[-1].number == standing.change):
            return before[-1], ProposalState.DECLINED
        return None

    def _open(self, lane: Lane, plan: PinPlan, made: _Made) -> Change:
        self._desk.recorder.confirm()
        title = wording.title(plan)
        body = wording.body(plan, made.proposal.approvals, made.approved_by, self._desk.log.tip())
        return lane.changes.open_change(plan.branch, lane.target.base, title, body)

    def _refused_late(self, intent: CommitId, lane: Lane, proposal: Proposal, judged: Refused, emit: Emitter) -> None:
        """The premise is gone, so nothing is opened. Raises Unavailable where that is not known: it is asked again."""
        why = "; ".join(f"{refusal.code.value}: {refusal.text}" for refusal in judged.markers)
        if all(refusal.code in _PASSING for refusal in judged.markers):
            raise Unavailable(f"{proposal.branch.short}: cannot be judged now, and is tried again: {why}")
        self._drop(intent, lane, proposal, why, emit)

    def _drop(self, intent: CommitId, lane: Lane, proposal: Proposal, why: str, emit: Emitter) -> None:
        """Open nothing. What was opened although no outcome says so, before a crash, goes on to whoever closes it."""
        found = self._found(lane, proposal)
        if found is None:
            self._conclude(intent, proposal, ProposalState.DROPPED, why, emit)
        else:
            self._conclude(intent, proposal._replace(change=found[0].number), found[1], why, emit)

    def _conclude(self, intent: CommitId, proposal: Proposal, state: ProposalState, why: str, emit: Emitter) -> None:
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


def _because(signed: Signed, code: Code, detail: str = "") -> Refusal:
    return Refusal(signed.digest, signed.marker.id, code, explained(code, detail))


def _why_no_plan(marker: Marker, seen: Snapshot) -> Code:
    """Plans of heads that ended are forgotten: tell the person what happened to the head, where that is why."""
    if not isinstance(marker, Approval):
        return Code.NOT_AN_APPROVAL
    open_now = {pr.number: pr.head for pr in seen.listing.pull_requests}
    if marker.pull_request not in open_now:
        return Code.PR_CLOSED
    return Code.NO_PLAN if open_now[marker.pull_request] == marker.head else Code.HEAD_MOVED


def _principals(markers: Sequence[Signed]) -> tuple[str, ...]:
    return tuple(sorted({name for one in markers for name in one.principals}))


def _nothing_to_do(lane: Lane, changed: Mapping[str, bytes], state: ProposalState | None) -> tuple[Code, str] | None:
    """Why an approved plan needs, or may have, no pull request."""
    match state:
        case ProposalState.DECLINED | ProposalState.HANDS_OFF:
            return Code.DECLINED, ""
        case ProposalState.MERGED:
            return Code.ALREADY_PUBLISHED, "it was merged"
        case _ if not changed:
            return Code.NOTHING_TO_DO, f"{lane.target.base.short} holds these digests"
        case _:
            return None
