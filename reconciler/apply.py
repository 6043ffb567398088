"""One plan carried out: re-check the premise, write the intent, write, prove, record.

Invariants 1, 4 and 7 live here: a decision is in the log before the first write of its head, a tag that exists is never
written, and every batch of writes has one intent before and one outcome after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from reconciler.absence import PassReads
from reconciler.admission import Head
from reconciler.events import Emitter, Event
from reconciler.heads import Examiner
from reconciler.looking import Look
from reconciler.premise import Premise
from reconciler.record import Recorder
from reconciler.releasing import Planned, Releaser
from reconciler.tag_writes import TagWriter, Targets, Written, recovered
from state.canonical import Json
from state.entry import Kind
from state.errors import ReconcilerError, Terminal
from state.git import CommitId
from state.observed import Absent, Present, TagState
from state.oci import Tag
from state.plan import Adopt, EndHead, PinDecision, Plan, QuarantineHead, Release, ResolveDecision, Retag
from state.quarantine import Acceptance, Breach
from state.writes import Result, Write

BATCH_MAX_RELEASES: Final = 100
BATCH_MAX_WRITES: Final = 500
ADOPTED_PER_ENTRY: Final = 1000
"""A batch's intent stays readable, and a stop never waits for more than this many writes."""


@dataclass(slots=True)
class Applied:
    """What became of a plan."""

    written: int = 0
    adopted: int = 0
    released: int = 0
    dropped: int = 0
    failed: dict[CommitId, str] = field(default_factory=dict)
    """Heads with a write that did not succeed, and why: they are tried again after a pause."""


