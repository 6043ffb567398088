"""One plan carried out: re-check the premise, write the intent, write, prove, record.

Invariants 1, 4 and 7 live here: a decision is in the log before the first write of its head, a tag that exists is never
written, and every batch of writes has one intent before and one outcome after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final, NamedTuple, TypeVar

from reconciler import admission
from reconciler.absence import PassReads
from reconciler.admission import Head
from reconciler.events import Emitter, Event
from reconciler.heads import Examiner
from reconciler.looking import Look, Tick, no_tick
from reconciler.ports import (
    TAGS_PER_PUT,
    Clock,
    Executor,
    ForgeReader,
    Metrics,
    Purpose,
    RegistryReader,
    RegistryWriter,
    Verifier,
)
from reconciler.record import Recorder
from reconciler.releasing import Planned, Releaser
from state.canonical import Json
from state.entry import Kind
from state.errors import Fenced, IntegrityError, LedgerMoved, LogRollback, ReconcilerError, Terminal, Transient
from state.git import CommitId
from state.history import Result, Write
from state.observed import Absent, How, Present, PullRequest, Snapshot, TagState
from state.oci import Digest, Manifest, Repository, Tag
from state.plan import Adopt, EndHead, PinDecision, Plan, QuarantineHead, Release, ResolveDecision, Retag
from state.quarantine import Acceptance, Breach
from state.verdict import Outcome, Verdict

T = TypeVar("T")

BATCH_MAX_RELEASES: Final = 100
BATCH_MAX_WRITES: Final = 500
ADOPTED_PER_ENTRY: Final = 1000
"""A batch's intent stays readable, and a stop never waits for more than this many writes."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What applying a plan needs: the readers of the premise, and the one writer."""

    forge: ForgeReader
    registry: RegistryReader
    writer: RegistryWriter
    verifier: Verifier
    executor: Executor
    metrics: Metrics
    clock: Clock
    tick: Tick = no_tick
    """Told of every write: a paced batch takes longer than a loop may be silent."""


@dataclass(slots=True)
class Applied:
    """What became of a plan."""

    written: int = 0
    adopted: int = 0
    released: int = 0
    dropped: int = 0
    failed: dict[CommitId, str] = field(default_factory=dict)
    """Heads with a write that did not succeed, and why: they are tried again after a pause."""


class _Written(NamedTuple):
    write: Write
    result: Result
    settled: bool = False
    found: Digest | None = None
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        return {
            **self.write.to_json(),
            "found": self.found,
            "how": How.RETAGGED.value,
            "result": self.result.value,
            "settled": self.settled,
        }


class _Due(NamedTuple):
    write: Write
    manifest: Manifest
    tried: bool = False
    """A request for several tags was answered without this one: it may be in place all the same."""


