"""The pull requests of the forge `local`, as refs of its bare repository.

    refs/pull/<n>/head           the head commit, as on GitHub
    refs/ameide/pull/<n>         the record (local_record): state, base, author, fork, labels, …
    refs/ameide/status/<head>    the status of a head (status_local)

A pull request is opened as: closed record, head, open record. So no reader and no crash meets an open record without
its head, and a head without a record is a lost record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import pygit2

from reconciler.adapters import local_record
from reconciler.adapters.local_record import NUMBER_MAX, RECORD_MAX_BYTES, Record, State
from reconciler.adapters.local_repository import LocalRepository, blob, git, is_commit, target
from state.errors import Terminal
from state.git import CommitId, RefName

REFS_MAX: Final = 200_000

_RECORD: Final = re.compile(r"refs/ameide/pull/([1-9][0-9]{0,9})")
_HEAD: Final = re.compile(r"refs/pull/([1-9][0-9]{0,9})/head")


class Stored(NamedTuple):
    """A record with the head behind it; None only where a closed pull request has lost it."""

    record: Record
    head: CommitId | None


class Contents(NamedTuple):
    """Every pull request that could be read, ascending by number, and what could not be."""

    stored: tuple[Stored, ...]
    problems: tuple[str, ...]


def record_ref(number: int) -> RefName:
    return RefName(f"refs/ameide/pull/{number}")


def head_ref(number: int) -> RefName:
    return RefName(f"refs/pull/{number}/head")


@dataclass(slots=True)
class LocalStore:
    """The pull requests of one bare repository. Only what is immutable is kept: parsed blobs, known commits."""

    repository: LocalRepository
    _records: dict[tuple[int, str], Record] = field(default_factory=dict, repr=False)
    """By number and blob id, of the last look: a listing of an unchanged forge parses nothing."""
    _commits: set[str] = field(default_factory=set, repr=False)

    def contents(self) -> Contents:
        """Every pull request, open or not. One that cannot be read becomes a problem; the others are still there.

        Raises Terminal if the repository is missing or holds more than REFS_MAX refs, Unavailable if git fails.
        """
        opened = self.repository.open()
        # By git, not by libgit2: libgit2's iterator can miss a ref that `git pack-refs` moves meanwhile.
        output, messages = git(
            [
                "for-each-ref",
                f"--count={REFS_MAX + 1}",
                "--format=%(objectname) %(refname)",
                "refs/ameide/pull",
                "refs/pull",
            ],
            self.repository.path,
        )
        lines = output.splitlines()
        if len(lines) > REFS_MAX:
            raise Terminal(
                f"{self.repository.path}: more than {REFS_MAX} pull request refs; delete those of closed ones"
            )
        problems = [f"git: {line!r}" for line in messages.splitlines()]
        records: dict[int, str] = {}
        heads: dict[int, str] = {}
        for line in lines:
            oid, _, name = line.partition(" ")
            if match := _HEAD.fullmatch(name):
                heads[int(match[1])] = oid
            elif match := _RECORD.fullmatch(name):
                records[int(match[1])] = oid
            elif name.startswith("refs/ameide/"):
                problems.append(f"{name!r}: not the name of a record")
        fresh: dict[tuple[int, str], Record] = {}
        stored: list[Stored] = []
        for number in sorted(records.keys() | heads.keys()):
            try:
                found = self._listed(opened, number, records.get(number), heads.get(number), fresh)
            except Terminal as error:
                problems.append(str(error))
            else:
                stored.append(found)
        self._records = fresh
        return Contents(tuple(stored), tuple(problems))

    def one(self, number: int) -> Stored | None:
        """One pull request, read from disk now; None if there never was one.

        Raises Terminal if its record is malformed or lost, or if it is open and has no head: that is not "closed".
        """
        if not 1 <= number <= NUMBER_MAX:
            return None
        opened = self.repository.open()
        # The head before the record: an opener writes them the other way round, so a head seen here has its record.
        head = target(opened, head_ref(number))
        oid = target(opened, record_ref(number))
        if oid is None:
            if head is None:
                return None
            raise Terminal(f"{head_ref(number)}: pull request {number} has a head, but its record is lost")
        record = _record(opened, oid, number)
        if head is None and record.state is State.OPEN:
            head = target(opened, head_ref(number))  # it was opened between the two reads
        return Stored(record, self._head(opened, head, record))

    def head(self, number: int) -> CommitId | None:
        """What `refs/pull/<n>/head` says, and nothing else; None if there is no such ref."""
        opened = self.repository.open()
        found = target(opened, head_ref(number)) if 1 <= number <= NUMBER_MAX else None
        return None if found is None else CommitId(found)

    def edit(self, number: int, change: Callable[[Record], Record]) -> Record:
        """Apply `change` to a record, anew if another writer was faster, so that no edit is lost.

        Raises Terminal if there is no such pull request or its record is malformed.
        """
        while True:
            opened = self.repository.open()
            oid = target(opened, record_ref(number)) if 1 <= number <= NUMBER_MAX else None
            if oid is None:
                raise Terminal(
                    f"{self.repository.path}: there is no pull request {number}; see `ameide local pr list --all`"
                )
            before = _record(opened, oid, number)
            after = change(before)
            if after == before:
                return after
            if self.repository.swap(record_ref(number), oid, self.repository.add(after.encode())):
                return after

    def _listed(
        self,
        opened: pygit2.Repository,
        number: int,
        record_oid: str | None,
        head: str | None,
        fresh: dict[tuple[int, str], Record],
    ) -> Stored:
        if record_oid is not None:
            key = (number, record_oid)
            fresh[key] = record = self._records.get(key) or _record(opened, record_oid, number)
            if head is not None or record.state is not State.OPEN:
                return Stored(record, self._head(opened, head, record))
        # Half of it is missing. It may have been opened between git's looks at the two refs: the single read decides.
        one = self.one(number)
        if one is None:
            raise Terminal(f"{head_ref(number)}: has no record, and went away while it was read")
        return one

    def _head(self, opened: pygit2.Repository, oid: str | None, record: Record) -> CommitId | None:
        """The head as a commit. Raises Terminal where an open pull request has none."""
        if oid is not None and oid in self._commits:
            return CommitId(oid)
        if oid is not None and is_commit(opened, oid):
            if len(self._commits) >= REFS_MAX:
                self._commits.clear()
            self._commits.add(oid)
            return CommitId(oid)
        if record.state is State.OPEN:
            got = "no such ref" if oid is None else f"{oid[:40]}, which is not a commit of this repository"
            raise Terminal(f"{head_ref(record.number)}: expected the head of an open pull request, got {got}")
        return None


def _record(opened: pygit2.Repository, oid: str, number: int) -> Record:
    raw = blob(opened, oid, f"record of pull request {number}", RECORD_MAX_BYTES)
    return local_record.decode(raw, number)
