"""Open GitOps pull requests looked after: closed when obsolete, brought up to date, left to people who took over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.events import Emitter, Event
from reconciler.gitops import difference, edits
from reconciler.ports import Clock, ForgeReader, LogStore
from reconciler.publishing import wording
from reconciler.publishing.intake import seconds
from reconciler.publishing.lanes import Lane
from reconciler.publishing.steps import Close, Closed, End, Seen, Source, Unread, Update, next_step, obsolete
from reconciler.record import Recorder
from state.canonical import Json
from state.entry import Kind
from state.errors import WRITER_STOPS, IntegrityError, ReconcilerError, Terminal
from state.git import CommitId, RefName
from state.observed import Snapshot
from state.publishing import Proposal, ProposalState, Standing, Step

UPDATE_PAUSE_S: Final = 900
"""Until an update is tried again whose push was refused: each try is two entries in the log."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Looks after the open GitOps pull requests of one code repository."""

    lanes: Mapping[str, Lane]
    forge: ForgeReader
    recorder: Recorder
    log: LogStore
    clock: Clock
    _refused: dict[RefName, tuple[tuple[CommitId, CommitId], int]] = field(default_factory=dict)
    """Branch → base and tip of an update that could not be pushed, and when (seconds since 1970)."""

    def run(self, seen: Snapshot, emit: Emitter, stopping: Callable[[], bool]) -> None:
        """One look at each of them. Raises LedgerMoved, Fenced or LogRollback."""
        self._close_steps(emit)
        for standing in self.recorder.history.publishing.live():
            if standing.state is not ProposalState.OPEN or stopping():
                continue
            try:
                self._look_after(standing, seen, emit)
            except WRITER_STOPS:
                raise
            except ReconcilerError as error:
                event = Event.INTEGRITY_VIOLATED if isinstance(error, IntegrityError) else Event.PROPOSAL_FAILED
                emit.emit(event, plan=standing.proposal.plan, target=standing.proposal.target, error=str(error))

    def _close_steps(self, emit: Emitter) -> None:
        """What a crash left open of updates and closes: an update counts by what its branch is at; a close is done
        again, which changes nothing where it was done."""
        publishing = self.recorder.history.publishing
        for intent, proposals in list(publishing.open_steps.items()):
            proposal = proposals[0]
            try:
                if proposal.step is Step.UPDATE:
                    self._conclude(intent, proposal, ProposalState.OPEN, "", None)
                elif proposal.step is Step.CLOSE:
                    self._close(intent, proposal, emit)
            except WRITER_STOPS:
                raise
            except ReconcilerError as error:
                emit.emit(Event.PROPOSAL_FAILED, plan=proposal.plan, target=proposal.target, error=str(error))

    def _look_after(self, standing: Standing, seen: Snapshot, emit: Emitter) -> None:
        opened, publishing = standing.proposal, self.recorder.history.publishing
        lane, plan = self.lanes.get(opened.target), publishing.plans[opened.plan]
        if lane is None:
            return  # the target was taken out of the configuration, and its credential with it
        found = [c for c in lane.changes.find_change(opened.branch, lane.target.base) if c.number == standing.change]
        if not found:
            raise Terminal(f"GitOps pull request {standing.change} of {opened.branch.short} is not to be found")
        base, tip = lane.base(), lane.writer.tip(opened.branch)
        looked = Seen(
            open=found[0].open,
            merged=found[0].merged,
            tip=tip,
            in_place=lane.in_place(base, plan),
            clean=tip is None or tip not in standing.commits or lane.writer.merges(base, tip),
            obsolete=obsolete(opened, self._source(opened, lane, seen)),
        )
        match next_step(standing, looked):
            case End(state, why):
                self._conclude(None, opened._replace(change=standing.change), state, why, emit)
            case Close(reason):
                proposal = opened._replace(
                    step=Step.CLOSE,
                    change=standing.change,
                    reason=self._with_link(reason, opened),
                    commit=None,
                    parents=(),
                    approvals=(),
                )
                intent = self._intend(proposal)
                self._close(intent, proposal, emit)
            case Update() if tip is not None:
                self._update(lane, standing, (base, tip), emit)
            case _:
                pass

    def _source(self, proposal: Proposal, lane: Lane, seen: Snapshot) -> Source:
        history = self.recorder.history
        publishing = history.publishing
        return Source(
            pull_request=self._pull_request(proposal.pull_request, seen),
            revoked=tuple(m for m in proposal.approvals if m in publishing.revoked),
            quarantined=proposal.head in history.quarantined,
            newest_plan=publishing.newest_plan.get((proposal.pull_request, proposal.target)),
            now=seconds(self.clock.now()),
            promotion=lane.after is not None,
        )

    def _pull_request(self, number: int, seen: Snapshot) -> tuple[CommitId, RefName] | Closed | Unread:
        """From the listing where it is there; a closed one is asked for, since a listing does not tell how it ended."""
        listed = next((pr for pr in seen.listing.pull_requests if pr.number == number), None)
        if listed is not None:
            return listed.head, listed.base
        if not seen.listing.complete:
            return Unread()
        merged = self.forge.merged(number)
        return Unread() if merged is None else Closed(merged)

    def _update(self, lane: Lane, standing: Standing, parents: tuple[CommitId, CommitId], emit: Emitter) -> None:
        """The same edits on the base's tip, as a merge that the branch can be fast-forwarded to."""
        plan, base = self.recorder.history.publishing.plans[standing.proposal.plan], parents[0]
        now, (before_this, at) = seconds(self.clock.now()), self._refused.get(plan.branch, (None, 0))
        if before_this == parents and now < at + UPDATE_PAUSE_S:
            return
        before = lane.files(base, plan.edits)
        after = edits.edited(before, plan.edits)
        difference.verify(before, after, plan.edits)
        changed = {path: raw for path, raw in after.items() if raw != before[path]}
        message = wording.update_message(plan, base)
        commit = lane.writer.commit(parents, changed, message, now)
        if list(lane.writer.changed(base, commit)) != sorted(changed):
            raise IntegrityError(f"{plan.branch.short}: more than the pins would change")
        proposal = standing.proposal._replace(
            step=Step.UPDATE, change=standing.change, commit=commit, parents=parents, approvals=()
        )
        intent = self._intend(proposal)
        self._refused[plan.branch] = parents, now
        lane.writer.push(plan.branch, commit, self.recorder.confirm)
        del self._refused[plan.branch]
        self._conclude(intent, proposal, ProposalState.OPEN, "", emit)

    def _close(self, intent: CommitId, proposal: Proposal, emit: Emitter) -> None:
        lane = self.lanes.get(proposal.target)
        if lane is None or proposal.change is None:
            return
        self.recorder.confirm()
        lane.changes.close_change(proposal.change, proposal.reason)
        self._conclude(intent, proposal, ProposalState.CLOSED, proposal.reason, emit)

    def _with_link(self, reason: str, closed: Proposal) -> str:
        """The reason, with the pull request that took this one's place, where there is one."""
        others = [
            s
            for s in self.recorder.history.publishing.proposals.values()
            if s.proposal.target == closed.target
            and s.proposal.pull_request == closed.pull_request
            and s.proposal.plan != closed.plan
            and s.state is ProposalState.OPEN
        ]
        return f"{reason}; see #{others[-1].change}" if others else reason

    def _intend(self, proposal: Proposal) -> CommitId:
        rows: list[Json] = [proposal.to_json()]
        intent = self.recorder.append(Kind.INTENT, {"proposals": rows, "writes": []})
        self.log.push()
        return intent

    def _conclude(
        self, intent: CommitId | None, proposal: Proposal, state: ProposalState, why: str, emit: Emitter | None
    ) -> None:
        """`emit` is None where nobody has to hear of it."""
        row: dict[str, Json] = {**proposal._replace(reason=why).to_json(), "result": state.value}
        self.recorder.append(Kind.OUTCOME, {"intent": intent, "proposals": [row], "writes": []})
        if emit is None:
            return
        event = Event.PROPOSAL_UPDATED if state is ProposalState.OPEN else Event.PROPOSAL_ENDED
        number = {} if proposal.change is None else {"change": proposal.change}
        emit.emit(event, target=proposal.target, plan=proposal.plan, reason=state.value, detail=why, **number)
