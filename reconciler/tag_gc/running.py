"""One run of `ameide tags gc`: look, decide, mark, and remove the tags whose turn has come, one at a time.

1. Look; read the operator's log as it was pushed; decide. A dry run ends here.
2. Become the operator's writer, close what a crash left open, look and decide again, measure each registry with work.
3. One entry marks tags and takes marks back.
4. Per batch: a fresh and complete listing of open pull requests; one intent, pushed; per tag: its pull requests are
   still closed, it has its digest, another tag has it too; remove it; the other tag still has it, or everything stops.
   One outcome, pushed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from reconciler.events import Emitter, Event
from reconciler.ports import Clock, ForgeReader, LogStore, RegistryReader, TagRemover
from reconciler.tag_gc.deciding import Act, Custody, Decision, Policy, Reason, Ruling, decide
from reconciler.tag_gc.looking import Looker
from reconciler.tag_gc.records import Given, Marks, Result, intent_body, outcome_body, tombstone_body
from state.canonical import Json
from state.entry import Kind, Logged
from state.errors import WRITER_STOPS, IntegrityError, ReconcilerError, Terminal, Transient
from state.oci import Tag

BATCH_MAX: Final = 20


class Registry(RegistryReader, TagRemover, Protocol):
    """What is read and removed."""


class Done(NamedTuple):
    custody: Custody
    result: Result
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    decision: Decision
    done: tuple[Done, ...] = ()
    applied: bool = False

    @property
    def clean(self) -> bool:
        """The look was complete, and every removal that had its turn went as it should."""
        return self.decision.complete and all(d.result in (Result.REMOVED, Result.GONE) for d in self.done)

    def to_json(self, repository: str) -> dict[str, Json]:
        return {
            "applied": self.applied,
            "complete": self.decision.complete,
            "removals": [
                {"head": d.custody.head, "repository": d.custody.repository, "result": d.result.value, "why": d.why}
                for d in self.done
            ],
            "repository": repository,
            "tags": [_ruling_json(r) for r in self.decision.rulings],
            "why": self.decision.why,
            "withdrawn": [
                {"head": m.head, "repository": m.repository, "why": why} for m, why in self.decision.withdrawn
            ],
        }


def _ruling_json(ruling: Ruling) -> dict[str, Json]:
    custody = ruling.custody
    return {
        "act": ruling.act.value,
        "beside": ruling.beside,
        "digest": custody.digest,
        "head": custody.head,
        "pull_requests": list(custody.pull_requests),
        "reason": ruling.reason.value,
        "repository": custody.repository,
        "why": ruling.why,
    }


@dataclass(frozen=True, slots=True)
class TagGc:
    """Runs for one repository.

    Args:
        given: what the reconciler's log has given up, read anew at each call.
        peek: the operator's entries as the remote has them.
        open_log: the operator's log, active.
        measure: registry host → why it refuses after all; None if one tag can be removed alone.
    """

    looker: Looker
    forge: ForgeReader
    registry: Registry
    policy: Policy
    clock: Clock
    given: Callable[[], Given]
    peek: Callable[[], Iterable[Logged]]
    open_log: Callable[[], AbstractContextManager[LogStore]]
    measure: Callable[[str], str | None]
    emit: Emitter

    def plan(self) -> Report:
        """What a run would do now. Reads only."""
        return Report(self._decide(self.given(), _fold(self.peek())))

    def run(self) -> Report:
        """One run. Raises IntegrityError, with the outcome recorded, if a removal took more than its tag with it."""
        marks = _fold(self.peek())
        decision = self._decide(self.given(), marks)
        if decision.is_noop and not marks.open_intents:  # as every incomplete one is
            return Report(decision, applied=True)
        with self.open_log() as log:
            return self._act(log)

    def _decide(self, given: Given, marks: Marks) -> Decision:
        candidates = [c for c in given.custodies if (c.cell, c.ended) not in marks.removed]
        seen = self.looker.look(candidates, given)
        return decide(candidates, seen, self.policy, self.clock.now(), marks.standing.values())

    def _act(self, log: LogStore) -> Report:
        marks = _fold(log.entries())
        self._close_intents(log, marks)
        given = self.given()
        decision = self._decide(given, marks)
        hosts = {r.custody.repository.host for r in decision.rulings if r.act is not Act.KEEP}
        told = {host: why for host in sorted(hosts) if (why := self.measure(host)) is not None}
        if told:
            self.looker.refusing = {**self.looker.refusing, **told}
            decision = self._decide(given, marks)
        marked = decision.acts(Act.MARK)
        if marked or decision.withdrawn:
            body = tombstone_body((r.custody for r in marked), decision.withdrawn, self.clock.now())
            log.append(Kind.TOMBSTONE, body)
            for ruling in marked:
                self._say(Event.TAG_MARKED, ruling.custody, ruling.why)
        done: list[Done] = []
        due = decision.acts(Act.REMOVE)
        for start in range(0, len(due), BATCH_MAX):
            done += self._batch(log, due[start : start + BATCH_MAX])
        log.push()
        return Report(decision, tuple(done), applied=True)

    def _close_intents(self, log: LogStore, marks: Marks) -> None:
        """Close what a crash left open, by looking."""
        for intent, batch in list(marks.open_intents.items()):
            results = []
            for custody in batch:
                there = self.registry.resolve(custody.repository, Tag(custody.head))
                result = Result.DROPPED if there is not None else Result.UNCERTAIN
                results.append((custody, result, "found at the start of a run"))
            closed = log.append(Kind.OUTCOME, outcome_body(intent, results))
            marks.apply(closed.id, closed.entry)

    def _batch(self, log: LogStore, batch: Sequence[Ruling]) -> list[Done]:
        listing = self.forge.open_pull_requests()
        if not listing.complete:
            raise Transient("the listing of open pull requests is not complete; nothing more is removed")
        heads = {pr.head for pr in listing.pull_requests}
        intent = log.append(Kind.INTENT, intent_body(r.custody for r in batch))
        log.push()
        done: list[Done] = []
        broken: ReconcilerError | None = None
        for ruling in batch:
            if broken is not None:
                done.append(Done(ruling.custody, Result.DROPPED, "the run stopped before it"))
                continue
            try:
                if ruling.custody.head in heads:
                    made = Done(ruling.custody, Result.CHANGED, "an open pull request has this head")
                else:
                    made = self._remove(log, ruling)
            except WRITER_STOPS:
                raise
            except IntegrityError as error:
                broken, made = error, Done(ruling.custody, Result.REMOVED, str(error))
            except Transient as error:
                made = Done(ruling.custody, Result.UNCERTAIN, str(error))
            except Terminal as error:
                made = Done(ruling.custody, Result.REFUSED, str(error))
            done.append(made)
            removed = made.result is Result.REMOVED
            self._say(Event.TAG_REMOVED if removed else Event.TAG_NOT_REMOVED, made.custody, made.why, made.result)
        log.append(Kind.OUTCOME, outcome_body(intent.id, done))
        log.push()
        if broken is not None:
            raise broken
        return done

    def _remove(self, log: LogStore, ruling: Ruling) -> Done:
        custody, beside = ruling.custody, ruling.beside
        for number in custody.pull_requests:
            if self.forge.pull_request(number) is not None:
                return Done(custody, Result.CHANGED, f"pull request #{number} is open again")
        repository, tag = custody.repository, Tag(custody.head)
        now = self.registry.resolve(repository, tag)
        if now is None:
            return Done(custody, Result.UNCERTAIN, "it does not show any more; the next run looks")
        if now != custody.digest:
            return Done(custody, Result.CHANGED, f"it has {now.short} now, recorded was {custody.digest.short}")
        if beside is not None and self.registry.resolve(repository, beside) != custody.digest:
            return Done(custody, Result.CHANGED, f":{beside} has another digest now, so this may be the last tag")
        if not self.registry.untag(repository, tag, log.confirm):
            return Done(custody, Result.GONE, "there was no such tag any more")
        if beside is not None and self.registry.resolve(repository, beside) != custody.digest:
            raise IntegrityError(
                f"{custody}: after it was removed, :{beside} no longer has {custody.digest.short} either; nothing more "
                "is removed. Put the tag back from a copy, and run `ameide registry probe`"
            )
        return Done(custody, Result.REMOVED, "" if beside is None else f":{beside} still has the digest")

    def _say(self, event: Event, custody: Custody, why: str, result: Result | None = None) -> None:
        fields = {} if result is None else {"result": result.value}
        self.emit.emit(event, repository=custody.repository, tag=custody.head, detail=why, **fields)


def _fold(entries: Iterable[Logged]) -> Marks:
    marks = Marks()
    for logged in entries:
        marks.apply(logged.id, logged.entry)
    return marks


def host_refusals(report: Report) -> tuple[tuple[str, str], ...]:
    """Host → why nothing is removed there, each once."""
    told = {r.custody.repository.host: r.why for r in report.decision.rulings if r.reason is Reason.HOST_REFUSES}
    return tuple(sorted(told.items()))
