"""What the janitor's log says: the bodies of its entries, and the tombstones that they add up to (pure).

* tombstone  `buried` and `withdrawn`, each row a namespace by name and UID; `seen_at` is the API server's time
* intent     `deletions`: the one namespace that is to be deleted next, as it was read
* outcome    `deletions` with what became of it, and the `intent` it closes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from reconciler.janitor.cluster import Namespace
from reconciler.janitor.deciding import Tombstone, Withdrawal
from state.canonical import Json, reading
from state.entry import Entry, Kind
from state.errors import InvalidValue
from state.git import CommitId
from state.history import stamp


class Result(StrEnum):
    """What became of one deletion."""

    DELETED = "deleted"
    """The API server took it."""
    GONE = "gone"
    """There was no such namespace any more, or it was being deleted already."""
    CHANGED = "changed"
    """It was made anew or edited since it was looked at; nothing was deleted."""
    REFERENCED = "referenced"
    """An Application refers to it now; nothing was asked for."""
    REFUSED = "refused"
    """An admission policy or missing rights; nothing was deleted."""
    UNCERTAIN = "uncertain"
    """No usable answer: the next run looks."""
    DROPPED = "dropped"
    """The writer stopped between intent and deletion, and the namespace is there as before."""


class Deletion(NamedTuple):
    """One namespace that is to be deleted, as it was read, and the tombstone that allows it."""

    name: str
    uid: str
    resource_version: str
    tombstone: str

    def to_json(self) -> dict[str, Json]:
        return self._asdict()

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Deletion:
        read = reading(value, "deletion")
        return cls(read.text("name"), read.text("uid"), read.text("resource_version"), read.text("tombstone"))


class Graves:
    """The fold over the janitor's entries. `apply` every entry once, in order."""

    def __init__(self) -> None:
        self.standing: dict[str, Tombstone] = {}
        """Name → its tombstone."""
        self.open_intents: dict[CommitId, tuple[Deletion, ...]] = {}

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        """Take one more entry into account. Raises InvalidValue if its body is not of its kind."""
        body = reading(entry.body, f"{entry.kind.value} entry {entry.sequence}")
        match entry.kind:
            case Kind.TOMBSTONE:
                for row in body.objects("withdrawn"):
                    self._take_down(reading(row, "withdrawal").text("name"), reading(row, "withdrawal").text("uid"))
                seen_at = moment(body.text("seen_at"))
                for row in body.objects("buried"):
                    read = reading(row, "tombstone")
                    self.standing[read.text("name")] = Tombstone(
                        read.text("name"), read.text("uid"), seen_at, str(entry_id)
                    )
            case Kind.INTENT:
                self.open_intents[entry_id] = tuple(Deletion.from_json(row) for row in body.objects("deletions"))
            case Kind.OUTCOME:
                self.open_intents.pop(CommitId(body.text("intent")), None)
                for row in body.objects("deletions"):
                    self._end(row)
            case _:
                pass

    def _end(self, row: Mapping[str, Json]) -> None:
        """A tombstone ends with its namespace; one that could not be acted on has to be put up anew."""
        deletion = Deletion.from_json(row)
        if reading(row, "outcome").one_of("result", Result) in _ENDING:
            self._take_down(deletion.name, deletion.uid)

    def _take_down(self, name: str, uid: str) -> None:
        if (stone := self.standing.get(name)) is not None and stone.uid == uid:
            del self.standing[name]


_ENDING = frozenset({Result.DELETED, Result.GONE, Result.CHANGED, Result.REFERENCED})


def tombstone_body(buried: Iterable[Namespace], withdrawn: Iterable[Withdrawal], seen_at: datetime) -> dict[str, Json]:
    """One entry for all that a run puts up and takes down."""
    return {
        "buried": [{"name": n.name, "resource_version": n.resource_version, "uid": n.uid} for n in buried],
        "seen_at": stamp(seen_at.astimezone(UTC)),
        "withdrawn": [
            {"name": w.tombstone.name, "tombstone": w.tombstone.entry, "uid": w.tombstone.uid, "why": w.why}
            for w in withdrawn
        ],
    }


def intent_body(deletion: Deletion) -> dict[str, Json]:
    return {"deletions": [deletion.to_json()]}


def outcome_body(intent: CommitId, results: Iterable[tuple[Deletion, Result, str]]) -> dict[str, Json]:
    return {
        "deletions": [{**d.to_json(), "result": result.value, "why": why[:500]} for d, result, why in results],
        "intent": intent,
    }


def moment(text: str) -> datetime:
    """A UTC time as entries write it. Raises InvalidValue."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidValue(f"expected a time like 2026-01-31T23:59:59Z, got {text[:40]!r}") from None
