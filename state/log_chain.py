"""The rules that make commits a log, checked one commit at a time, oldest first. Pure.

1. The first entry is the only genesis: no parent, sequence 0, epoch 0; it names the log and the key that signs.
2. Each later entry has the one before it as its only parent and the next sequence number.
3. Epoch and writer change by an `epoch` entry only, which counts one up and names its writer.
4. Each entry is signed by the key in force. A `key` entry, signed by the old key, puts its key in force for the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from state.canonical import Json
from state.entry import FORMAT_VERSION, Kind
from state.errors import IntegrityError, InvalidValue
from state.git import CommitId
from state.log_branch import LogName
from state.log_commit import EntryCommit
from state.sshsig import PublicKey

_GENESIS_KEYS: Final = {"format", "key", "repository_id", "role"}


class Standing(NamedTuple):
    """What the next entry must continue: the last entry's id and numbers, its writer, and the key in force."""

    id: CommitId
    sequence: int
    epoch: int
    writer: str
    key: PublicKey


def genesis_body(name: LogName, key: PublicKey) -> dict[str, Json]:
    """The body of the first entry."""
    return {
        "format": FORMAT_VERSION,
        "key": key.line,
        "repository_id": name.repository_id,
        "role": name.role.value,
    }


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
    return Standing(oid, entry.sequence, entry.epoch, entry.writer, signer), problems


def unread(oid: CommitId, before: Standing | None) -> Standing | None:
    """What stands after an entry that cannot be read: its number is used up, nothing else is known of it."""
    return before._replace(id=oid, sequence=before.sequence + 1) if before else None


def assume(commit: EntryCommit, oid: CommitId) -> Standing:
    """What stands after an entry whose predecessors are not looked at: the entry is taken at its word."""
    entry = commit.entry
    key = _announced(entry.body, []) if entry.kind is Kind.KEY else None
    return Standing(oid, entry.sequence, entry.epoch, entry.writer, key or commit.signature.key)


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
