"""Release sets published: the evidence of ours attached to each digest, then one signed set per complete head.

A set is complete or absent: its signature is attached to its manifest before the tag `<HEAD_SHA>` names it. Every
premise is read anew first. Attachments belong to digests, not to heads: each is made once, however many heads share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from reconciler.absence import PassReads
from reconciler.attesting import Attester, Statements
from reconciler.events import Emitter, Event
from reconciler.evidence.attaching import ArtifactStore, Attacher, Statement
from reconciler.evidence.finding import EMPTY_BLOB
from reconciler.evidence.release_check import published, signed
from reconciler.heads import Work, components_of
from reconciler.ports import Executor, Purpose, RegistryReader, RegistryWriter, Verifier
from reconciler.record import Recorder
from state.canonical import Json
from state.entry import Kind
from state.errors import (
    Fenced,
    IntegrityError,
    LedgerMoved,
    LogRollback,
    ReconcilerError,
    StaleObservation,
    TagFixed,
    Transient,
)
from state.git import CommitId
from state.observed import How, Present, Snapshot
from state.oci import Digest, Repository, Tag
from state.plan import Release
from state.release_set import PREDICATE_TYPE, ReleasedImage, ReleaseSet
from state.verdict import Outcome, Verdict
from state.writes import Publication, Result

_STOP = (Fenced, LedgerMoved, LogRollback)


class _Another(IntegrityError):
    """At the head's tag is a release set that does not say what we know, or that we did not sign."""

    def __init__(self, repository: Repository, head: CommitId, found: Digest) -> None:
        super().__init__(
            f"{repository}:{head}: another release set is there: expected no tag, found {found}; find out who wrote it;"
            " push a new commit to start afresh"
        )


class ReleaseStore(ArtifactStore, RegistryReader, RegistryWriter, Protocol):
    """The registry client, as releasing uses it."""


@dataclass(frozen=True, slots=True)
class ReleaseTargets:
    """What releasing needs besides the log."""

    repository: Repository
    """Where release sets are published."""
    store: ReleaseStore
    attacher: Attacher
    statements: Statements
    verifier: Verifier
    executor: Executor


class Planned(NamedTuple):
    """A head that is to be released, with what its set is made from."""

    action: Release
    work: Work


class _Due(NamedTuple):
    planned: Planned
    verdicts: Mapping[Repository, Verdict]


