"""Plans recorded: what a publish of each complete head, or a promotion, would write (design §6).

An approver is shown a plan only if it can be carried out now: every pin is there and can be edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.events import Emitter, Event
from reconciler.gitops import edits
from reconciler.publishing.lanes import Lane
from reconciler.publishing.plans import Unplanned, of_promotion, of_release
from reconciler.publishing.releases import PublishedSets
from reconciler.record import Recorder
from state.entry import Kind
from state.errors import WRITER_STOPS, ReconcilerError
from state.git import CommitId
from state.observed import Inventory, PullRequest, Snapshot
from state.pin_plan import PinPlan


class Planning:
    """Records the plans of one code repository, each once."""

    def __init__(self, lanes: Mapping[str, Lane], sets: PublishedSets, recorder: Recorder) -> None:
        self._lanes = lanes
        self._sets = sets
        self._recorder = recorder
        self.problems: dict[tuple[int, str], str] = {}
        """(pull request, target) → why there is no plan, as of the last pass."""
        self._told: dict[tuple[int, str], str] = {}
        self._checked: set[tuple[str, CommitId]] = set()
        """(plan digest, GitOps commit) of plans that were found to be possible there."""

    def record(self, seen: Snapshot, admitted: Iterable[PullRequest], emit: Emitter) -> None:
        """Make and record the plan of every admitted pull request whose head is released, and of every promotion.

        What cannot be read or planned is in `problems`. Raises LedgerMoved, Fenced or LogRollback.
        """
        self.problems = {}
        inventory = seen.inventory
        if isinstance(inventory, Inventory):
            for lane in self._lanes.values():
                if lane.after is None:
                    for pr in admitted:
                        self._of_release(lane, pr, inventory, emit)
                else:
                    self._of_promotion(lane, self._lanes[lane.after], inventory, emit)
        for at, why in self.problems.items():
            if self._told.get(at) != why:
                emit.emit(Event.PLAN_IMPOSSIBLE, pull_request=at[0], target=at[1], detail=why)
        self._told = self.problems

    def _of_release(self, lane: Lane, pr: PullRequest, inventory: Inventory, emit: Emitter) -> None:
        history = self._recorder.history
        released = history.released.get(pr.head)
        if released is None or pr.head in history.quarantined:
            return
        at = (pr.number, lane.target.name)
        try:
            release = self._sets.recorded(pr.head, released)
            if release is None:
                self.problems[at] = "the release set at the head's tag is not the one that the log records"
                return
            made = of_release(release, released, pr.number, inventory, lane.target)
            self._keep(lane, at, made, pr.author_id, emit)
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            self.problems[at] = str(error)

    def _of_promotion(self, lane: Lane, lower: Lane, inventory: Inventory, emit: Emitter) -> None:
        """The newest merged plan of the lower target that its environment runs now, copied."""
        merged = self._recorder.history.publishing.running(lower.target.name)
        try:
            base = lower.base() if merged else None
            runs = next((p for p in reversed(merged) if base is not None and lower.in_place(base, p)), None)
            if runs is not None:
                at = (runs.pull_request, lane.target.name)
                author = self._recorder.history.publishing.authors.get(runs.pull_request)
                self._keep(lane, at, of_promotion(runs, inventory, lane.target), author, emit)
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            self.problems[merged[-1].pull_request, lane.target.name] = str(error)

    def _keep(
        self, lane: Lane, at: tuple[int, str], made: PinPlan | Unplanned, author_id: int | None, emit: Emitter
    ) -> None:
        if isinstance(made, Unplanned):
            self.problems[at] = made.why
            return
        digest, base = made.digest(), lane.base()
        if (digest, base) not in self._checked:
            edits.edited(lane.files(base, made.edits), made.edits)  # raises ConfigError where a pin is not there
            if len(self._checked) >= 10_000:
                self._checked.clear()
            self._checked.add((digest, base))
        if self._recorder.history.publishing.newest_plan.get(at) == digest:
            return
        self._recorder.append(
            Kind.PLAN,
            {
                "author_id": author_id,
                "head": made.head,
                "plan": made.to_json(),
                "pull_requests": [made.pull_request],
            },
        )
        emit.emit(
            Event.PLAN_RECORDED, plan=digest, target=lane.target.name, pull_request=made.pull_request, head=made.head
        )
