"""One entry of the log: its kinds and its text.

An entry is the message of one commit: a subject line that people read, an empty line, and one line of canonical JSON.
The subject is derived from the JSON, and reading checks that it is, so a reader of `git log --oneline` is never told
another story than a verifier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from state import canonical
from state.canonical import Json
from state.errors import InvalidValue
from state.git import CommitId

FORMAT_VERSION: Final = 1
ENTRY_MAX_BYTES: Final = 4 * 1024 * 1024
BLOB_MAX_BYTES: Final = 16 * 1024 * 1024

CLOSES: Final = "closes"
"""In the body of an anchor or epoch entry that begins a new year: the year that ends with the entry before it."""

_OTHER_WRITES: Final = {
    "deletions": "namespaces to delete",
    "lane_proposals": "lane proposals",
    "untags": "tags to remove",
}
"""What intents and outcomes of the janitor and of the operator list instead of tag writes."""
_BURIED: Final = {"buried": "namespaces", "tags": "tags"}
"""What their tombstones list instead of a head."""
_COUNTED: Final = {"attachments": "attachments", "publications": "release sets", "proposals": "proposals"}
"""What an intent or outcome may list besides tag writes, and how its subject line names it."""

_OID: Final = re.compile(r"[0-9a-f]{40}")
_BLOB_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_WRITER: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_AT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class Kind(StrEnum):
    """What an entry says (design §8)."""

    GENESIS = "genesis"
    """The first entry: repository id, role, and the key that signs from here on."""
    EPOCH = "epoch"
    """A writer became active; names an orphaned tail if there was one."""
    KEY = "key"
    """A new key, announced by an entry that the old one signed."""
    CONFIG = "config"
    """The digest and the policy part of the configuration in force."""
    OBSERVATION = "observation"
    """What changed in what a pass saw (as blobs), and the digest of the plan it gave."""
    DECISION = "decision"
    INTENT = "intent"
    OUTCOME = "outcome"
    PLAN = "plan"
    MARKER = "marker"
    REVOCATION = "revocation"
    QUARANTINE = "quarantine"
    TOMBSTONE = "tombstone"
    """A head ended: our custody of its tags is over. Of the janitor and the operator: what is deleted after a grace
    period, and what was taken back."""
    ANCHOR = "anchor"
    """A year begins: the one that it closes ends with the entry before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is signed. `at` is UTC to the second; order is by `sequence`, never by time.

    `blobs` maps the names in the commit's tree to git blob ids: exactly those, or the tree is empty.
    """

    kind: Kind
    sequence: int
    epoch: int
    writer: str
    at: str
    body: Mapping[str, Json]
    blobs: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The commit message. Raises InvalidValue if a field is malformed or the text is too large."""
        _check(self)
        text = canonical.dumps(
            {
                "at": self.at,
                "blobs": dict(self.blobs),
                "body": dict(self.body),
                "epoch": self.epoch,
                "kind": self.kind.value,
                "sequence": self.sequence,
                "v": FORMAT_VERSION,
                "writer": self.writer,
            }
        )
        if len(text) > ENTRY_MAX_BYTES:
            raise InvalidValue(f"log entry: {len(text)} bytes, at most {ENTRY_MAX_BYTES} are allowed")
        return subject(self).encode() + b"\n\n" + text + b"\n"


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log with the id of the commit that holds it."""

    id: CommitId
    entry: Entry

    def to_json(self) -> dict[str, Json]:
        """What a machine is shown of it, by `ameide log show --json` and by the status page."""
        entry = self.entry
        return {
            "at": entry.at,
            "blobs": dict(entry.blobs),
            "body": dict(entry.body),
            "epoch": entry.epoch,
            "id": self.id,
            "kind": entry.kind.value,
            "sequence": entry.sequence,
            "writer": entry.writer,
        }


def decode(message: bytes) -> Entry:
    """Read a commit message back. Raises InvalidValue unless it is byte for byte what `encode` writes."""
    _, _, text = message.partition(b"\n\n")
    value = canonical.loads(text, what="log entry", max_bytes=ENTRY_MAX_BYTES + 1)
    if not isinstance(value, dict) or set(value) != {
        "at", "blobs", "body", "epoch", "kind", "sequence", "v", "writer",
    }:  # fmt: skip
        raise InvalidValue("log entry: not an object with exactly the keys of format version 1")
    blobs, body = value["blobs"], value["body"]
    if value["v"] != FORMAT_VERSION:
        raise InvalidValue(f"log entry: format version {value['v']}, this program reads {FORMAT_VERSION}")
    if not isinstance(body, dict) or not isinstance(blobs, dict):
        raise InvalidValue("log entry: body and blobs are objects")
    if not all(isinstance(oid, str) for oid in blobs.values()):
        raise InvalidValue("log entry: blobs map names to object ids")
    try:
        kind = Kind(str(value["kind"]))
    except ValueError as error:
        raise InvalidValue(f"log entry: unknown kind {value['kind']!r}") from error
    entry = Entry(
        kind=kind,
        sequence=_integer(value, "sequence"),
        epoch=_integer(value, "epoch"),
        writer=str(value["writer"]),
        at=str(value["at"]),
        body=body,
        blobs={name: str(oid) for name, oid in blobs.items()},
    )
    if entry.encode() != message:
        raise InvalidValue(f"log entry {entry.sequence}: the text is not in canonical form, or its subject line lies")
    return entry


def subject(entry: Entry) -> str:
    """The line that `git log --oneline` shows, derived from the entry alone."""
    body = entry.body
    words = [f"{entry.kind.value} {entry.sequence}:"]
    match entry.kind:
        case Kind.TOMBSTONE if named := _BURIED.keys() & body.keys():
            words += [f"{_count(body, name)} {_BURIED[name]}" for name in sorted(named)]
            words.append(f"{_count(body, 'withdrawn')} taken back")
        case Kind.INTENT | Kind.OUTCOME if named := _OTHER_WRITES.keys() & body.keys():
            words += [f"{_count(body, name)} {_OTHER_WRITES[name]}" for name in sorted(named)]
        case Kind.DECISION | Kind.TOMBSTONE | Kind.QUARANTINE | Kind.PLAN:
            words += [f"head {str(body.get('head', ''))[:12]}", _pull_requests(body)]
        case Kind.INTENT | Kind.OUTCOME:
            writes = body.get("writes")
            count = len(writes) if isinstance(writes, list) else 0
            adopted = entry.kind is Kind.OUTCOME and body.get("intent") is None
            words.append(f"{count} tags adopted" if adopted else f"{count} writes")
            for name, word in _COUNTED.items():
                rows = body.get(name)
                if isinstance(rows, list) and rows:
                    words.append(f"{len(rows)} {word}")
        case Kind.MARKER | Kind.REVOCATION:
            words += [str(body.get("kind", "")), str(body.get("id", ""))[:12]]
        case Kind.CONFIG:
            words.append(str(body.get("digest", ""))[:19])
        case Kind.OBSERVATION:
            words.append(f"{len(entry.blobs)} changed")
        case Kind.EPOCH | Kind.GENESIS:
            words.append(f"epoch {entry.epoch} by {entry.writer}")
        case _:
            pass
    if entry.kind in (Kind.ANCHOR, Kind.EPOCH) and isinstance(year := body.get(CLOSES), int):
        words.append(f"closes {year}")
    return " ".join(w for w in words if w)


def _count(body: Mapping[str, Json], name: str) -> int:
    rows = body.get(name)
    return len(rows) if isinstance(rows, list) else 0


def _pull_requests(body: Mapping[str, Json]) -> str:
    numbers = body.get("pull_requests")
    if not isinstance(numbers, list):
        return ""
    return "pr " + ",".join(str(n) for n in numbers[:5] if isinstance(n, int))


def _integer(value: Mapping[str, Json], key: str) -> int:
    found = value[key]
    if isinstance(found, bool) or not isinstance(found, int):
        raise InvalidValue(f"log entry: {key} is an integer, got {found!r}")
    return found


def _check(entry: Entry) -> None:
    if entry.sequence < 0 or entry.epoch < 0:
        raise InvalidValue(f"log entry: sequence and epoch count from 0, got {entry.sequence} and {entry.epoch}")
    if not _WRITER.fullmatch(entry.writer):
        raise InvalidValue(f"log entry: writer is at most 64 of [a-z0-9._-], got {entry.writer[:80]!r}")
    if not _AT.fullmatch(entry.at):
        raise InvalidValue(f"log entry: at is UTC like 2026-01-31T23:59:59Z, got {entry.at[:40]!r}")
    for name, oid in entry.blobs.items():
        if not _BLOB_NAME.fullmatch(name) or not _OID.fullmatch(oid):
            raise InvalidValue(f"log entry: a blob is a plain file name and 40 hex digits, got {name[:80]!r}: {oid!r}")