class Applier:
    """Carries out plans for one repository."""

    def __init__(self, targets: Targets, recorder: Recorder, emit: Emitter, releaser: Releaser | None = None) -> None:
        self._targets = targets
        self._releaser = releaser
        self._recorder = recorder
        self._premise = Premise(targets, emit)
        self._writer = TagWriter(targets, recorder.confirm)
        self._emit = emit.emit

    def carry_out(self, plan: Plan, look: Look, stopping: Callable[[], bool], hold_label: str | None) -> Applied:
        """Do what the plan says, as far as its premises still hold.

        Raises LedgerMoved or Fenced if the log is no longer ours, Transient if it cannot be written: nothing is written
        to the registry then. A write that fails is in `Applied.failed`, not an error. `stopping` is asked between
        batches: a batch that was begun is finished.
        """
        applied = Applied()
        retags: list[Retag] = []
        adopts: list[Adopt] = []
        releases: list[Release] = []
        for action in plan.actions:
            match action:
                case EndHead(head, numbers):
                    body = self._recorder.history.tombstone(head, numbers)
                    self._recorder.append(Kind.TOMBSTONE, body)
                    self._emit(Event.HEAD_ENDED, head=head, pull_request=numbers[0])
                case PinDecision(decision):
                    self._recorder.append(Kind.DECISION, decision.to_json())
                    self._emit(Event.DECISION_PINNED, head=decision.head, pull_request=decision.pull_requests[0])
                case ResolveDecision():
                    self._recorder.append(Kind.DECISION, action.to_json())
                    self._emit(Event.DECISION_RESOLVED, head=action.head, pull_request=action.pull_requests[0])
                case QuarantineHead():
                    self._quarantine(action)
                case Adopt():
                    adopts.append(action)
                case Retag():
                    retags.append(action)
                case Release():
                    releases.append(action)
        if adopts:
            self._adopt(adopts, applied)
        for start in range(0, len(retags), BATCH_MAX_WRITES):
            if stopping():
                break
            self._fill(retags[start : start + BATCH_MAX_WRITES], look, hold_label, applied)
        for start in range(0, len(releases), BATCH_MAX_RELEASES):
            if stopping():
                break
            self._release(releases[start : start + BATCH_MAX_RELEASES], look, hold_label, applied)
        return applied

    def close_intents(self, reads: PassReads) -> bool:
        """Close what a crash left open, by looking at the registry; False if some could not be read yet."""
        closed = True
        for intent, writes in list(self._recorder.history.open_intents.items()):
            found = self._targets.executor.map(lambda w: reads.tag(w.repository, Tag(w.head)), writes)
            outcomes = [recovered(w, state) for w, state in zip(writes, found, strict=True)]
            known = [o for o in outcomes if o is not None]
            if len(known) < len(outcomes):
                closed = False
                continue
            self._outcome(intent, known)
        return closed

    def accept(self, acceptance: Acceptance) -> bool:
        """Record that a quarantined head goes on; False if what was accepted is not what is in quarantine now."""
        history = self._recorder.history
        standing = history.quarantined.get(acceptance.head)
        if standing is None or standing.entry != acceptance.quarantine:
            self._emit(Event.ACCEPTANCE_REFUSED, head=acceptance.head, detail=acceptance.reason)
            return False
        decision = history.decisions.get(acceptance.head)
        body: dict[str, Json] = {
            "accepted": acceptance.to_json(),
            "head": acceptance.head,
            "pull_requests": [*(decision.pull_requests if decision is not None else ())],
        }
        self._recorder.append(Kind.QUARANTINE, body)
        self._emit(Event.HEAD_ACCEPTED, head=acceptance.head, detail=acceptance.reason)
        return True

    # --- quarantine

    def _quarantine(self, action: QuarantineHead) -> None:
        """Look once more, with a control of its own: one odd answer shall not stop a head for good."""
        reads = PassReads(self._targets.registry)
        states = self._targets.executor.map(lambda b: reads.tag(b.repository, Tag(action.head)), action.breaches)
        sure = tuple(b for b, state in zip(action.breaches, states, strict=True) if _confirms(b, state))
        if not sure:
            return
        self._recorder.append(Kind.QUARANTINE, action._replace(breaches=sure).to_json())
        for breach in sure:
            self._emit(
                Event.HEAD_QUARANTINED,
                repository=breach.repository,
                tag=action.head,
                pull_request=action.pull_requests[0],
                detail=str(breach),
            )

    # --- adopting

    def _adopt(self, adopts: Sequence[Adopt], applied: Applied) -> None:
        # In portions: an entry of the log is bounded, what a cold start finds is not.
        for at in range(0, len(adopts), ADOPTED_PER_ENTRY):
            batch = adopts[at : at + ADOPTED_PER_ENTRY]
            self._recorder.append(Kind.OUTCOME, {"intent": None, "writes": [_adopted(a) for a in batch]})
            for a in batch:
                self._emit(Event.TAG_ADOPTED, repository=a.repository, tag=a.head, digest=a.digest)
            applied.adopted += len(batch)

    # --- releasing

    def _release(self, batch: Sequence[Release], look: Look, hold_label: str | None, applied: Applied) -> None:
        if self._releaser is None:
            raise Terminal("a release was planned, and nothing to release with was set up; this is a bug")
        wanted = self._premise.still_wanted(batch, hold_label, look.snapshot)
        due = [r for r in batch if r.head in wanted]
        examiner, requests = Examiner(look.snapshot), look.snapshot.listing.pull_requests
        planned = []
        for release in due:
            members = tuple(pr for pr in requests if pr.number in release.pull_requests)
            planned.append(Planned(release, examiner.examine(Head(release.head, members))))
        failed = self._releaser.publish(planned, look.snapshot)
        applied.failed |= failed
        applied.dropped += len(batch) - len(due)
        applied.released += len(due) - len(failed)

    # --- filling

    def _fill(self, batch: Sequence[Retag], look: Look, hold_label: str | None, applied: Applied) -> None:
        # 1. The premise, per write: an open head still wants this tag, and nobody has made it.
        wanted = self._premise.still_wanted(batch, hold_label, look.snapshot)
        absent = self._premise.still_absent([r for r in batch if r.head in wanted])
        # 2. The bytes are what the decision named, and the baseline is verified now.
        due, unusable = self._premise.with_bytes(absent, look.manifests)
        applied.failed |= unusable
        applied.dropped += len(batch) - len(due)
        if not due:
            return
        # 3. One intent for the batch, the writes, one outcome: a crash between any two is visible in the log.
        intent = self._recorder.append(Kind.INTENT, {"writes": [d.write.to_json() for d in due]})
        outcomes = self._writer.write(due)
        self._outcome(intent, outcomes)
        for outcome in outcomes:
            self._tell(outcome, applied)

    def _outcome(self, intent: CommitId, outcomes: Sequence[Written]) -> None:
        body: dict[str, Json] = {"intent": intent, "writes": [o.to_json() for o in outcomes]}
        # An intent about evidence that is still open: what came of it is looked up when it is wanted again.
        if (evidence := self._recorder.history.open_evidence.get(intent)) is not None:
            for name, rows in (("attachments", evidence.attachments), ("publications", evidence.publications)):
                body[name] = [{**row.to_json(), "result": Result.UNCERTAIN.value} for row in rows]
        self._recorder.append(Kind.OUTCOME, body)

    # --- telling

    def _tell(self, outcome: Written, applied: Applied) -> None:
        write = outcome.write
        self._targets.metrics.count("tag_writes", result=outcome.result.value)
        match outcome.result:
            case Result.WRITTEN:
                applied.written += 1
                self._emit(Event.TAG_WRITTEN, repository=write.repository, tag=write.head, digest=write.digest)
            case Result.CONFLICT:
                applied.failed[write.head] = outcome.why
                self._emit(Event.INTEGRITY_VIOLATED, repository=write.repository, tag=write.head, error=outcome.why)
            case _:
                applied.failed[write.head] = outcome.why
                self._emit(Event.TAG_WRITE_FAILED, repository=write.repository, tag=write.head, error=outcome.why)


def _adopted(a: Adopt) -> Json:
    """The row of an outcome for a tag that was there already."""
    return {
        **Write(a.repository, a.head, a.digest, a.pull_requests, a.proven).to_json(),
        "found": a.digest,
        "how": a.how.value,
        "replaces": a.replaces,
        "result": Result.ADOPTED.value,
        "settled": True,
    }


def _confirms(breach: Breach, state: TagState | Exception) -> bool:
    match state:
        case Present(digest, _):
            return digest == breach.found
        case Absent():
            return breach.found is None
        case Exception() as error if not isinstance(error, ReconcilerError):
            raise error
        case _:
            return False
