"""Pull requests that we open, over a forge's REST API. Finding comes before creating.

Lists are eventually consistent at some forges: "not found" is a reason to try, never proof; the forge's refusal of a
second one is, and is adopted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from reconciler.adapters.forge_client import Answer
from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import parsed, parsed_record
from reconciler.ports import Change
from state.canonical import Json
from state.errors import Terminal, Unavailable
from state.git import RefName


class RestChanges(ABC):
    """A `ForgeWriter`; what differs from forge to forge is named by each."""

    CONFLICT: ClassVar[frozenset[int]]
    """The statuses that refuse a second pull request from the same branch, and what else cannot be opened."""
    PAGE_SIZE: ClassVar[int]
    PAGES_MAX: ClassVar[int]
    RECORD: ClassVar[type[ForgePull]]
    COLLECTION: ClassVar[str]
    """Below the repository's path."""

    def __init__(self, repository: ForgeRepository) -> None:
        self._repository = repository
        self._client = repository.client

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        """Every pull request from `branch` of the repository itself, whatever the forge's filter let through.

        Raises Unavailable where the list would not stand still.
        """
        identity = self._repository.look()
        query = self._query(identity.name.partition("/")[0], branch, base)
        what = f"{identity.name}: pull requests from {branch.short}"
        path = self._repository.path(self.COLLECTION)
        paged = listing(
            self._client,
            path,
            query,
            what=what,
            key="id",
            page_size=self.PAGE_SIZE,
            pages_max=self.PAGES_MAX,
            only_grows=True,  # closed ones stay in it
        )
        if paged is None or not paged.complete:
            raise Unavailable(f"{what}: the list could not be read whole; it is asked again")
        records = [parsed_record(self.RECORD, raw, what) for raw in paged.records]
        found = [
            r.change()
            for r in records
            if r.head_branch == branch.short and r.base_branch == base.short and r.head_repository_id == identity.id
        ]
        return tuple(sorted(found))

    def open_change(self, branch: RefName, base: RefName, title: str, body: str) -> Change:
        """Open one. Where the forge says that there is one (CONFLICT), that is adopted.

        Raises Terminal where it refuses, and none is open.
        """
        for change in self.find_change(branch, base):
            if change.open:
                return change
        answer = self._create(branch, base, title, body)
        what = f"pull request from {branch.short} to {base.short}"
        if answer.status == 201:
            return self._opened(parsed(self.RECORD, answer, what).change())
        for change in self.find_change(branch, base):
            if change.open:
                return change
        raise Terminal(
            f"{what}: the forge refuses it ({answer.status}); is the branch there, and does it differ from base?"
        )

    def update_change(self, number: int, *, title: str, body: str) -> None:
        if not self._update(number, {"title": title, "body": body}).found:
            raise Terminal(f"pull request {number}: there is none to update")

    def close_change(self, number: int, reason: str) -> None:
        """Say why in a comment, then close: the other way round a lost process would close without a word."""
        answer = self._client.get(self._repository.path(f"{self.COLLECTION}/{number}"))
        if not answer.found:
            raise Terminal(f"pull request {number}: there is none to close")
        if not parsed(self.RECORD, answer, f"pull request {number}").is_open:
            return
        self._comment(number, reason)
        self._close(number)

    def _opened(self, change: Change) -> Change:
        """What was just opened, or another one that stands in for it."""
        return change

    @abstractmethod
    def _query(self, owner: str, branch: RefName, base: RefName) -> dict[str, str | int]:
        """Asks for those from `branch`, in every state, oldest first; it may let others through."""

    @abstractmethod
    def _create(self, branch: RefName, base: RefName, title: str, body: str) -> Answer: ...

    @abstractmethod
    def _update(self, number: int, fields: Mapping[str, Json]) -> Answer: ...

    @abstractmethod
    def _comment(self, number: int, text: str) -> None: ...

    @abstractmethod
    def _close(self, number: int) -> None: ...
