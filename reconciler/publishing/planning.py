"""Plans recorded: what a publish of each complete head, or a promotion, would write (design §6).

An approver is shown a plan only if it can be carried out now: every pin is there and can be edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from reconciler.events import Emitter, Event
from reconciler.gitops import edits
from reconciler.publishing.lanes import Lane
from reconciler.publishing.plans import Unplanned, of_promotion, of_release
from reconciler.publishing.releases import PublishedSets
from reconciler.record import Recorder
from state.entry import Kind
from state.errors import WRITER_STOPS, ReconcilerError
from state.git import CommitId, RefName
from state.observed import Inventory, PullRequest, Snapshot, Unknown
from state.oci import Digest
from state.pin_plan import PinPlan
from state.publishing import NOBODY, People


class _Origin(NamedTuple):
    """The pull request that a plan is of."""

    number: int
    base: RefName
    people: Callable[[], People]
    """Asked only for a plan that is new."""


class Planning:
    """Records the plans of one code repository, each once."""

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        sets: PublishedSets,
        recorder: Recorder,
        *,
        inventory: Callable[[], Inventory],
        last_pusher: Callable[[int, CommitId], int | None],
    ) -> None:
        self._lanes = lanes
        self._inventory = inventory
        self._last_pusher = last_pusher
        self._sets = sets
        self._recorder = recorder
        self.problems: dict[tuple[int, str], str] = {}
        """(pull request, target) → why there is no plan, as of the last pass."""
        self._told: dict[tuple[int, str], str] = {}
        self.now: dict[tuple[int, str], PinPlan] = {}
        """(pull request, target) → the plan that holds as of the last pass; an earlier one counts for nothing."""
        self.approved_bases: dict[Digest, RefName] = {}
        """Plan that holds now → the branch that its pull request is for now."""
        self._bases: dict[str, CommitId] = {}
        """Target → the tip of its base, read once a pass."""
        self.current: dict[Digest, Mapping[tuple[str, str], str]] = {}
        """Plan → what each of its places holds now, for an approver to see; only of plans that are possible."""
        self._checked: dict[Digest, CommitId] = {}
        """Plan → the GitOps commit at which it was found to be possible last."""

    @property
    def targets(self) -> Iterable[str]:
        """The names of all targets."""
        return self._lanes.keys()

    def record(self, seen: Snapshot, admitted: Iterable[PullRequest], emit: Emitter) -> None:
        """Make and record the plan of every admitted pull request whose head is released, and of every promotion.

        What cannot be read or planned is in `problems`. Raises LedgerMoved, Fenced or LogRollback.
        """
        self.problems, self.now, self.approved_bases, self._bases = {}, {}, {}, {}
        for lane in self._lanes.values():
            if lane.after is not None:
                self._of_promotion(lane, self._lanes[lane.after], seen.inventory, emit)
            elif isinstance(seen.inventory, Inventory):
                for pr in admitted:
                    self._of_release(lane, pr, seen.inventory, emit)
        for digest in self._checked.keys() - {plan.digest() for plan in self.now.values()}:
            del self._checked[digest], self.current[digest]
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
            self._keep(lane, made, _Origin(pr.number, pr.base, partial(self._people, pr)), emit)
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            self.problems[at] = str(error)

    def _of_promotion(self, lane: Lane, lower: Lane, inventory: Inventory | Unknown, emit: Emitter) -> None:
        """The newest merged plan of the lower target that its environment runs now, copied.

        There may be no open pull request any more; then nobody else has read the inventory.
        """
        merged = self._recorder.history.publishing.running(lower.target.name)
        try:
            base = self._base(lower) if merged else None
            runs = next((p for p in reversed(merged) if base is not None and lower.in_place(base, p)), None)
            if runs is not None:
                inventory = self._inventory() if isinstance(inventory, Unknown) else inventory
                publishing = self._recorder.history.publishing
                people = publishing.people.get((runs.pull_request, runs.head), NOBODY)
                origin = _Origin(runs.pull_request, publishing.plan_bases[runs.digest()], lambda: people)
                self._keep(lane, of_promotion(runs, inventory, lane.target), origin, emit)
        except WRITER_STOPS:
            raise
        except ReconcilerError as error:
            self.problems[merged[-1].pull_request, lane.target.name] = str(error)

    def _people(self, pr: PullRequest) -> People:
        return People(pr.author_id, self._last_pusher(pr.number, pr.head))

    def _base(self, lane: Lane) -> CommitId:
        name = lane.target.name
        if name not in self._bases:
            self._bases[name] = lane.base()
        return self._bases[name]

    def _keep(self, lane: Lane, made: PinPlan | Unplanned, origin: _Origin, emit: Emitter) -> None:
        at = (origin.number, lane.target.name)
        if isinstance(made, Unplanned):
            self.problems[at] = made.why
            return
        digest, base = made.digest(), self._base(lane)
        if self._checked.get(digest) != base:
            files = lane.files(base, made.edits)
            edits.edited(files, made.edits)  # raises ConfigError where a pin is not there
            self.current[digest] = edits.current(files, made.edits)
            self._checked[digest] = base
        self.now[at] = made
        self.approved_bases[digest] = origin.base
        if self._recorder.history.publishing.newest_plan.get(at) == digest:
            return
        people = origin.people()
        self._recorder.append(
            Kind.PLAN,
            {
                "author_id": people.author_id,
                "base": origin.base,
                "head": made.head,
                "last_pusher_id": people.last_pusher_id,
                "plan": made.to_json(),
                "pull_requests": [made.pull_request],
            },
        )
        emit.emit(
            Event.PLAN_RECORDED, plan=digest, target=lane.target.name, pull_request=made.pull_request, head=made.head
        )
