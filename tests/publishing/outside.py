"""What the GitOps side of the ports needs of whatever simulation they are in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from state.git import CommitId, RefName
from tests.publishing.world import GitOpsPullRequest

T = TypeVar("T")


class GitOpsSide(Protocol):
    """A world, as far as branches, pull requests and markers go."""

    branches: dict[RefName, CommitId]
    changes: dict[int, GitOpsPullRequest]
    fetched: dict[str, frozenset[CommitId]]
    markers: tuple[bytes, ...]

    def of_branch(self, branch: RefName) -> list[GitOpsPullRequest]: ...

    def set_change(self, number: int, **changed: object) -> None: ...


class Outside(Protocol):
    """A process's way to it, where each call may be struck; judges what is done there."""

    @property
    def world(self) -> GitOpsSide: ...

    def read(self, name: str, effect: Callable[[GitOpsSide], T]) -> T: ...

    def write(self, name: str, effect: Callable[[], T], *, outside: bool = True) -> T: ...

    def pushed(self, branch: RefName, before: CommitId | None, commit: CommitId) -> None: ...

    def opened(self, branch: RefName, text: str) -> None: ...

    def closed(self, one: GitOpsPullRequest) -> None: ...
