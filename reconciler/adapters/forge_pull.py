"""What every forge tells of a pull request, whatever it calls it."""

from __future__ import annotations

from abc import abstractmethod

from reconciler.adapters.forge_records import Id, Record
from reconciler.ports import Change
from state.git import RefName
from state.observed import PullRequest


class ForgePull(Record):
    """One pull request, in a list or alone."""

    id: Id
    number: Id
    state: str
    draft: bool = False
    title: str
    body: str | None = None

    @property
    @abstractmethod
    def is_open(self) -> bool: ...

    @property
    @abstractmethod
    def is_merged(self) -> bool: ...

    @property
    @abstractmethod
    def head_branch(self) -> str: ...

    @property
    @abstractmethod
    def base_branch(self) -> str: ...

    @property
    @abstractmethod
    def head_repository_id(self) -> int | None:
        """None once the fork was deleted."""

    @abstractmethod
    def value(self) -> PullRequest:
        """Raises InvalidValue for an id or a name that is none."""

    def change(self) -> Change:
        """The same as one that we may have opened."""
        return Change(
            number=self.number,
            branch=RefName.branch(self.head_branch),
            base=RefName.branch(self.base_branch),
            open=self.is_open,
            title=self.title,
            body=self.body or "",
            merged=self.is_merged,
        )
