"""The forge `local`, for writing: the pull requests that we open, and the operations of `ameide local pr`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pygit2

from reconciler.adapters.local_record import Record, State
from reconciler.adapters.local_repository import LocalRepository, git, is_commit, target
from reconciler.adapters.local_store import Contents, LocalStore, Stored, head_ref, record_ref
from reconciler.ports import Change
from state.errors import InvalidValue, StaleObservation, Terminal, Unavailable
from state.git import CommitId, RefName


class LocalPullRequests:
    """What a person or a test does on a forge's pages: open, push to, close, reopen, label, retarget."""

    def __init__(self, path: Path) -> None:
        self.repository = LocalRepository(path)
        self.store = LocalStore(self.repository)

    def contents(self) -> Contents:
        """Every pull request, open or not, and what could not be read."""
        return self.store.contents()

    def resolve(self, revision: str) -> CommitId:
        """The commit of a full commit id or of a branch of the repository. Raises InvalidValue if there is none."""
        opened = self.repository.open()
        try:
            found: str | None = CommitId(revision)
        except InvalidValue:
            name = revision if revision.startswith("refs/heads/") else f"refs/heads/{revision}"
            found = target(opened, RefName(name))
        if found is None or not is_commit(opened, found):
            raise InvalidValue(
                f"{self.repository.path}: {revision!r}: expected a full commit id or a branch that is there; "
                "push it first, or name the repository that has it with --from"
            )
        return CommitId(found)

    def check_branch(self, name: RefName) -> None:
        """Raises InvalidValue unless the repository has this branch."""
        if target(self.repository.open(), name) is None:
            raise InvalidValue(
                f"{self.repository.path}: no branch {name.short}; push it first, or name one that is there"
            )

    def fetch(self, source: Path, revision: str) -> CommitId:
        """Bring a commit and its history in from another repository or work tree on this machine; its id."""
        if not source.is_dir():
            raise InvalidValue(f"{source}: expected a repository or a work tree")
        try:
            out, _ = git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"], source)
        except Unavailable as error:
            raise InvalidValue(f"{source}: {revision!r} is no commit there, or this is no git repository") from error
        commit = CommitId(out.strip())
        only_files = ["-c", "protocol.allow=never", "-c", "protocol.file.allow=always", "-c", "protocol.version=2"]
        flags = ["--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance"]
        git([*only_files, "fetch", *flags, "--", str(source.resolve()), commit], self.repository.path)
        return commit

    def open(
        self,
        head: CommitId,
        base: RefName,
        *,
        author_id: int = 1,
        head_repository_id: int | None = None,
        labels: Iterable[str] = (),
        draft: bool = False,
        title: str = "",
        body: str = "",
        head_branch: RefName | None = None,
    ) -> Stored:
        """Open a pull request under the next free number. `head_repository_id` is this repository's unless given.

        Its author is also who pushed the head.

        Raises Terminal if the head is not a commit of the repository or a field is malformed.
        """
        with self.repository.opening():
            return self.open_locked(
                Record(
                    number=1,
                    state=State.OPEN,
                    base=base,
                    author_id=author_id,
                    head_repository_id=self.repository.id() if head_repository_id is None else head_repository_id,
                    labels=tuple(sorted(set(labels))),
                    draft=draft,
                    title=title,
                    body=body,
                    head_branch=head_branch,
                    pushed=(head, author_id),
                ),
                head,
            )

    def open_locked(self, record: Record, head: CommitId) -> Stored:
        """The same, for a caller who holds `repository.opening()`. The record's number is replaced."""
        opened = self.repository.open()
        if not is_commit(opened, head):
            raise InvalidValue(f"{self.repository.path}: {head} is not a commit of this repository; push it first")
        number = self._highest_number()
        while True:
            number += 1
            made = replace(record, number=number)
            # Until it has its head it is nobody's branch's: whoever ends here leaves no pull request that looks as if a
            # person had closed it.
            closed = self.repository.add(replace(made, state=State.CLOSED, head_branch=None).encode())
            if self._taken(number) or not self.repository.swap(record_ref(number), None, closed):
                continue
            if self.repository.swap(head_ref(number), None, head) and self.repository.swap(
                record_ref(number), closed, self.repository.add(made.encode())
            ):
                return Stored(made, head)
            raise StaleObservation(f"{self.repository.path}: pull request {number} was written to while it was opened")

    def push(self, number: int, head: CommitId, by: int | None = None) -> CommitId | None:
        """Move the head of an open pull request, forwards or not; the head it had. `by` is who does it, if known.

        Raises Terminal if it does not exist, is not open, or the commit is not in the repository.
        """
        opened = self.repository.open()
        if not is_commit(opened, head):
            raise InvalidValue(f"{self.repository.path}: {head} is not a commit of this repository; push it first")
        record = self.store.edit(number, lambda same: same)
        if record.state is not State.OPEN:
            raise InvalidValue(f"pull request {number} is {record.state}; reopen it before you push to it")
        # Before the head is moved: what is said of a head is never older than the head.
        pushed = None if by is None else (head, by)
        self.store.edit(number, lambda record: replace(record, pushed=pushed))
        while True:
            before = target(opened, head_ref(number))
            if before == head or self.repository.swap(head_ref(number), before, head):
                return None if before is None else CommitId(before)

    def close(self, number: int, reason: str = "") -> Record:
        """Close it; closing one that is not open changes nothing."""

        def change(record: Record) -> Record:
            if record.state is not State.OPEN:
                return record
            return replace(record, state=State.CLOSED, close_reason=reason)

        return self.store.edit(number, change)

    def reopen(self, number: int) -> Record:
        """Open a closed one again. Raises Terminal if it was merged, lost its head, or its branch has an open one."""
        with self.repository.opening():
            stored = self.store.one(number)
            if stored is None or stored.head is None:
                raise Terminal(f"{self.repository.path}: there is no pull request {number} with a head to reopen")
            for other, _ in self.contents().stored:
                if other.state is State.OPEN and other.number != number and _same_branches(other, stored.record):
                    raise InvalidValue(
                        f"pull request {other.number} is open for the same branch and base; close it first"
                    )

            def change(record: Record) -> Record:
                if record.state is State.MERGED:
                    raise InvalidValue(f"pull request {number} was merged; open a new one")
                return replace(record, state=State.OPEN, close_reason="")

            return self.store.edit(number, change)

    def merge(self, number: int) -> CommitId:
        """Merge an open pull request into its base branch; the base's new tip.

        Raises InvalidValue if it is not open or does not merge cleanly, StaleObservation if the base moved meanwhile.
        """
        stored = self.store.one(number)
        if stored is None or stored.head is None or stored.record.state is not State.OPEN:
            raise InvalidValue(f"{self.repository.path}: no pull request {number} is open")
        opened, base = self.repository.open(), stored.record.base
        tip, head = target(opened, base), self._branch_tip(stored.record) or stored.head
        if tip is None:
            raise InvalidValue(f"{self.repository.path}: no branch {base.short} to merge into")
        merged = opened.merge_commits(tip, head)
        if merged.conflicts is not None:
            raise InvalidValue(f"pull request {number} conflicts with {base.short}; push a commit that mends it")
        who = pygit2.Signature("ameide local", "local@ameide.invalid")
        text = f"Merge pull request {number}\n"
        with self.repository.writing() as written:
            tree = merged.write_tree(written)
            made = CommitId(str(written.create_commit(None, who, who, text, tree, [tip, head])))
        if not self.repository.swap(base, tip, made):
            raise StaleObservation(f"{self.repository.path}: {base.short} moved while {number} was merged; try again")
        self.store.edit(number, lambda record: replace(record, state=State.MERGED))
        return made

    def _branch_tip(self, record: Record) -> str | None:
        """Where a branch of the repository itself is that a pull request was opened from: it may have moved on."""
        if record.head_branch is None or record.head_repository_id != self.repository.id():
            return None
        return target(self.repository.open(), record.head_branch)

    def label(self, number: int, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Record:
        """Add and remove labels, whoever else does the same at this moment."""
        added, removed = frozenset(add), frozenset(remove)
        return self.store.edit(
            number, lambda record: replace(record, labels=tuple(sorted((set(record.labels) | added) - removed)))
        )

    def retarget(self, number: int, base: RefName) -> Record:
        """Change the base branch."""
        return self.store.edit(number, lambda record: replace(record, base=base))

    def _taken(self, number: int) -> bool:
        """Whether the number was ever given out; also where its refs are damaged or its record is lost."""
        try:
            return self.store.one(number) is not None
        except Terminal:
            return True

    def _highest_number(self) -> int:
        stored = self.contents().stored
        return stored[-1].record.number if stored else 0


class LocalLabels:
    """A `LabelWriter`."""

    def __init__(self, path: Path) -> None:
        self._pulls = LocalPullRequests(path)

    def add_label(self, number: int, label: str) -> None:
        if self._state(number) is not State.OPEN:
            raise Terminal(f"{self._pulls.repository.path}: no pull request #{number} is open")
        self._pulls.label(number, add=[label])

    def remove_label(self, number: int, label: str) -> None:
        if self._state(number) is not None:
            self._pulls.label(number, remove=[label])

    def _state(self, number: int) -> State | None:
        stored = self._pulls.contents().stored
        return next((one.record.state for one in stored if one.record.number == number), None)


class LocalForgeWriter:
    """A `ForgeWriter` over a bare repository. Branches are the repository's own; a fork's never count as ours."""

    def __init__(self, path: Path, author_id: int = 1) -> None:
        self._pulls = LocalPullRequests(path)
        self._author_id = author_id

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        """Every pull request from `branch` to `base`, open or closed, ascending.

        Raises Terminal while any record cannot be read: "not found" would not be known.
        """
        own = self._pulls.repository.id()
        contents = self._pulls.contents()
        if contents.problems:
            raise Terminal(f"{self._pulls.repository.path}: not every pull request can be read: {contents.problems[0]}")
        return tuple(
            _change(record)
            for record, _ in contents.stored
            if record.head_branch == branch and record.base == base and record.head_repository_id == own
        )

    def open_change(self, branch: RefName, base: RefName, title: str, body: str) -> Change:
        """Open one at the branch's tip, or return the one that is open. Raises Terminal if there is no such branch."""
        repository = self._pulls.repository
        with repository.opening():
            for change in self.find_change(branch, base):
                if change.open:
                    return change
            record = Record(
                number=1,
                state=State.OPEN,
                base=base,
                author_id=self._author_id,
                head_repository_id=repository.id(),
                title=title,
                body=body,
                head_branch=branch,
            )
            return _change(self._pulls.open_locked(record, self._pulls.resolve(branch)).record)

    def update_change(self, number: int, *, title: str, body: str) -> None:
        """Replace title and body. Raises Terminal if there is no such pull request."""
        self._pulls.store.edit(number, lambda record: replace(record, title=title, body=body))

    def close_change(self, number: int, reason: str) -> None:
        """Close it and keep the reason; closing a closed one changes nothing. Raises Terminal if there is none."""
        self._pulls.close(number, reason)


def _same_branches(one: Record, other: Record) -> bool:
    return one.head_branch is not None and (one.head_branch, one.base, one.head_repository_id) == (
        other.head_branch,
        other.base,
        other.head_repository_id,
    )


def _change(record: Record) -> Change:
    if record.head_branch is None:
        raise InvalidValue(f"pull request {record.number}: opened from a commit, not from a branch")
    return Change(
        number=record.number,
        branch=record.head_branch,
        base=record.base,
        open=record.state is State.OPEN,
        title=record.title,
        body=record.body,
        merged=record.state is State.MERGED,
    )
