"""One pass over one repository: observe, plan, record, apply, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.apply import Applied, Applier, Targets
from reconciler.backoff import Backoff
from reconciler.events import Emitter, Event
from reconciler.looking import Look, Rules, Sources
from reconciler.matrix import DONE, Cell, State, heads_of, matrix
from reconciler.observe import Observer
from reconciler.planner import plan
from reconciler.ports import Acceptances, LogStore, Metrics, RegistryWriter, StatusReporter, StatusState
from reconciler.previews import Previews
from reconciler.publishing.publisher import Publisher, PublishTargets
from reconciler.pull_request_status import status
from reconciler.record import Recorder
from reconciler.releasing import Releaser, ReleaseTargets
from state.canonical import Json
from state.entry import Kind
from state.errors import Denied, IntegrityError, ReconcilerError, Terminal, Transient
from state.git import CommitId
from state.history import History
from state.hold import Reason
from state.observed import Mode
from state.oci import Digest
from state.plan import Plan
from state.quarantine import Breach


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass saw, planned and did."""

    pass_id: str
    plan: Plan
    cells: tuple[Cell, ...]
    applied: Applied
    problems: tuple[ReconcilerError, ...]
    complete: bool
    """Whether the forge's listing was complete."""

    @property
    def converged(self) -> bool:
        """Every cell of the matrix is there and recorded, or nothing of its pull request is previewed."""
        return all(c.state in DONE for c in self.cells)

    def to_json(self, name: str) -> dict[str, Json]:
        """The report of the repository `name` for a machine."""
        return {
            "complete": self.complete,
            "converged": self.converged,
            "matrix": [c.to_json() for c in self.cells],
            "pass": self.pass_id,
            "plan": self.plan.to_json(),
            "problems": [str(p) for p in self.problems],
            "repository": name,
            "written": self.applied.written,
        }


@dataclass(frozen=True, slots=True)
class Reporting:
    """Where a pass tells what it did, besides the log."""

    emit: Emitter
    metrics: Metrics
    status: StatusReporter


