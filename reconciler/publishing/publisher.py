"""The publishing part of a pass: markers in, plans recorded, pull requests opened and looked after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler import admission
from reconciler.approval.approvers import ApproversPolicy
from reconciler.approval.codes import Code, RefusedMarker
from reconciler.approval.evaluate import Standing, judge_admission
from reconciler.approval.signatures import Signers
from reconciler.events import Emitter, Event
from reconciler.matrix import Matrix
from reconciler.ports import Clock, Executor, ForgeReader, LogStore, Markers, Metrics, RegistryReader
from reconciler.publishing.board import Board
from reconciler.publishing.facts import FactReader
from reconciler.publishing.intake import Intake, seconds
from reconciler.publishing.lanes import Lane
from reconciler.publishing.notes import Note, notes
from reconciler.publishing.planning import Planning
from reconciler.publishing.proposing import Desk, Proposer
from reconciler.publishing.releases import PublishedSets
from reconciler.publishing.upkeep import Upkeep
from reconciler.record import Recorder
from state.approval import Admission
from state.errors import WRITER_STOPS, ReconcilerError
from state.git import CommitId
from state.observed import Inventory, Listing, Mode, Snapshot
from state.publishing import ProposalState, Publishing


@dataclass(frozen=True, slots=True)
class PublishTargets:
    """What publishing needs besides the log."""

    repository_id: int
    markers: Markers
    signers: Callable[[], Signers]
    """The approvers' policy in force, and what proves signatures. Raises ConfigError if the policy cannot be read."""
    lanes: Mapping[str, Lane]
    """By name, in the order of the configuration."""
    sets: PublishedSets | None
    inventory: Callable[[], Inventory]
    forge: ForgeReader
    registry: RegistryReader
    executor: Executor
    clock: Clock


class ApprovalState(StrEnum):
    """What became of a recorded approval."""

    STANDING = "standing"
    """Neither used nor revoked; it may have ended meanwhile."""
    CONSUMED = "consumed"
    REVOKED = "revoked"


def _approval_state(publishing: Publishing, marker: str) -> ApprovalState:
    if marker in publishing.consumed:
        return ApprovalState.CONSUMED
    return ApprovalState.REVOKED if marker in publishing.revoked else ApprovalState.STANDING


class Publisher:
    """Publishes for one code repository."""

    def __init__(self, targets: PublishTargets, recorder: Recorder, log: LogStore) -> None:
        self._targets = targets
        self._recorder = recorder
        t = targets
        self.intake = Intake(t.repository_id, t.markers, t.signers, recorder, log)
        self.board = Board()
        self.planning: Planning | None = None
        self.proposer: Proposer | None = None
        self._upkeep: Upkeep | None = None
        if t.sets is not None and t.lanes:
            facts = FactReader(t.forge, t.registry, t.executor, t.sets, recorder.history)
            planning = self.planning = Planning(
                t.lanes, t.sets, recorder, inventory=t.inventory, last_pusher=t.forge.last_pusher
            )
            desk = Desk(
                lanes=t.lanes,
                facts=facts,
                plan_now=lambda number, target: planning.now.get((number, target)),
                intake=self.intake,
                policy=self._policy,
                recorder=recorder,
                log=log,
                clock=t.clock,
            )
            self.proposer = Proposer(desk)
            self._upkeep = Upkeep(t.lanes, t.forge, recorder, log, t.clock)

    def take_markers(self, emit: Emitter) -> None:
        """Record the markers that have arrived. Raises LedgerMoved, Fenced or LogRollback."""
        try:
            self.intake.take(emit)
            self.intake.tidy()
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            emit.emit(Event.PASS_PROBLEM, error=f"markers: {error}")

    def admitted(self, listing: Listing, agents: frozenset[int]) -> frozenset[tuple[int, int, CommitId]]:
        """The (head repository, pull request, head) of this listing that a recorded admission lets in now."""
        publishing = self._recorder.history.publishing
        by_number = {pr.number: pr for pr in listing.pull_requests}
        standing = Standing(
            revoked=frozenset(publishing.revoked),
            taken={marker.id: marker.statement for marker in publishing.markers.values()},
        )
        found, now = set(), seconds(self._targets.clock.now())
        for logged in publishing.markers.values():
            if logged.kind != "admission":
                continue
            try:
                if self.intake.ended(logged, now):
                    continue
                signed, policy = self.intake.read(logged), self._policy()
            except (RefusedMarker, ReconcilerError):
                continue  # nobody is let in by what cannot be verified now
            marker = signed.marker
            pr = by_number.get(marker.pull_request) if isinstance(marker, Admission) else None
            if pr is None or pr.head_repository_id is None:
                continue
            own = self._targets.repository_id
            if judge_admission(signed, pr, policy, standing, now, repository_id=own, agents=agents) is None:
                found.add((pr.head_repository_id, pr.number, pr.head))
        return frozenset(found)

    def publish(self, seen: Snapshot, emit: Emitter, stopping: Callable[[], bool]) -> None:
        """Plans, then what is approved, then what is open. Only in mode `publish`.

        Raises LedgerMoved, Fenced or LogRollback; whatever else goes wrong concerns one plan and is told.
        """
        if self.planning is None or self.proposer is None or self._upkeep is None:
            return
        if seen.mode is not Mode.PUBLISH or seen.suspended or not seen.listing.complete:
            return
        wanted = [pr for head in admission.admit(seen).heads for pr in head.pull_requests]
        self.planning.record(seen, wanted, emit)
        self.proposer.run(seen, emit, stopping)  # first, so that what a new one replaces is closed with a link to it
        self._upkeep.run(seen, emit, stopping)

    def show(self, matrix: Matrix) -> None:
        """Serve approvers what this pass left."""
        if self.planning is None:
            return
        try:
            policy = self._policy().digest()
        except ReconcilerError:
            return  # what was served before stays; that the policy cannot be read was told when markers were taken
        publishing = self._recorder.history.publishing
        refused = self.proposer.refused if self.proposer is not None else {}
        self.board.show(self.planning, publishing, policy, matrix, refused)

    def refused(self) -> tuple[tuple[str, Code], ...]:
        """Recorded approvals (their marker's id) that do not lead to a pull request now, and why."""
        if self.proposer is None:
            return ()
        return tuple((marker, told.code) for marker, told in self.proposer.refused.items())

    def measure(self, metrics: Metrics, name: str) -> None:
        """Set the numbers about publishing of the repository `name`."""
        if self.proposer is None:
            return
        states = Counter(s.state for s in self._recorder.history.publishing.proposals.values())
        for state in ProposalState:
            metrics.gauge("gitops_pull_requests", states[state], repository=name, state=state.value)
        refused = Counter(code for _, code in self.refused())
        for code in Code:
            metrics.gauge("approvals_refused", refused[code], repository=name, code=code.value)
        publishing = self._recorder.history.publishing
        approvals = Counter(
            _approval_state(publishing, m.id) for m in publishing.markers.values() if m.plan is not None
        )
        for approval in ApprovalState:
            metrics.gauge("approvals", approvals[approval], repository=name, state=approval.value)

    def notes(self, number: int, head: CommitId) -> tuple[Note, ...]:
        """What the pull request is told of its publishing."""
        if self.planning is None or self.proposer is None:
            return ()
        refused = {marker: told.code for marker, told in self.proposer.refused.items()}
        publishing = self._recorder.history.publishing
        lanes, problems, holding = self._targets.lanes, self.planning.problems, self.planning.approved_bases
        return notes(publishing, lanes, (number, head), problems, refused, holding=holding)

    def _policy(self) -> ApproversPolicy:
        return self._targets.signers().policy