class Releaser:
    """Publishes release sets for one code repository."""

    def __init__(self, targets: ReleaseTargets, recorder: Recorder, emit: Emitter) -> None:
        self._targets = targets
        self._recorder = recorder
        self._emit = emit.emit
        self._attester = Attester(
            targets.attacher, targets.statements, executor=targets.executor, recorder=recorder, emit=emit
        )

    def publish(self, wanted: Sequence[Planned], seen: Snapshot) -> dict[CommitId, str]:
        """Publish the release sets of these heads; head → why not, for those that could not be.

        Raises LedgerMoved, Fenced or LogRollback if the log is no longer ours.
        """
        failed: dict[CommitId, str] = {}
        due = []
        reads = PassReads(self._targets.store)
        checked = self._targets.executor.map(partial(self._checked, reads), wanted)
        for planned, result in zip(wanted, checked, strict=True):
            if isinstance(result, _Due):
                due.append(result)
            else:
                self._drop(planned.action, result, failed)
        due = self._attach(due, failed)
        self._publish(due, seen, failed)
        return failed

    # --- the premise

    def _checked(self, reads: PassReads, planned: Planned) -> _Due:
        """Every tag reads as recorded, and every digest is accepted, now."""
        head = planned.action.head
        recorded = self._recorder.history.recorded
        verdicts = {}
        for repository in planned.work.judgements:
            digest, how = recorded[repository, head].digest, recorded[repository, head].how
            match reads.tag(repository, Tag(head)):
                case Present(found, _) if found == digest:
                    pass
                case other:
                    raise StaleObservation(f"{repository}:{head.short}: recorded {digest.short}, now {other}")
            if how is How.BUILT:
                verdict = self._targets.verifier.verify(Purpose.PULL_REQUEST, repository, digest, head)
            else:
                verdict = self._targets.verifier.verify(Purpose.BASELINE, repository, digest, None)
            if verdict.outcome is not Outcome.ACCEPTED:
                raise StaleObservation(f"{repository}@{digest.short}: not accepted now: {verdict.reason}")
            verdicts[repository] = verdict
        return _Due(planned, verdicts)

    # --- evidence of ours

    def _attach(self, due: Sequence[_Due], failed: dict[CommitId, str]) -> list[_Due]:
        """The heads whose digests have all that we state about them."""
        history = self._recorder.history
        accepted = {
            (repository, history.recorded[repository, one.planned.action.head].digest): verdict
            for one in due
            for repository, verdict in one.verdicts.items()
        }
        problems = self._attester.attach(accepted)
        ready = []
        for one in due:
            head = one.planned.action.head
            subjects = ((r, history.recorded[r, head].digest) for r in one.verdicts)
            if why := next((problems[s] for s in subjects if s in problems), None):
                self._drop(one.planned.action, why, failed)
            else:
                ready.append(one)
        return ready

    # --- the sets

    def _publish(self, due: Sequence[_Due], seen: Snapshot, failed: dict[CommitId, str]) -> None:
        history = self._recorder.history
        sets: list[tuple[_Due, ReleaseSet, Publication]] = []
        kept_out: list[Json] = []
        made = [self._set(one, seen) for one in due]
        for one, release, placed in zip(due, made, self._targets.executor.map(self._place, made), strict=True):
            if isinstance(placed, Exception):
                self._drop(one.planned.action, placed, failed)
                if isinstance(placed, _Another):
                    kept_out.append({**self._publication(release).to_json(), "result": Result.CONFLICT.value})
            else:
                sets.append((one, placed, self._publication(placed)))
        if kept_out:
            # Nothing was to be written, so there is no intent; said once, it is not asked for again.
            self._recorder.append(Kind.OUTCOME, {"intent": None, "publications": kept_out, "writes": []})
        if not sets:
            return
        rows: list[Json] = [p.to_json() for *_, p in sets]
        intent = self._recorder.append(Kind.INTENT, {"publications": rows, "writes": []})
        results = self._targets.executor.map(lambda s: self._publish_one(*s[1:]), sets)
        outcomes: list[Json] = []
        for (one, _, publication), result in zip(sets, results, strict=True):
            if isinstance(result, Exception):
                self._drop(one.planned.action, result, failed)
                outcomes.append({**publication.to_json(), "result": _result(result).value})
            else:
                outcomes.append({**publication._replace(digest=result).to_json(), "result": Result.WRITTEN.value})
        self._recorder.append(Kind.OUTCOME, {"intent": intent, "publications": outcomes, "writes": []})
        for one, _, publication in sets:
            if publication.head in history.released:
                self._emit(
                    Event.RELEASE_PUBLISHED,
                    head=publication.head,
                    repository=publication.repository,
                    digest=history.released[publication.head],
                    pull_request=one.planned.action.pull_requests[0],
                )

    def _publication(self, release: ReleaseSet) -> Publication:
        digest, void = release.manifest().digest, self._recorder.history.void
        return Publication(self._targets.repository, release.head, digest, void.get(release.head))

    def _set(self, one: _Due, seen: Snapshot) -> ReleaseSet:
        """What the log and the verdicts say of the head, as its release set."""
        head, history = one.planned.action.head, self._recorder.history
        components = components_of(seen, one.planned.work)
        return ReleaseSet(
            repository_id=seen.repository_id,
            head=head,
            policy=seen.policy.digest,
            decision=history.traces[head].decision,
            images=tuple(
                ReleasedImage(
                    repository,
                    history.recorded[repository, head].digest,
                    history.recorded[repository, head].how,
                    components.get(repository, ()),
                    history.recorded_at[repository, head],
                    tuple(sorted(verdict.evidence)),
                )
                for repository, verdict in sorted(one.verdicts.items())
            ),
        )

    def _publish_one(self, release: ReleaseSet, publication: Publication) -> Digest:
        """Blob, signature, then the tag; the digest that the tag has in the end."""
        store, confirm = self._targets.store, self._recorder.confirm
        repository, tag = publication.repository, Tag(publication.head)
        manifest = release.manifest()
        store.put_blob(repository, release.to_bytes(), confirm)
        store.put_blob(repository, EMPTY_BLOB, confirm)
        attacher = self._targets.attacher
        statement = Statement(PREDICATE_TYPE, release.statement(repository, manifest.digest))
        evidence = attacher.look(repository, manifest.digest)
        attacher.attach(repository, manifest.descriptor, statement, evidence, confirm)
        found = store.resolve(repository, tag)
        if found == manifest.digest:
            return manifest.digest
        if found is not None and found != publication.replaces:
            # Perhaps another process of ours was faster: the next pass looks whose it is.
            raise StaleObservation(f"{repository}:{publication.head}: expected no tag, found {found} meanwhile")
        store.put_manifest(repository, tag, manifest, confirm)
        return manifest.digest

    def _place(self, release: ReleaseSet) -> ReleaseSet:
        """The set that is to be at the tag: this one, or one of ours that is there and names the same images.

        A process ended before it could log such a one, or the log was lost; evidence, times and log entries in it may
        differ. Raises IntegrityError if anything else is there, before anything is intended.
        """
        store, repository, head = self._targets.store, self._targets.repository, release.head
        there = published(store, repository, head)
        if there is None or there.manifest.digest == self._recorder.history.void.get(head):
            return release
        if signed(store, repository, there, self._targets.attacher.own).holds and there.release.same_images(release):
            return there.release
        if there.manifest.digest == release.manifest().digest:
            return release
        raise _Another(repository, head, there.manifest.digest)

    def _drop(self, action: Release, why: object, failed: dict[CommitId, str]) -> None:
        text = _told(why) if isinstance(why, Exception) else str(why)
        failed[action.head] = text
        if isinstance(why, _Another):
            self._emit(Event.INTEGRITY_VIOLATED, repository=self._targets.repository, tag=action.head, error=text)
        self._emit(Event.ACTION_DROPPED, head=action.head, detail=f"not released: {text}")


def _told(error: Exception) -> str:
    """Why, for a person. What stops the writer, or is no error of ours, is raised."""
    if isinstance(error, _STOP) or not isinstance(error, ReconcilerError):
        raise error
    return str(error)


def _result(error: Exception) -> Result:
    match error:
        case Transient():
            return Result.UNCERTAIN
        case TagFixed():
            return Result.CONFLICT
        case _:
            return Result.FAILED
