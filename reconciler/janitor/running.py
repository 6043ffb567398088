"""One run of the janitor: look, decide, record, and delete what its turn has come for.

1. Look at the cluster, read the log as it was pushed, decide. Where nothing is to be done, nothing is written.
2. Become the log's writer (an epoch of our own, pushed), close what a crash left open, look and decide again.
3. One entry puts up and takes down tombstones.
4. Per namespace whose turn it is: read it again; one intent, pushed; read all Applications again; ask the log whether
   it is still ours; delete, with the UID and resourceVersion that were read; one outcome.

So nothing is deleted that is not on the log's remote first, and a writer that lost its epoch deletes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from reconciler.events import Emitter, Event
from reconciler.janitor.cluster import ClusterReader, ClusterWriter, Deleted, Sight
from reconciler.janitor.deciding import Act, Decision, Policy, Reason, Ruling, Tombstone, decide, is_ours
from reconciler.janitor.records import Deletion, Graves, Result, intent_body, outcome_body, tombstone_body
from reconciler.ports import LogStore
from state.canonical import Json
from state.entry import Kind, Logged
from state.errors import Transient


class Cluster(ClusterReader, ClusterWriter, Protocol):
    """Both sides of the port."""


class Done(NamedTuple):
    """What became of one deletion, or of a rehearsal of it."""

    name: str
    result: Result
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a run decided and did."""

    decision: Decision
    done: tuple[Done, ...] = ()
    rehearsed: bool = False
    """Nothing was recorded or deleted: a dry run, or a configuration that writes nothing."""

    @property
    def clean(self) -> bool:
        """No listing was lost, nothing is stuck, and every deletion that had its turn went as it should."""
        settled = all(d.result not in _FAILED for d in self.done)
        return self.decision.complete and settled and all(r.reason is not Reason.STUCK for r in self.decision.rulings)

    def to_json(self, repository: str) -> dict[str, Json]:
        return {
            "complete": self.decision.complete,
            "deletions": [{"name": d.name, "result": d.result.value, "why": d.why} for d in self.done],
            "namespaces": [ruling_json(r) for r in self.decision.rulings],
            "rehearsed": self.rehearsed,
            "repository": repository,
            "why": self.decision.why,
            "withdrawn": [{"name": w.tombstone.name, "why": w.why} for w in self.decision.withdrawn],
        }


_FAILED = frozenset({Result.REFUSED, Result.UNCERTAIN})


def ruling_json(ruling: Ruling) -> dict[str, Json]:
    namespace = ruling.namespace
    return {
        "act": ruling.act.value,
        "conditions": [{"message": c.message, "type": c.type} for c in namespace.conditions],
        "finalizers": list(namespace.finalizers),
        "name": namespace.name,
        "reason": ruling.reason.value,
        "tombstone": None if ruling.tombstone is None else ruling.tombstone.entry,
        "uid": namespace.uid,
        "why": ruling.why,
    }


