"""What the suite needs of a forge under test: the adapters, and hands to change the forge behind their backs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reconciler.ports import ForgeReader, ForgeWriter, LabelWriter, StatusReporter, StatusState
from state.git import CommitId, RefName


class ForgeDriver(Protocol):
    """What people and their pushes do to a forge; never through the adapters' caches."""

    def repository_id(self) -> int:
        """The id that the forge gave the repository."""

    def commit(self) -> CommitId:
        """A fresh commit in the repository, on no branch."""

    def branch(self, name: RefName, commit: CommitId) -> None:
        """Make or move a branch."""

    def author(self) -> int:
        """The id of somebody who opens pull requests, and is not us."""

    def open(
        self, head: CommitId, *, labels: Sequence[str] = (), draft: bool = False, author_id: int | None = None
    ) -> int:
        """Open a pull request to `refs/heads/main` from the repository itself; its number. None: whoever."""

    def fork(self) -> int:
        """The id of a fork of the repository, which is somebody else's."""

    def open_from_fork(self, head: CommitId, fork_id: int, branch: RefName | None = None) -> int:
        """Open one whose head belongs to the fork with that repository id."""

    def delete_fork(self, number: int) -> None:
        """Delete the repository that the pull request's head belongs to."""

    def push(self, number: int, head: CommitId, by: int | None = None) -> None:
        """Move its head, by force if need be."""

    def close(self, number: int) -> None: ...

    def reopen(self, number: int) -> None: ...

    def merge(self, number: int) -> None: ...

    def label(self, number: int, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None: ...

    def retarget(self, number: int, base: RefName) -> None: ...

    def corrupt(self, number: int) -> None:
        """Make the forge's answer about this pull request, and about no other, unusable."""

    def lose_record(self, number: int) -> None:
        """Make the forge forget everything about it but its head ref."""

    def reason(self, number: int) -> str:
        """Why it was closed, as the forge shows it to people."""

    def status(self, head: CommitId) -> tuple[StatusState, str] | None:
        """The status the forge shows for `head`."""

    def statuses(self) -> int:
        """How many statuses the forge holds in all."""

    def writer_process(self, action: str, *arguments: str) -> list[str]:
        """The argument vector of a process that writes `ready`, reads a line, and then works through the adapters.

        `label NUMBER LABEL…` adds the labels one by one; `open COUNT PREFIX` opens a change for each of the branches
        `PREFIX-0`, …, and writes the numbers.
        """


@dataclass(frozen=True, slots=True)
class ForgeUnderTest:
    reader: ForgeReader
    writer: ForgeWriter
    status: StatusReporter
    driver: ForgeDriver
    labels: LabelWriter
    missing: ForgeReader
    """A reader of a repository that does not exist on this forge."""
    tells_pushers: bool = True
    """Whether the forge tells who pushed a head."""