class Applier:
    """Carries out plans for one repository."""

    def __init__(self, targets: Targets, recorder: Recorder, emit: Emitter, releaser: Releaser | None = None) -> None:
        self._targets = targets
        self._releaser = releaser
        self._recorder = recorder
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
            outcomes = [_recovered(w, state) for w, state in zip(writes, found, strict=True)]
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
        wanted = self._still_wanted(batch, hold_label, look.snapshot)
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
        wanted = self._still_wanted(batch, hold_label, look.snapshot)
        absent = self._still_absent([r for r in batch if r.head in wanted])
        # 2. The bytes are what the decision named, and the baseline is verified now.
        due = self._with_bytes(absent, look, applied)
        applied.dropped += len(batch) - len(due)
        if not due:
            return
        # 3. One intent for the batch, the writes, one outcome: a crash between any two is visible in the log.
        intent = self._recorder.append(Kind.INTENT, {"writes": [d.write.to_json() for d in due]})
        begun = count(1)

        def put(one: _Due) -> _Written:
            self._targets.tick("writing tags", next(begun), len(due))
            return self._put(one)

        made, left = self._put_together(due)
        made |= {d.write: _sure(w) for d, w in zip(left, self._targets.executor.map(put, left), strict=True)}
        proved = self._targets.executor.map(self._read_back, [made[d.write] for d in due])
        outcomes = [_sure(p) for p in proved]
        self._outcome(intent, outcomes)
        for outcome in outcomes:
            self._tell(outcome, applied)

    def _still_wanted(
        self, batch: Sequence[Retag | Release], hold_label: str | None, planned_on: Snapshot
    ) -> frozenset[CommitId]:
        numbers = sorted({n for r in batch for n in r.pull_requests})
        answers = self._targets.executor.map(self._targets.forge.pull_request, numbers)
        seen = dict(zip(numbers, answers, strict=True))
        # The listing may lag: another pull request of this batch may have come to this head with the label on it.
        open_now = [pr for pr in answers if isinstance(pr, PullRequest)]
        held = {pr.head for pr in open_now if hold_label is not None and hold_label in pr.labels}
        wanted = set()
        for retag in batch:
            if retag.head in wanted:
                continue
            now = [seen[n] for n in retag.pull_requests]
            open_here = [pr for pr in now if isinstance(pr, PullRequest) and pr.head == retag.head]
            unread = next((pr for pr in now if isinstance(pr, Exception)), None)
            if unread is not None and not isinstance(unread, ReconcilerError):
                raise unread
            if unread is not None:
                self._drop(retag, f"the pull request could not be read again: {unread}")
            elif not open_here:
                self._drop(retag, "no open pull request has this head any more")
            elif retag.head in held:
                self._drop(retag, "the hold label was set")
            elif None not in (refusals := [admission.refusal(pr, planned_on) for pr in open_here]):
                self._drop(retag, f"no pull request with this head is admitted any more: {refusals[0]}")
            else:
                wanted.add(retag.head)
        return frozenset(wanted)

    def _still_absent(self, batch: Sequence[Retag]) -> list[Retag]:
        # Read anew with a control of its own: what the credential could see when the pass began, it may not see now.
        reads = PassReads(self._targets.registry)
        found = self._targets.executor.map(lambda r: reads.tag(r.repository, Tag(r.head)), batch)
        absent = []
        for retag, state in zip(batch, found, strict=True):
            if isinstance(state, Absent):
                absent.append(retag)
            else:
                self._drop(retag, f"the tag is no longer absent: {_described(state)}")
        return absent

    def _with_bytes(self, batch: Sequence[Retag], look: Look, applied: Applied) -> list[_Due]:
        baselines = sorted({(r.repository, r.baseline) for r in batch})
        answers = self._targets.executor.map(partial(self._baseline, look.manifests), baselines)
        known = dict(zip(baselines, answers, strict=True))
        due = []
        for retag in batch:
            answer = known[retag.repository, retag.baseline]
            if isinstance(answer, IntegrityError):
                self._emit(Event.INTEGRITY_VIOLATED, repository=retag.repository, error=str(answer))
            if isinstance(answer, ReconcilerError):
                # Trying again at once would only ask and record the same again.
                applied.failed[retag.head] = str(answer)
                self._drop(retag, f"the baseline cannot be used: {answer}")
            elif isinstance(answer, Exception):
                raise answer
            else:
                manifest, verdict = answer
                proven = verdict.outcome is Outcome.ACCEPTED
                write = Write(retag.repository, retag.head, retag.baseline, retag.pull_requests, proven)
                due.append(_Due(write, manifest))
        return due

    def _baseline(
        self, read: Mapping[tuple[Repository, Digest], Manifest], wanted: tuple[Repository, Digest]
    ) -> tuple[Manifest, Verdict]:
        repository, digest = wanted
        manifest = read.get(wanted) or self._targets.registry.manifest(repository, digest)
        if manifest is None:
            raise Transient(f"{repository}@{digest.short}: the baseline is gone from the registry")
        if not digest.matches(manifest.raw):
            raise IntegrityError(f"{repository}: asked {digest}, got bytes of {manifest.digest}")
        verdict = self._targets.verifier.verify(Purpose.BASELINE, repository, digest, None)
        if verdict.outcome is Outcome.REFUSED:
            raise IntegrityError(f"{repository}@{digest}: refused as a baseline: {verdict.reason}")
        return manifest, verdict

    def _put_together(self, due: Sequence[_Due]) -> tuple[dict[Write, _Written], list[_Due]]:
        """Several heads of one image and digest in one request; what came of it, and what is left to put by itself."""
        same: dict[tuple[Repository, Digest], list[_Due]] = {}
        for one in due:
            same.setdefault((one.write.repository, one.write.digest), []).append(one)
        parts = [
            ones[start : start + TAGS_PER_PUT] for ones in same.values() for start in range(0, len(ones), TAGS_PER_PUT)
        ]
        groups = [part for part in parts if len(part) > 1]
        made: dict[Write, _Written] = {}
        left = [part[0] for part in parts if len(part) == 1]
        for answer in self._targets.executor.map(self._put_group, groups):
            known, unknown = _sure(answer)
            made |= {w.write: w for w in known}
            left += unknown
        return made, left

    def _put_group(self, group: Sequence[_Due]) -> tuple[list[_Written], list[_Due]]:
        tags = [Tag(d.write.head) for d in group]
        targets = self._targets
        targets.tick("writing tags together", len(tags), len(tags))
        began = targets.clock.monotonic_s()
        try:
            confirmed = targets.writer.put_tags(
                group[0].write.repository, tags, group[0].manifest, self._recorder.confirm
            )
        except (Fenced, LedgerMoved, LogRollback):
            raise  # as for a single write
        except ReconcilerError as error:
            targets.metrics.observe("tag_write", targets.clock.monotonic_s() - began)
            if isinstance(error, Transient | IntegrityError):
                return [_unwritten(d.write, error) for d in group], []
            # One tag that may not be written refuses all of them, perhaps after some were: each by itself tells.
            return [], [d._replace(tried=True) for d in group]
        if not confirmed:
            return [], list(group)  # such requests are not known there: nothing was written, or even sent
        targets.metrics.observe("tag_write", targets.clock.monotonic_s() - began)
        asked = list(zip(group, tags, strict=True))
        written = [_Written(d.write, Result.WRITTEN) for d, tag in asked if tag in confirmed]
        return written, [d._replace(tried=True) for d, tag in asked if tag not in confirmed]

    def _put(self, due: _Due) -> _Written:
        write = due.write
        with self._targets.metrics.timed("tag_write"):
            try:
                self._targets.writer.put_manifest(
                    write.repository, Tag(write.head), due.manifest, self._recorder.confirm
                )
            except (Fenced, LedgerMoved, LogRollback):
                raise  # another writer took over, perhaps while this process stood still: nothing more is sent
            except ReconcilerError as error:
                unwritten = _unwritten(write, error)
                if due.tried and unwritten.result is Result.FAILED:
                    return unwritten._replace(result=Result.UNCERTAIN)  # refused now, but perhaps made before
                return unwritten
        return _Written(write, Result.WRITTEN)

    def _read_back(self, made: _Written) -> _Written:
        """Proof of a write is our own 201; a read that does not show it yet is only not settled."""
        if made.result is not Result.WRITTEN:
            return made
        try:
            found = self._targets.registry.resolve(made.write.repository, Tag(made.write.head))
        except ReconcilerError:
            return made
        if found is None or found == made.write.digest:
            return made._replace(settled=found is not None, found=found)
        return made._replace(result=Result.CONFLICT, found=found, why=f"the tag reads {found}")

    def _outcome(self, intent: CommitId, outcomes: Sequence[_Written]) -> None:
        body: dict[str, Json] = {"intent": intent, "writes": [o.to_json() for o in outcomes]}
        # An intent about evidence that is still open: what came of it is looked up when it is wanted again.
        if (evidence := self._recorder.history.open_evidence.get(intent)) is not None:
            for name, rows in (("attachments", evidence.attachments), ("publications", evidence.publications)):
                body[name] = [{**row.to_json(), "result": Result.UNCERTAIN.value} for row in rows]
        self._recorder.append(Kind.OUTCOME, body)

    # --- telling

    def _tell(self, outcome: _Written, applied: Applied) -> None:
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

    def _drop(self, action: Retag | Release, why: str) -> None:
        where = {"repository": str(action.repository)} if isinstance(action, Retag) else {}
        self._emit(Event.ACTION_DROPPED, tag=action.head, detail=why, **where)


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


def _unwritten(write: Write, error: ReconcilerError) -> _Written:
    match error:
        case Transient():
            return _Written(write, Result.UNCERTAIN, why=str(error))
        case IntegrityError():
            return _Written(write, Result.CONFLICT, why=str(error))
        case _:
            return _Written(write, Result.FAILED, why=str(error))


def _sure(result: T | Exception) -> T:
    if isinstance(result, Exception):
        raise result
    return result


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


def _recovered(write: Write, state: TagState | Exception) -> _Written | None:
    """What an unfinished write came to; None while the registry cannot tell."""
    match state:
        case Present(digest, _) if digest == write.digest:
            return _Written(write, Result.WRITTEN, settled=True, found=digest)
        case Present(digest, _):
            return _Written(write, Result.CONFLICT, found=digest)
        case Absent():
            return _Written(write, Result.DROPPED)
        case Exception() as error if not isinstance(error, ReconcilerError):
            raise error
        case _:
            return None


def _described(state: TagState | Exception) -> str:
    match state:
        case Present(digest, _):
            return f"it reads {digest}"
        case Exception() as error if not isinstance(error, ReconcilerError):
            raise error
        case other:
            return str(getattr(other, "why", other))
