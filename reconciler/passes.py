"""One pass over one repository: observe, plan, record, apply, report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple

from reconciler.apply import Applied, Applier
from reconciler.backoff import Backoff
from reconciler.conditions import Condition, conditions
from reconciler.events import Emitter, Event, carry
from reconciler.figures import Figures
from reconciler.head_states import HeadState, head_states
from reconciler.log_pushing import Mirror, mirrored, pushed
from reconciler.looking import Look, Rules, Sources
from reconciler.matrix import Cell, HeadRows, Matrix, matrix
from reconciler.observe import Observer
from reconciler.planner import plan
from reconciler.ports import Acceptances, LogStore, Metrics, RegistryWriter, StatusReporter, StatusState
from reconciler.previews import Previews
from reconciler.publishing.notes import Note
from reconciler.publishing.publisher import Publisher, PublishTargets
from reconciler.pull_request_status import status
from reconciler.record import Recorder
from reconciler.releasing import Releaser, ReleaseTargets
from reconciler.rest import Rest
from reconciler.shown import Shower, Shown
from reconciler.stages import Stage, measured, stage
from reconciler.tag_writes import Targets
from state.canonical import Json
from state.entry import Kind
from state.errors import IntegrityError, ReconcilerError, Terminal
from state.git import CommitId
from state.history import History
from state.history_file import Folded
from state.hold import Reason
from state.observed import Mode
from state.oci import Digest
from state.oci import Repository as OciRepository
from state.plan import Plan
from state.quarantine import Breach

HOLD_LINES_MAX: Final = 100
"""Log lines about new holds that one pass writes, at most."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass saw, planned and did."""

    pass_id: str
    plan: Plan
    matrix: Matrix
    applied: Applied
    problems: tuple[ReconcilerError, ...]
    complete: bool
    """Whether the forge's listing was complete."""
    conditions: frozenset[Condition] = frozenset()
    """What stands after the pass and is worth telling when it begins and ends."""
    observed_in: CommitId | None = None
    """The newest log entry that recorded an observation."""

    @property
    def converged(self) -> bool:
        """Every cell of the matrix is there and recorded, or nothing of its pull request is previewed."""
        return all(rows.done for rows in self.matrix.rows)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The rows of the matrix."""
        return self.matrix.cells

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


class _Told(NamedTuple):
    """What a head was told, and of what."""

    of_head: HeadRows
    notes: Sequence[Note]
    made: tuple[StatusState, str]


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
        mirror: Mirror | None = None,
        intents_on_remote: bool = False,
        folded: Folded | None = None,
        upkeep: Callable[[int], None] | None = None,
    ) -> None:
        """Name everything.

        Args:
            mirror: brings the log's mirror up to an entry; what it raises is told, and stops nothing.
            folded: what the log's entries add up to; read from the log where it is not given.
            upkeep: told of the newest entry's sequence number after each pass; it does not wait for anything.
        """
        self.name = name
        self._previews = previews
        self._sources = sources
        self._writer = writer
        self._log = log
        self._mirror = mirror
        self._reporting = reporting
        self._acceptances = acceptances
        self._release = release
        self._recorder = Recorder.opened(log, folded, intents_on_remote=intents_on_remote)
        self._upkeep = upkeep
        self.publisher = Publisher(publish, self._recorder, log) if publish is not None else None
        self._rest = Rest()
        self._observer = Observer(sources, self._recorder.history, self._recorder.read, self._rest)
        self._backoff: Backoff[CommitId] = Backoff(sources.clock, sources.random)
        self._reported: dict[CommitId, _Told] = {}
        self._figures = Figures(name, reporting.metrics, sources.clock, self._recorder)
        self._held: frozenset[tuple[CommitId, OciRepository | None, Reason]] = frozenset()
        self._shower = Shower(self._recorder.history)
        self.shown: Shown | None = None
        """What the last pass left for those who look; replaced as a whole."""

    def configured(self, digest: Digest) -> None:
        """Record which configuration is in force from now on, if it is another one than before."""
        if self._recorder.history.config != digest:
            self._recorder.append(Kind.CONFIG, {"digest": digest})

    def run_pass(self, rules: Rules, hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport:
        """One pass.

        Raises what keeps the whole pass from happening: Transient and Denied of the forge, LedgerMoved, Fenced and
        IntegrityError of the log. What concerns one head or image is in the report.
        """
        with measured(self._reporting.metrics, self.name):
            return self._pass(rules, hints, stopping)

    def _pass(self, rules: Rules, hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport:
        pass_id = self._sources.random.token()
        carry(pass_id=pass_id)
        emit = self._reporting.emit.bind(pass_id=pass_id, name=self.name)
        emit.emit(Event.PASS_STARTED)
        began = self._sources.clock.now()
        applier = self._applier(emit)
        self._accept(applier, emit)
        if self.publisher is not None and rules.mode is not Mode.OBSERVE:
            with stage(Stage.MARKERS):
                self.publisher.take_markers(emit)
        look = self._look(rules, hints)
        if self._recorder.history.open_intents:
            applier.close_intents(look.reads)
            # What was just learned belongs into the snapshot that is planned on.
            look = self._look(rules, hints)
        for problem in look.problems:
            event = Event.INTEGRITY_VIOLATED if isinstance(problem, IntegrityError) else Event.PASS_PROBLEM
            emit.emit(event, error=str(problem))
        with stage(Stage.PLAN):
            made = plan(look.snapshot, look.resting)
            self._recorder.observation(look.snapshot, made, pass_id)
        self._tell_holds(made, emit)
        with stage(Stage.APPLY):
            applied = applier.carry_out(made, look, stopping, rules.policy.hold_label)
        self._pause(applied, look)
        now = self._matrix(look, made)
        if self.publisher is not None:
            with stage(Stage.PUBLISH):
                self.publisher.publish(look.snapshot, emit, stopping)
                self.publisher.show(now)
        with stage(Stage.REPORT):
            self._report_all(look, now, rules, emit)
        self._measure(look, now, made, applied, began)
        self.shown = self._shower.show(
            pass_id,
            self._sources.clock.now(),
            rules,
            look,
            now,
            log_sequence=self._recorder.sequence,
            publisher=self.publisher,
        )
        emit.emit(
            Event.PASS_FINISHED,
            heads=len(now.heads),
            holds=len(made.holds),
            actions=len(made.actions),
            writes=applied.written,
            complete=look.snapshot.listing.complete,
        )
        # Last, so that a remote that says no does not keep the rest of the pass from being told.
        with stage(Stage.PUSH):
            self._push(emit)
        if self._upkeep is not None:
            self._upkeep(self._recorder.sequence)
        refused = self.publisher.refused() if self.publisher is not None else ()
        return PassReport(
            pass_id,
            made,
            now,
            applied,
            tuple(look.problems),
            look.snapshot.listing.complete,
            conditions(made.holds, refused, look.problems, self._complete(now)),
            self._recorder.observed,
        )

    def _complete(self, now: Matrix) -> dict[CommitId, tuple[int, ...]]:
        """Complete heads and their pull requests, where no release set will tell of them."""
        if self._release is not None:
            return {}
        states = head_states(now, self._recorder.history.quarantined)
        complete = (h for h in now.heads if states[h.head] is HeadState.COMPLETE)
        return {h.head: tuple(rows.number for rows in h.rows) for h in complete}

    def _report_all(self, look: Look, now: Matrix, rules: Rules, emit: Emitter) -> None:
        if look.snapshot.listing.complete:
            self._report(now, rules.mode, emit)
        if self._previews is not None:
            history = self._recorder.history
            newest = history.newest_recorded if self._release is None else history.newest_released
            mode = Mode.OBSERVE if rules.suspended else rules.mode
            self._recorder.confirm()
            self._previews.observe(look.snapshot.listing, now, newest, mode, emit, tick=self._sources.tick)

    def _tell_holds(self, made: Plan, emit: Emitter) -> None:
        """A line for each gap that is held since this pass; after so many the count in `pass_finished` has to do."""
        now = frozenset((h.head, h.repository, h.reason) for h in made.holds)
        fresh = [h for h in made.holds if (h.head, h.repository, h.reason) not in self._held]
        for hold in fresh[:HOLD_LINES_MAX]:
            image = {} if hold.repository is None else {"repository": str(hold.repository)}
            number = {"pull_request": hold.pull_requests[0]} if hold.pull_requests else {}
            emit.emit(Event.GAP_HELD, head=hold.head, reason=hold.reason.value, **image, **number)
        self._held = now

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

    def _measure(self, look: Look, now: Matrix, made: Plan, applied: Applied, began: datetime) -> None:
        self._figures.after_pass(look, now, made, applied, began)
        if self.publisher is not None:
            self.publisher.measure(self._reporting.metrics, self.name)

    def _applier(self, emit: Emitter) -> Applier:
        s = self._sources
        metrics = self._reporting.metrics
        targets = Targets(s.forge, s.registry, self._writer, s.verifier, s.executor, metrics, s.clock, s.tick)
        releaser = Releaser(self._release, self._recorder, emit) if self._release is not None else None
        return Applier(targets, self._recorder, emit, releaser)

    def _matrix(self, look: Look, made: Plan) -> Matrix:
        """The matrix as it is after the pass: what was recorded meanwhile counts, and the holds of its plan."""
        history = self._recorder.history
        seen = replace(
            look.snapshot,
            decisions=history.decisions,
            recorded=history.recorded,
            quarantined=_breaches(history),
            released=history.released,
        )
        resting = self._rest.rows(seen, look.resting, history.versions)
        found = matrix(seen, made, resting)
        self._rest.keep(seen, found, resting, history.versions)
        return found

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
        done = pushed(self._log, emit)
        if done is None:
            self._figures.not_pushed()
            return
        if done:
            self._figures.pushed()
        if self._mirror is not None and (tip := self._log.tip()) is not None:
            behind = not mirrored(self._mirror, tip, emit)
            self._reporting.metrics.gauge("log_mirror_behind", int(behind), repository=self.name)

    def _report(self, matrix: Matrix, mode: Mode, emit: Emitter) -> None:
        """One status per head, where it differs from the last one. Re-derived output: losing one costs nothing.

        Not for an incomplete listing, which would turn every head's status over for what is told of none of them.
        """
        if mode is Mode.OBSERVE:
            return
        now = {}
        for n, of_head in enumerate(matrix.heads, 1):
            head, before = of_head.head, self._reported.get(of_head.head)
            self._sources.tick("telling heads", n, len(matrix.heads))
            notes = self.publisher.notes(of_head.told.number, head) if self.publisher is not None else ()
            if before is not None and before.of_head is of_head and before.notes == notes and of_head.told.done:
                now[head] = before  # only of what is waited for the text grows with time
                continue
            made = status(of_head.told.cells, self._age_s(head), notes=notes)
            now[head] = _Told(of_head, notes, made)
            if before is not None and before.made == made:
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