class Repository:
    """One code repository under reconciliation: its readers, its log, and what it remembers between passes."""

    def __init__(
        self,
        name: str,
        sources: Sources,
        writer: RegistryWriter,
        log: LogStore,
        reporting: Reporting,
        *,
        acceptances: Acceptances,
        release: ReleaseTargets | None = None,
        previews: Previews | None = None,
        publish: PublishTargets | None = None,
        intents_on_remote: bool = False,
    ) -> None:
        self.name = name
        self._previews = previews
        self._sources = sources
        self._writer = writer
        self._log = log
        self._reporting = reporting
        self._acceptances = acceptances
        self._release = release
        self._recorder = Recorder.opened(log, intents_on_remote=intents_on_remote)
        self.publisher = Publisher(publish, self._recorder, log) if publish is not None else None
        self._observer = Observer(sources, self._recorder.history, self._recorder.read)
        self._backoff: Backoff[CommitId] = Backoff(sources.clock, sources.random)
        self._reported: dict[CommitId, tuple[StatusState, str]] = {}

    def configured(self, digest: Digest) -> None:
        """Record which configuration is in force from now on, if it is another one than before."""
        if self._recorder.history.config != digest:
            self._recorder.append(Kind.CONFIG, {"digest": digest})

    def run_pass(self, rules: Rules, hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport:
        """One pass.

        Raises what keeps the whole pass from happening: Transient and Denied of the forge, LedgerMoved, Fenced and
        IntegrityError of the log. What concerns one head or image is in the report.
        """
        pass_id = self._sources.random.token()
        emit = self._reporting.emit.bind(pass_id=pass_id, name=self.name)
        applier = self._applier(emit)
        self._accept(applier, emit)
        if self.publisher is not None and rules.mode is not Mode.OBSERVE:
            self.publisher.take_markers(emit)
        look = self._look(rules, hints)
        if self._recorder.history.open_intents:
            applier.close_intents(look.reads)
            # What was just learned belongs into the snapshot that is planned on.
            look = self._look(rules, hints)
        for problem in look.problems:
            event = Event.INTEGRITY_VIOLATED if isinstance(problem, IntegrityError) else Event.PASS_PROBLEM
            emit.emit(event, error=str(problem))
        made = plan(look.snapshot)
        self._recorder.observation(look.snapshot, made, pass_id)
        applied = applier.carry_out(made, look, stopping, rules.policy.hold_label)
        self._pause(applied, look)
        cells = self._cells(look, made)
        if self.publisher is not None:
            self.publisher.publish(look.snapshot, emit, stopping)
            self.publisher.show(cells)
        if look.snapshot.listing.complete:
            self._report(cells, rules.mode, emit)
        if self._previews is not None:
            history = self._recorder.history
            newest = history.newest_recorded if self._release is None else history.newest_released
            mode = Mode.OBSERVE if rules.suspended else rules.mode
            self._recorder.confirm()
            self._previews.observe(look.snapshot.listing, cells, newest, mode, emit, tick=self._sources.tick)
        self._measure(look, cells, made, applied)
        emit.emit(
            Event.PASS_FINISHED,
            heads=len({c.head for c in cells}),
            holds=len(made.holds),
            actions=len(made.actions),
            writes=applied.written,
            complete=look.snapshot.listing.complete,
        )
        # Last, so that a remote that says no does not keep the rest of the pass from being told.
        self._push(emit)
        return PassReport(pass_id, made, cells, applied, tuple(look.problems), look.snapshot.listing.complete)

    def _look(self, rules: Rules, hints: frozenset[int]) -> Look:
        admitted = self.publisher.admitted if self.publisher is not None else None
        return self._observer.look(rules, self._backoff.waiting(), hints, admitted)

    def _accept(self, applier: Applier, emit: Emitter) -> None:
        """Take up what operators said of quarantined heads, before the look that goes by it."""
        try:
            pending = self._acceptances.pending()
        except Terminal as error:
            emit.emit(Event.PASS_PROBLEM, error=str(error))
            return
        for acceptance in pending:
            applier.accept(acceptance)
            self._acceptances.done(acceptance)

    def _measure(self, look: Look, cells: tuple[Cell, ...], made: Plan, applied: Applied) -> None:
        metrics, name = self._reporting.metrics, self.name
        for state in State:
            metrics.gauge("cells", sum(c.state is state for c in cells), repository=name, state=state.value)
        held = Counter(hold.reason for hold in made.holds)
        for reason in Reason:
            metrics.gauge("holds", held[reason], repository=name, reason=reason.value)
        metrics.gauge("quarantined_heads", len(self._recorder.history.quarantined), repository=name)
        metrics.gauge("write_budget_remaining", look.snapshot.writes_left, repository=name)
        metrics.count("release_sets_published", applied.released, repository=name)
        metrics.count("tags_adopted", applied.adopted, repository=name)
        metrics.count("actions_dropped", applied.dropped, repository=name)
        violations = sum(isinstance(p, IntegrityError) for p in look.problems)
        metrics.count("integrity_violations", violations, repository=name)
        metrics.gauge("log_sequence", self._recorder.sequence, repository=name)
        if self.publisher is not None:
            self.publisher.measure(metrics, name)
        if look.snapshot.listing.complete:
            seen_at = self._sources.clock.now().timestamp()
            metrics.gauge("last_complete_pass_timestamp_seconds", seen_at, repository=name)

    def _applier(self, emit: Emitter) -> Applier:
        s = self._sources
        metrics = self._reporting.metrics
        targets = Targets(s.forge, s.registry, self._writer, s.verifier, s.executor, metrics, s.clock, s.tick)
        releaser = Releaser(self._release, self._recorder, emit) if self._release is not None else None
        return Applier(targets, self._recorder, emit, releaser)

    def _cells(self, look: Look, made: Plan) -> tuple[Cell, ...]:
        """The matrix as it is after the pass: what was recorded meanwhile counts, and the holds of its plan."""
        history = self._recorder.history
        return matrix(
            replace(
                look.snapshot,
                decisions=history.decisions,
                recorded=history.recorded,
                quarantined=_breaches(history),
                released=history.released,
            ),
            made,
        )

    def _pause(self, applied: Applied, look: Look) -> None:
        heads = frozenset(pr.head for pr in look.snapshot.listing.pull_requests)
        self._backoff.keep(heads)
        for head in heads & self._recorder.history.decisions.keys():
            if head in applied.failed:
                self._backoff.failed(head)
            elif head not in look.snapshot.backing_off:
                self._backoff.succeeded(head)

    def _push(self, emit: Emitter) -> None:
        """Bring the log's remote up to date. One that does not take it is told; the log is safe here meanwhile."""
        try:
            self._log.push()
        except (Transient, Denied) as error:
            emit.emit(Event.LOG_NOT_PUSHED, error=str(error))

    def _report(self, cells: tuple[Cell, ...], mode: Mode, emit: Emitter) -> None:
        """One status per head, where it differs from the last one. Re-derived output: losing one costs nothing.

        Not for an incomplete listing, which would turn every head's status over for what is told of none of them.
        """
        if mode is Mode.OBSERVE:
            return
        now = {}
        by_head = list(heads_of(cells))
        for n, (head, rows) in enumerate(by_head, 1):
            self._sources.tick("telling heads", n, len(by_head))
            notes = self.publisher.notes(rows[0].pr, head) if self.publisher is not None else ()
            made = now[head] = status(rows, self._age_s(head), notes=notes)
            if self._reported.get(head) == made:
                continue
            self._recorder.confirm()
            try:
                self._reporting.status.report(head, *made)
            except ReconcilerError as error:
                emit.emit(Event.STATUS_NOT_REPORTED, head=head, error=str(error))
                del now[head]
        self._reported = now

    def _age_s(self, head: CommitId) -> float | None:
        """Seconds since the head was decided; None where it was not."""
        decided = self._recorder.history.decided_at.get(head)
        if decided is None:
            return None
        return self._sources.clock.now().timestamp() - datetime.fromisoformat(decided).timestamp()


def _breaches(history: History) -> dict[CommitId, tuple[Breach, ...]]:
    return {head: quarantine.breaches for head, quarantine in history.quarantined.items()}
