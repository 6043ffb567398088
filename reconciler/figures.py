"""The numbers that a pass leaves about its repository."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from reconciler.head_states import Drift, HeadState, drift, head_states
from reconciler.looking import Look
from reconciler.matrix import HeadRows, Matrix, State
from reconciler.ports import Clock, Metrics
from reconciler.record import Recorder
from state.entry import Kind
from state.errors import IntegrityError
from state.git import CommitId
from state.hold import Reason
from state.plan import Plan

if TYPE_CHECKING:
    from reconciler.apply import Applied


class _Counted(NamedTuple):
    head: HeadRows
    states: Counter[State]
    drifted: Counter[Drift]


class Figures:
    """Sets the metrics of the repository `name` from what its passes saw and did."""

    def __init__(self, name: str, metrics: Metrics, clock: Clock, recorder: Recorder) -> None:
        self._name = name
        self._metrics = metrics
        self._clock = clock
        self._recorder = recorder
        # Becoming the log's writer pushed everything, where there is a remote to push to.
        self._pushed_sequence = recorder.sequence
        self._appended: Counter[Kind] = Counter()
        self._complete: frozenset[CommitId] | None = None
        """The complete heads of the pass before; None before the first one."""
        self._counted: dict[CommitId, _Counted] = {}

    def after_pass(self, look: Look, matrix: Matrix, made: Plan, applied: Applied, began: datetime) -> None:
        """Everything about a pass that began at `began`; the matrix is as it is after it."""
        metrics, name, history = self._metrics, self._name, self._recorder.history
        found, drifted = self._count(matrix)
        for state in State:
            metrics.gauge("cells", found[state], repository=name, state=state.value)
        held = Counter(hold.reason for hold in made.holds)
        for reason in Reason:
            metrics.gauge("holds", held[reason], repository=name, reason=reason.value)
        self._heads(head_states(matrix, history.quarantined))
        for kind in Drift:
            metrics.gauge("baseline_drift", drifted[kind], repository=name, kind=kind.value)
        metrics.gauge("quarantined_heads", len(history.quarantined), repository=name)
        metrics.gauge("write_budget_remaining", look.snapshot.writes_left, repository=name)
        metrics.gauge("unread", len(look.problems), repository=name)
        metrics.count("release_sets_published", applied.released, repository=name)
        metrics.count("tags_adopted", applied.adopted, repository=name)
        metrics.count("actions_dropped", applied.dropped, repository=name)
        violations = sum(isinstance(p, IntegrityError) for p in look.problems)
        metrics.count("integrity_violations", violations, repository=name)
        if look.snapshot.listing.complete:
            metrics.gauge("last_complete_listing_timestamp_seconds", began.timestamp(), repository=name)
            ended = self._clock.now().timestamp()
            metrics.gauge("last_complete_pass_timestamp_seconds", ended, repository=name)
        self._log()

    def pushed(self) -> None:
        """The log's remote has everything."""
        self._pushed_sequence = self._recorder.sequence
        now = self._clock.now().timestamp()
        self._metrics.gauge("log_last_push_timestamp_seconds", now, repository=self._name)
        self._metrics.count("log_pushes", repository=self._name, result="pushed")
        self._lag()

    def not_pushed(self) -> None:
        """The log's remote did not take what is new."""
        self._metrics.count("log_pushes", repository=self._name, result="failed")
        self._lag()

    def _lag(self) -> None:
        behind = self._recorder.sequence - self._pushed_sequence
        self._metrics.gauge("log_unpushed_entries", behind, repository=self._name)

    def _log(self) -> None:
        self._metrics.gauge("log_sequence", self._recorder.sequence, repository=self._name)
        for kind, count in (self._recorder.appended - self._appended).items():
            self._metrics.count("log_appends", count, repository=self._name, kind=kind.value)
        self._appended = Counter(self._recorder.appended)

    def _count(self, matrix: Matrix) -> tuple[Counter[State], Counter[Drift]]:
        """Cells by state, and images by drift. Each head is counted when its rows have changed."""
        decisions, now = self._recorder.history.decisions, {}
        for head in matrix.heads:
            kept = self._counted.get(head.head)
            if kept is None or kept.head is not head:
                states = Counter(cell.state for rows in head.rows for cell in rows.cells)
                kept = _Counted(head, states, drift(head, decisions.get(head.head)))
            now[head.head] = kept
        self._counted = now
        found: Counter[State] = Counter()
        drifted: Counter[Drift] = Counter()
        for kept in now.values():
            found.update(kept.states)
            drifted.update(kept.drifted)
        return found, drifted

    def _heads(self, states: dict[CommitId, HeadState]) -> None:
        counted = Counter(states.values())
        for state in HeadState:
            self._metrics.gauge("heads", counted[state], repository=self._name, state=state.value)
        complete = frozenset(head for head, state in states.items() if state is HeadState.COMPLETE)
        now = self._clock.now().timestamp()
        # What was complete when the process started was completed at a time that is not known to it.
        for head in complete - (complete if self._complete is None else self._complete):
            if (decided := self._recorder.history.decided_at.get(head)) is not None:
                took_s = max(0.0, now - datetime.fromisoformat(decided).timestamp())
                self._metrics.observe("head_completion", took_s, repository=self._name)
        self._complete = complete
