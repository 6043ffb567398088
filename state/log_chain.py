"""The rules that make commits a log, checked one commit at a time, oldest first. Pure.

1. The first entry is the only genesis: no parent, sequence 0, epoch 0; it names the log and the key that signs.
2. Each later entry has the one before it as its only parent and the next sequence number.
3. Epoch and writer change by an `epoch` entry only, which counts one up and names its writer.
4. Each entry is signed by the key in force. A `key` entry, signed by the old key, puts its key in force for the next.
5. An `anchor` or `epoch` entry may close a year: a later one than any that was closed, and earlier than its own time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from state.canonical import Json
from state.entry import CLOSES, FORMAT_VERSION, Entry, Kind
from state.errors import IntegrityError, InvalidValue
from state.git import CommitId
from state.log_branch import LogName
from state.log_commit import EntryCommit
from state.sshsig import PublicKey

_GENESIS_KEYS: Final = {"format", "key", "repository_id", "role"}
_CLOSING_KINDS: Final = frozenset({Kind.ANCHOR, Kind.EPOCH})


class Standing(NamedTuple):
    """What the next entry must continue: the last entry's id and numbers, its writer, and the key in force."""

    id: CommitId
    sequence: int
    epoch: int
    writer: str
    key: PublicKey
    year: int
    """Of the last entry's own time."""
    closed: int | None = None
    """The year that was closed last, as far as it is known."""


def genesis_body(name: LogName, key: PublicKey) -> dict[str, Json]:
    """The body of the first entry."""
    return {
        "format": FORMAT_VERSION,
        "key": key.line,
        "repository_id": name.repository_id,
        "role": name.role.value,
    }


def year_of(at: str) -> int:
    """The year of an entry's time."""
    return int(at[:4])


def closes(entry: Entry) -> int | None:
    """The year that this entry closes; its parent is the last entry of that year. None where it closes none."""
    year = entry.body.get(CLOSES) if entry.kind in _CLOSING_KINDS else None
    return year if isinstance(year, int) and not isinstance(year, bool) else None


def year_to_close(before: Standing, at: str) -> int | None:
    """The year that has to be closed before an entry of the time `at` is appended; None if there is none.

    A year that was closed is over, whatever the clock says later: entries with an earlier time belong to the one after.
    So a clock that leaps ahead closes one year too early, and when it is right again that year's end is passed over.
    """
    running = max(before.year, before.closed + 1) if before.closed is not None else before.year
    return running if year_of(at) > running else None


def advance(before: Standing | None, commit: EntryCommit, oid: CommitId, name: LogName) -> tuple[Standing, list[str]]:
    """Check one commit against what stands before it (None: nothing, it must be the genesis).

    Returns what stands afterwards, which takes the entry's own numbers even where they are wrong, so that one fault
    is told once; and every rule the commit breaks, in words.
    """
    entry = commit.entry
    problems: list[str] = []
    if before is None:
        key = _genesis(commit, name, problems)
    else:
        key = before.key
        _continues(before, commit, problems)
    signer = key or commit.signature.key
    try:
        commit.signature.check(commit.payload, key=signer)
    except IntegrityError as error:
        problems.append(str(error))
    if entry.kind is Kind.KEY:
        signer = _announced(entry.body, problems) or signer
    closed = _closed(before, entry, problems)
    return Standing(oid, entry.sequence, entry.epoch, entry.writer, signer, year_of(entry.at), closed), problems


def unread(oid: CommitId, before: Standing | None) -> Standing | None:
    """What stands after an entry that cannot be read: its number is used up, nothing else is known of it."""
    return before._replace(id=oid, sequence=before.sequence + 1) if before else None


def assume(commit: EntryCommit, oid: CommitId) -> Standing:
    """What stands after an entry whose predecessors are not looked at: the entry is taken at its word."""
    entry = commit.entry
    key = _announced(entry.body, []) if entry.kind is Kind.KEY else None
    signer = key or commit.signature.key
    return Standing(oid, entry.sequence, entry.epoch, entry.writer, signer, year_of(entry.at), closes(entry))


def _closed(before: Standing | None, entry: Entry, problems: list[str]) -> int | None:
    was = before.closed if before is not None else None
    if entry.kind not in _CLOSING_KINDS or CLOSES not in entry.body:
        return was
    year = closes(entry)
    if year is None or before is None:
        problems.append(f"closes {entry.body[CLOSES]!r}, expected the year of entries before it")
        return was
    if was is not None and year <= was:
        problems.append(f"closes {year}, but {was} was closed before: a year is closed once, and in order")
        return was
    if year >= year_of(entry.at):
        problems.append(f"closes {year}, and is of {entry.at} itself")
    return year


def _genesis(commit: EntryCommit, name: LogName, problems: list[str]) -> PublicKey | None:
    entry, body = commit.entry, commit.entry.body
    if commit.parent is not None:
        problems.append(f"the first entry has a parent, {commit.parent.short}")
    if entry.kind is not Kind.GENESIS:
        problems.append(f"the first entry is of kind {entry.kind.value}, expected genesis: the log's start is missing")
        return None
    if entry.sequence or entry.epoch:
        problems.append(f"genesis has sequence {entry.sequence} and epoch {entry.epoch}, expected 0 and 0")
    if set(body) != _GENESIS_KEYS or body["format"] != FORMAT_VERSION:
        problems.append("genesis: expected exactly format 1, key, repository_id and role")
        return None
    if body["repository_id"] != name.repository_id or body["role"] != name.role.value:
        problems.append(f"genesis is of log {body['repository_id']}/{body['role']}, but the branch is {name.ref}")
    return _announced(body, problems)


def _continues(before: Standing, commit: EntryCommit, problems: list[str]) -> None:
    entry = commit.entry
    if commit.parent != before.id:
        problems.append(f"its parent is {commit.parent or 'none'}, expected {before.id}")
    if entry.kind is Kind.GENESIS:
        problems.append("a second genesis inside the log")
    if entry.sequence != before.sequence + 1:
        problems.append(
            f"sequence {entry.sequence} follows {before.sequence}: entries were dropped, repeated or renumbered"
        )
    if entry.kind is Kind.EPOCH:
        if entry.epoch != before.epoch + 1:
            problems.append(f"epoch {entry.epoch} follows epoch {before.epoch}, expected {before.epoch + 1}")
        if entry.body.get("writer") != entry.writer:
            problems.append(f"the epoch names writer {entry.body.get('writer')!r}, the entry is by {entry.writer}")
        return
    if entry.epoch != before.epoch:
        how = "goes back" if entry.epoch < before.epoch else "rises without an epoch entry"
        problems.append(f"the epoch {how}: {entry.epoch} follows {before.epoch}")
    if entry.writer != before.writer:
        problems.append(f"by {entry.writer}, but epoch {before.epoch} belongs to {before.writer}")


def _announced(body: Mapping[str, Json], problems: list[str]) -> PublicKey | None:
    try:
        return PublicKey.parse(str(body.get("key")))
    except InvalidValue as error:
        problems.append(str(error))
        return None