@dataclass(frozen=True, slots=True)
class Janitor:
    """Runs for one repository.

    Args:
        peek: the log's entries as its remote has them; asked first, so that a run without work writes nothing.
        open_log: the log, active; closed after the run.
        emit: an emitter that names the repository.
    """

    cluster: Cluster
    policy: Policy
    peek: Callable[[], Iterable[Logged]]
    open_log: Callable[[], AbstractContextManager[LogStore]]
    emit: Emitter
    stopping: Callable[[], bool] = field(default=lambda: False)

    def plan(self) -> Decision:
        """What a run would do now. Reads only."""
        return self._decide(self.cluster.look(), _fold(self.peek()))

    def run(self, *, rehearse: bool = False) -> Report:
        """One run. With `rehearse` deletions are sent as dry runs, and nothing is recorded.

        Raises Denied, Terminal or Transient where the cluster or the log gives no usable answer; Fenced or LedgerMoved
        where another janitor took the log over.
        """
        sight, graves = self.cluster.look(), _fold(self.peek())
        decision = self._decide(sight, graves)
        if rehearse:
            report = Report(decision, tuple(self._rehearsed(decision)), rehearsed=True)
        elif decision.is_noop and not graves.open_intents:  # as every incomplete one is
            report = Report(decision)
        else:
            with self.open_log() as log:
                report = self._act(log)
        self._tell(report)
        return report

    def _decide(self, sight: Sight, graves: Graves) -> Decision:
        return decide(sight.namespaces, sight.applications, self.policy, sight.at, graves.standing.values())

    def _act(self, log: LogStore) -> Report:
        graves = _fold(log.entries())
        self._close_intents(log, graves)
        sight = self.cluster.look()
        decision = self._decide(sight, graves)
        buried = decision.acts(Act.BURY)
        if buried or decision.withdrawn:
            body = tombstone_body((r.namespace for r in buried), decision.withdrawn, sight.at)
            log.append(Kind.TOMBSTONE, body)
        done = []
        for ruling in decision.acts(Act.DELETE):
            if self.stopping():
                break
            done.append(self._delete(log, ruling))
        log.push()
        return Report(decision, tuple(done))

    def _close_intents(self, log: LogStore, graves: Graves) -> None:
        """Close what a crash left open, by looking."""
        for intent, deletions in list(graves.open_intents.items()):
            results = []
            for deletion in deletions:
                now = self.cluster.namespace(deletion.name)
                if now is None or now.uid != deletion.uid:
                    result = Result.GONE
                else:
                    result = Result.DELETED if now.terminating else Result.DROPPED
                results.append((deletion, result, "found at the start of a run"))
            closed = log.append(Kind.OUTCOME, outcome_body(intent, results))
            graves.apply(closed.id, closed.entry)

    def _delete(self, log: LogStore, ruling: Ruling) -> Done:
        name, stone = ruling.namespace.name, _of(ruling)
        now = self.cluster.namespace(name)
        if now is None or now.uid != stone.uid or now.terminating or not is_ours(self.policy, now):
            return Done(name, Result.CHANGED, "it is not the namespace any more that was looked at")
        deletion = Deletion(name, now.uid, now.resource_version, stone.entry)
        intent = log.append(Kind.INTENT, intent_body(deletion))
        log.push()
        result, why = Result.UNCERTAIN, ""
        try:
            applications = self.cluster.applications()
            referrer = next((a for a in applications.items if name in a.refers_to), None)
            if referrer is not None:
                result, why = Result.REFERENCED, f"{referrer} refers to it now"
            elif not applications.complete:
                result, why = Result.DROPPED, applications.why
            else:
                log.confirm()
                answered = self.cluster.delete_namespace(now)
                result, why = _RESULTS[answered.deleted], answered.why
        except Transient as error:
            why = str(error)
        log.append(Kind.OUTCOME, outcome_body(intent.id, [(deletion, result, why)]))
        return Done(name, result, why)

    def _rehearsed(self, decision: Decision) -> Iterable[Done]:
        for ruling in decision.acts(Act.DELETE):
            answered = self.cluster.delete_namespace(ruling.namespace, dry_run=True)
            yield Done(ruling.namespace.name, _RESULTS[answered.deleted], answered.why or "dry run")

    def _tell(self, report: Report) -> None:
        emit, decision = self.emit.emit, report.decision
        if not decision.complete:
            emit(Event.PASS_PROBLEM, error=decision.why)
        for ruling in decision.rulings:
            if ruling.reason is Reason.STUCK:
                emit(Event.NAMESPACE_STUCK, namespace=ruling.namespace.name, detail=ruling.why)
        if not report.rehearsed:
            for ruling in decision.acts(Act.BURY):
                emit(Event.NAMESPACE_MARKED, namespace=ruling.namespace.name, detail=ruling.why)
            for withdrawal in decision.withdrawn:
                emit(Event.NAMESPACE_SPARED, namespace=withdrawal.tombstone.name, detail=withdrawal.why)
        for done in report.done:
            taken = done.result is Result.DELETED
            event = Event.NAMESPACE_DELETED if taken and not report.rehearsed else Event.NAMESPACE_NOT_DELETED
            emit(event, namespace=done.name, result=done.result.value, detail=done.why)
        emit(
            Event.JANITOR_RAN,
            complete=decision.complete,
            planned=len(decision.acts(Act.DELETE)),
            writes=0 if report.rehearsed else sum(d.result is Result.DELETED for d in report.done),
            holds=len(decision.acts(Act.KEEP)),
        )


_RESULTS = {
    Deleted.ACCEPTED: Result.DELETED,
    Deleted.GONE: Result.GONE,
    Deleted.CHANGED: Result.CHANGED,
    Deleted.REFUSED: Result.REFUSED,
}


def _of(ruling: Ruling) -> Tombstone:
    assert ruling.tombstone is not None  # noqa: S101 - `decide` deletes nothing without one
    return ruling.tombstone


def _fold(entries: Iterable[Logged]) -> Graves:
    graves = Graves()
    for logged in entries:
        graves.apply(logged.id, logged.entry)
    return graves
