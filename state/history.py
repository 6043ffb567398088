"""What the log says, as one value: a fold over its entries in order (pure).

Only heads that are still ours are kept in full. An ended head leaves the id of its tombstone, which names what is
needed to take the head up again if a pull request returns to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from state.canonical import Json, reading
from state.change import ChangeRecord
from state.decision import Decision, images_from_json
from state.entry import Entry, Kind
from state.git import CommitId
from state.observed import How, Recorded
from state.oci import Digest, Repository
from state.publishing import Publishing
from state.quarantine import Breach, Quarantine
from state.writes import Attachment, Evidence, Publication, Result, Write

Cell = tuple[Repository, CommitId]
"""An image repository and a head commit, whose id is the tag."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Which entries speak of a cell, for explaining it: (kind, entry id)."""

    decision: tuple[CommitId, ...] = ()
    writes: tuple[tuple[Kind, CommitId], ...] = ()


class History:
    """The state that the log's entries add up to. `apply` every entry once, in order."""

    def __init__(self) -> None:
        self.decisions: dict[CommitId, Decision] = {}
        self.recorded: dict[Cell, Recorded] = {}
        self.quarantined: dict[CommitId, Quarantine] = {}
        self.open_intents: dict[CommitId, tuple[Write, ...]] = {}
        self.open_evidence: dict[CommitId, Evidence] = {}
        """What the open intents say of evidence, where they do."""
        self.attached: dict[tuple[Repository, Digest, str, Digest], Digest] = {}
        """`Attachment.key` → the artifact's manifest. Kept for good: it is bounded by the digests, not by the heads."""
        self.released: dict[CommitId, Digest] = {}
        self.newest_recorded: dict[int, CommitId] = {}
        """Pull request → the newest of its heads of which every decided image was recorded; kept when it ends."""
        self.newest_released: dict[int, CommitId] = {}
        """Pull request → the newest of its heads whose release set was published; kept when it ends."""
        self.void: dict[CommitId, Digest] = {}
        """Heads whose release set an acceptance made void, with its digest."""
        self.unreleasable: set[CommitId] = set()
        """Heads whose release set is kept out by another one at its tag, in a registry that moves no tag."""
        self.recorded_at: dict[Cell, str] = {}
        """When the tag was first recorded with the digest that it has (UTC, as in the entry)."""
        self.decided_at: dict[CommitId, str] = {}
        """When the head was first decided, or taken up again (UTC, as in the entry)."""
        self.written_at: dict[Cell, str] = {}
        """When an own write that no read has shown yet was made (UTC, as in the entry)."""
        self.ended: dict[CommitId, CommitId] = {}
        """Ended head → its tombstone."""
        self.revived: set[CommitId] = set()
        """Heads that were taken up again since the last observation; the next one is to say so."""
        self.versions: dict[CommitId, int] = {}
        """Of what is said of a head that is ours; never the same again once anything of it has changed."""
        self.traces: dict[CommitId, Trace] = {}
        self.seen_in: dict[int, CommitId] = {}
        """Pull request → the observation that recorded it as it is now."""
        self.parts: dict[str, str] = {}
        """Observation part → blob id, as the last observation left them."""
        self.config: Digest | None = None
        """The digest of the configuration in force."""
        self.last_holds: Digest | None = None
        self.publishing = Publishing()
        self._changes = 0
        self._writes: deque[tuple[str, int]] = deque()
        self._repositories: dict[CommitId, set[Repository]] = {}

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        """Take one more entry into account. Raises InvalidValue if its body is not of its kind."""
        body = reading(entry.body, f"{entry.kind.value} entry {entry.sequence}")
        self.publishing.apply(entry_id, entry)
        match entry.kind:
            case Kind.INTENT | Kind.OUTCOME if "proposals" in entry.body:
                pass
            case Kind.DECISION:
                self._decide(entry_id, entry.at, entry.body)
            case Kind.INTENT:
                writes = tuple(Write.from_json(w) for w in body.objects("writes"))
                self.open_intents[entry_id] = writes
                self._writes.append((entry.at, len(writes)))
                for write in writes:
                    self._trace(write.head, Kind.INTENT, entry_id)
                evidence = Evidence.of(entry.body)
                if evidence != Evidence():
                    self.open_evidence[entry_id] = evidence
                for publication in evidence.publications:
                    self._trace(publication.head, Kind.INTENT, entry_id)
            case Kind.OUTCOME:
                intent = body.text_or_none("intent")
                if intent is not None:
                    self.open_intents.pop(CommitId(intent), None)
                    self.open_evidence.pop(CommitId(intent), None)
                for value in body.objects("writes"):
                    self._record(entry_id, entry.at, value)
                self._attest(entry_id, entry.body)
                for head in {CommitId(reading(value, "outcome").text("head")) for value in body.objects("writes")}:
                    self._note_complete(head)
            case Kind.OBSERVATION:
                for name in body.texts("removed"):
                    self.parts.pop(name, None)
                self.parts.update(entry.blobs)
                for value in body.objects("revived") if "revived" in entry.body else ():
                    self._take_up(value, entry.at)
                self.revived.clear()
                self.seen_in.update({int(n[3:]): entry_id for n in entry.blobs if n.startswith("pr.")})
                self.last_holds = Digest(body.text("holds"))
            case Kind.CONFIG:
                self.config = Digest(body.text("digest"))
            case Kind.TOMBSTONE:
                self._end(CommitId(body.text("head")), entry_id)
            case Kind.QUARANTINE:
                self._quarantine(entry_id, entry.at, entry.body)
            case _:
                pass

    def writes_since(self, moment: datetime) -> int:
        """How many tag writes were intended at or after `moment` (UTC); older ones are forgotten."""
        since = stamp(moment)
        while self._writes and self._writes[0][0] < since:
            self._writes.popleft()
        # A clock that was set back leaves newer times in front of older ones.
        return sum(count for at, count in self._writes if at >= since)

    def tombstone(self, head: CommitId, pull_requests: tuple[int, ...]) -> dict[str, Json]:
        """The body of a tombstone that lets `revive` take the head up again."""
        return {
            "decision": list(self.traces.get(head, Trace()).decision),
            "head": head,
            "pull_requests": list(pull_requests),
            "recorded": [
                {
                    "digest": r.digest,
                    "how": r.how.value,
                    "proven": r.proven,
                    "repository": repository,
                }
                for repository, r in self._records_of(head)
            ],
            **({"released": self.released[head]} if head in self.released else {}),
            **({"void": self.void[head]} if head in self.void else {}),
            "writes": [{"entry": entry, "kind": kind.value} for kind, entry in self.traces.get(head, Trace()).writes],
        }

    def _attest(self, entry_id: CommitId, body: Mapping[str, Json]) -> None:
        """Take up what an outcome says of evidence: only what is in place counts."""
        read = reading(body, "outcome")
        for row in read.objects("attachments") if "attachments" in body else ():
            made = Attachment.from_json(row)
            if made.manifest is not None:
                self.attached[made.key] = made.manifest
        for row in read.objects("publications") if "publications" in body else ():
            publication = Publication.from_json(row)
            if publication.head in self.ended:
                continue
            self._touch(publication.head)
            self._trace(publication.head, Kind.OUTCOME, entry_id)
            result = reading(row, "publication").one_of("result", Result)
            if result is Result.CONFLICT:
                self.unreleasable.add(publication.head)
            if result in (Result.WRITTEN, Result.ADOPTED):
                self.released[publication.head] = publication.digest
                decided = self.decisions.get(publication.head)
                for number in decided.pull_requests if decided is not None else ():
                    self.newest_released[number] = publication.head
                self.void.pop(publication.head, None)

    def _quarantine(self, entry_id: CommitId, at: str, value: Mapping[str, Json]) -> None:
        """Either more breaches of a head, or a person's acceptance of those so far."""
        body = reading(value, "quarantine")
        head = CommitId(body.text("head"))
        if head in self.ended:
            return
        self._touch(head)
        self._trace(head, Kind.QUARANTINE, entry_id)
        if "accepted" not in value:
            found = tuple(Breach.from_json(row) for row in body.objects("breaches"))
            before = self.quarantined.get(head, Quarantine(entry_id, ()))
            self.quarantined[head] = Quarantine(entry_id, before.breaches + found)
            for newest in (self.newest_recorded, self.newest_released):
                for number in [n for n, at_head in newest.items() if at_head == head]:
                    del newest[number]
            return
        accepted = self.quarantined.pop(head, None)
        if accepted is not None and (was_released := self.released.pop(head, None)) is not None:
            self.void[head] = was_released
        for breach in accepted.breaches if accepted is not None else ():
            cell = (breach.repository, head)
            was = self.recorded.pop(cell)
            self.recorded_at.pop(cell, None)
            if breach.found is None:
                self._repositories[head].discard(breach.repository)
                self.written_at.pop(cell, None)
            else:
                # It may have been moved again meanwhile, so it has to be seen once more.
                self._remember(cell, Recorded(breach.found, was.how, settled=False))
                self.written_at[cell] = at
                self.recorded_at[cell] = at

    def revive(self, head: CommitId, read: Callable[[CommitId], Entry]) -> None:
        """Take up an ended head again: its decision stands, and its records, unless newer ones were made since.

        The next observation has to tell of it (`revivals`): a reader of the log cannot know it otherwise.
        """
        stone = read(self.ended[head])
        entries = [CommitId(e) for e in reading(stone.body, "tombstone").texts("decision")]
        decisions = [read(entry_id).body for entry_id in entries]
        del self.ended[head]
        for entry_id, decision in zip(entries, decisions, strict=True):
            self._decide(entry_id, stone.at, decision)
        self.traces[head] = _trace_of(stone.body)
        self._take_up_records(head, stone.body, stone.at)
        self.revived.add(head)

    def revivals(self) -> list[Json]:
        """What an observation's body says of the heads that were taken up since the one before."""
        return [
            {**self.tombstone(head, decision.pull_requests), "pinned": decision.to_json()}
            for head, decision in sorted(self.decisions.items())
            if head in self.revived
        ]

    def _take_up(self, value: Mapping[str, Json], at: str) -> None:
        """`revive` as an observation tells it; nothing if this history revived the head itself."""
        body = reading(value, "revived head")
        head = CommitId(body.text("head"))
        if self.ended.pop(head, None) is None:
            return
        self._touch(head)
        self.decisions[head] = Decision.from_json(body.object("pinned"))
        self.decided_at[head] = at
        self.traces[head] = _trace_of(value)
        self._take_up_records(head, value, at)

    def _take_up_records(self, head: CommitId, body: Mapping[str, Json], at: str) -> None:
        self._touch(head)
        for value in reading(body, "tombstone").objects("recorded"):
            row = reading(value, "tombstone record")
            cell = (Repository(row.text("repository")), head)
            if cell not in self.recorded:
                found = Recorded(Digest(row.text("digest")), row.one_of("how", How), row.flag("proven"), settled=False)
                self._remember(cell, found)
                # Custody had ended: the tag may have been moved or removed meanwhile, so it has to be seen again.
                self.written_at[cell] = at
                self.recorded_at[cell] = at
        if "released" in body:
            self.released.setdefault(head, Digest(reading(body, "tombstone").text("released")))
        if "void" in body:
            self.void.setdefault(head, Digest(reading(body, "tombstone").text("void")))

    def cells_of(self, head: CommitId) -> list[Cell]:
        """The recorded tags of a head, by repository."""
        return [(repository, head) for repository in sorted(self._repositories.get(head, ()))]

    def _records_of(self, head: CommitId) -> list[tuple[Repository, Recorded]]:
        return [(cell[0], self.recorded[cell]) for cell in self.cells_of(head)]

    def _touch(self, head: CommitId) -> None:
        self._changes += 1
        self.versions[head] = self._changes

    def _remember(self, cell: Cell, recorded: Recorded) -> None:
        self._touch(cell[1])
        self.recorded[cell] = recorded
        self._repositories.setdefault(cell[1], set()).add(cell[0])

    def _decide(self, entry_id: CommitId, at: str, body: Mapping[str, Json]) -> None:
        head = CommitId(reading(body, "decision").text("head"))
        self._touch(head)
        before = self.decisions.get(head)
        if before is None:
            self.decisions[head] = Decision.from_json(body)
            self.decided_at[head] = at
        else:
            read = reading(body, "decision")
            changes = tuple(ChangeRecord.from_json(c) for c in read.objects("changes"))
            self.decisions[head] = before.resolved(images_from_json(read.objects("images")), changes)
        trace = self.traces.get(head, Trace())
        self.traces[head] = Trace((*trace.decision, entry_id), trace.writes)

    def _record(self, entry_id: CommitId, at: str, value: Mapping[str, Json]) -> None:
        write = Write.from_json(value)
        if write.head in self.ended:
            return  # custody ended before the outcome was known: nothing about the head is kept
        cell = (write.repository, write.head)
        self._trace(write.head, Kind.OUTCOME, entry_id)
        read = reading(value, "outcome")
        result = read.one_of("result", Result)
        if result in (Result.WRITTEN, Result.ADOPTED):
            settled = result is Result.ADOPTED or read.flag("settled")
            before = self.recorded.get(cell)
            if before is None or before.digest != write.digest:
                self.recorded_at[cell] = at
            self._remember(cell, Recorded(write.digest, read.one_of("how", How), write.proven, settled))
            if settled:
                self.written_at.pop(cell, None)
            else:
                self.written_at[cell] = at

    def _note_complete(self, head: CommitId) -> None:
        decision = self.decisions.get(head)
        if decision is None or head in self.quarantined:
            return
        if decision.images and all((image, head) in self.recorded for image in decision.images):
            self.newest_recorded.update(dict.fromkeys(decision.pull_requests, head))

    def _trace(self, head: CommitId, kind: Kind, entry_id: CommitId) -> None:
        trace = self.traces.get(head, Trace())
        if (kind, entry_id) not in trace.writes:
            self.traces[head] = Trace(trace.decision, (*trace.writes, (kind, entry_id)))

    def _end(self, head: CommitId, entry_id: CommitId) -> None:
        self.versions.pop(head, None)
        self.decisions.pop(head, None)
        self.decided_at.pop(head, None)
        self.traces.pop(head, None)
        self.quarantined.pop(head, None)
        self.released.pop(head, None)
        self.void.pop(head, None)
        self.unreleasable.discard(head)
        for repository in self._repositories.pop(head, ()):
            del self.recorded[repository, head]
            self.recorded_at.pop((repository, head), None)
            self.written_at.pop((repository, head), None)
        self.ended[head] = entry_id


def _trace_of(body: Mapping[str, Json]) -> Trace:
    """The trace that a tombstone, or an observation of its head's return, keeps."""
    read = reading(body, "tombstone")
    writes = [reading(row, "trace") for row in read.objects("writes")]
    return Trace(
        tuple(CommitId(e) for e in read.texts("decision")),
        tuple((row.one_of("kind", Kind), CommitId(row.text("entry"))) for row in writes),
    )


def stamp(moment: datetime) -> str:
    """The entry's form of a UTC time, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
