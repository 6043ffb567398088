"""Two folds: which tags our log has given up (the reconciler's log), and which marks stand (the operator's log). Pure.

The operator's entries:
* tombstone  `tags` that are marked and `withdrawn` ones; `seen_at` is when
* intent     `untags`: the tags that are to be removed next
* outcome    `untags` with what became of them, and the `intent` it closes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum

from reconciler.janitor.records import moment
from reconciler.tag_gc.deciding import Custody, Mark
from state.canonical import Json, reading
from state.entry import Entry, Kind, Logged
from state.git import CommitId
from state.history import Cell, History, stamp
from state.oci import Digest, Repository


class Given:
    """What the reconciler's log says of tags that are no longer in its custody."""

    def __init__(self, entries: Iterable[Logged], read: Callable[[CommitId], Entry]) -> None:
        history = History()
        published: set[CommitId] = set()
        for logged in entries:
            history.apply(logged.id, logged.entry)
            if logged.entry.kind is Kind.INTENT and "proposals" in logged.entry.body:
                rows = reading(logged.entry.body, "intent").objects("proposals")
                published.update(CommitId(reading(row, "proposal").text("head")) for row in rows)
        self.published = frozenset(published)
        """Heads that were proposed to GitOps."""
        self.custodies: tuple[Custody, ...] = tuple(
            custody for head, stone in history.ended.items() for custody in _of_tombstone(head, stone, read(stone))
        )
        """Every tag that was recorded of a head that has ended."""
        self.held: dict[tuple[Repository, Digest], CommitId] = {
            (repository, recorded.digest): head for (repository, head), recorded in history.recorded.items()
        }
        """Image and digest → an open head that has it, to ask first."""


def _of_tombstone(head: CommitId, stone: CommitId, entry: Entry) -> Iterable[Custody]:
    body = reading(entry.body, "tombstone")
    numbers = tuple(body.integers("pull_requests"))
    for row in body.objects("recorded"):
        read = reading(row, "tombstone record")
        yield Custody(Repository(read.text("repository")), head, Digest(read.text("digest")), numbers, stone)


class Result(StrEnum):
    """What became of one removal."""

    REMOVED = "removed"
    GONE = "gone"
    """There was no such tag any more."""
    CHANGED = "changed"
    """It has another digest now, or its pull request is open again; nothing was removed."""
    REFUSED = "refused"
    """The registry does not do it; nothing was removed."""
    UNCERTAIN = "uncertain"
    """No usable answer: the next run looks."""
    DROPPED = "dropped"
    """The run stopped before it, and the tag is there as before."""


class Marks:
    """The fold over the operator's entries. `apply` every entry once, in order."""

    def __init__(self) -> None:
        self.standing: dict[Cell, Mark] = {}
        self.removed: set[tuple[Cell, CommitId]] = set()
        """(tag, the tombstone that ended its custody) of what is done with."""
        self.open_intents: dict[CommitId, tuple[Custody, ...]] = {}

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        """Take one more entry into account; those of other commands are passed over."""
        body = reading(entry.body, f"{entry.kind.value} entry {entry.sequence}")
        match entry.kind:
            case Kind.TOMBSTONE if "tags" in entry.body:
                seen_at = moment(body.text("seen_at"))
                for row in body.objects("withdrawn"):
                    self.standing.pop(_cell(row), None)
                for row in body.objects("tags"):
                    custody = custody_of(row)
                    self.standing[custody.cell] = Mark(
                        custody.repository, custody.head, custody.digest, custody.ended, seen_at, str(entry_id)
                    )
            case Kind.INTENT if "untags" in entry.body:
                self.open_intents[entry_id] = tuple(custody_of(row) for row in body.objects("untags"))
            case Kind.OUTCOME if "untags" in entry.body:
                self.open_intents.pop(CommitId(body.text("intent")), None)
                for row in body.objects("untags"):
                    self._end(custody_of(row), reading(row, "outcome").one_of("result", Result))
            case _:
                pass

    def _end(self, custody: Custody, result: Result) -> None:
        if result in (Result.REMOVED, Result.GONE):
            self.removed.add((custody.cell, custody.ended))
        if result in (Result.REMOVED, Result.GONE, Result.CHANGED):
            self.standing.pop(custody.cell, None)


def custody_json(custody: Custody) -> dict[str, Json]:
    return {
        "digest": custody.digest,
        "ended": custody.ended,
        "head": custody.head,
        "pull_requests": list(custody.pull_requests),
        "repository": custody.repository,
    }


def custody_of(value: Mapping[str, Json]) -> Custody:
    read = reading(value, "tag")
    return Custody(
        Repository(read.text("repository")),
        CommitId(read.text("head")),
        Digest(read.text("digest")),
        tuple(read.integers("pull_requests")),
        CommitId(read.text("ended")),
    )


def tombstone_body(
    marked: Iterable[Custody], withdrawn: Iterable[tuple[Mark, str]], seen_at: datetime
) -> dict[str, Json]:
    return {
        "seen_at": stamp(seen_at.astimezone(UTC)),
        "tags": [custody_json(c) for c in marked],
        "withdrawn": [{"head": m.head, "repository": m.repository, "why": why[:500]} for m, why in withdrawn],
    }


def intent_body(batch: Iterable[Custody]) -> dict[str, Json]:
    return {"untags": [custody_json(c) for c in batch]}


def outcome_body(intent: CommitId, results: Iterable[tuple[Custody, Result, str]]) -> dict[str, Json]:
    return {
        "intent": intent,
        "untags": [{**custody_json(c), "result": result.value, "why": why[:500]} for c, result, why in results],
    }


def _cell(row: Mapping[str, Json]) -> Cell:
    read = reading(row, "withdrawn tag")
    return Repository(read.text("repository")), CommitId(read.text("head"))
