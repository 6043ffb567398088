"""GitHub, for writing: the pull requests that we open, and labels. Finding comes before creating.

Source: docs.github.com REST API 2022-11-28 (pulls, issues). Lists are eventually consistent there: "not found" is a
reason to try, never proof; the answer 422 to a second one is, and is adopted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from reconciler.adapters.forge_client import Answer
from reconciler.adapters.forge_github import PAGE_SIZE, PAGES_MAX, PullRecord
from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import parsed, parsed_record
from reconciler.ports import Change
from state.canonical import Json
from state.errors import Terminal, Unavailable
from state.git import RefName


class GitHubChanges:
    """A `ForgeWriter` and `LabelWriter`."""

    CONFLICT: ClassVar[frozenset[int]] = frozenset({422})
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX
    RECORD: ClassVar[type[ForgePull]] = PullRecord
    COLLECTION: ClassVar[str] = "/pulls"

    def __init__(self, repository: ForgeRepository) -> None:
        self._repository = repository
        self._client = repository.client

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        """Every pull request from `branch` of the repository itself, whatever GitHub's filter let through.

        Raises Unavailable where the list would not stand still.
        """
        identity = self._repository.look()
        query = self._query(identity.name.partition("/")[0], branch, base)
        what = f"{identity.name}: pull requests from {branch.short}"
        path = self._repository.path(self.COLLECTION)
        paged = listing(
            self._client, path, query, what=what, key="id", page_size=self.PAGE_SIZE, pages_max=self.PAGES_MAX
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

    def _query(self, owner: str, branch: RefName, base: RefName) -> dict[str, str | int]:
        return {
            "state": "all",
            "head": f"{owner}:{branch.short}",  # without the owner the filter is silently ignored
            "base": base.short,
            "sort": "created",
            "direction": "asc",
            "per_page": self.PAGE_SIZE,
        }

    def open_change(self, branch: RefName, base: RefName, title: str, body: str) -> Change:
        """Open one. On a 422 the one that is open is adopted; if there is none, the refusal is told (Terminal)."""
        for change in self.find_change(branch, base):
            if change.open:
                return change
        answer = self._create(branch, base, title, body)
        what = f"pull request from {branch.short} to {base.short}"
        if answer.status == 201:
            return parsed(self.RECORD, answer, what).change()
        for change in self.find_change(branch, base):
            if change.open:
                return change
        raise Terminal(
            f"{what}: the forge refuses it ({answer.status}); is the branch there, and does it differ from base?"
        )

    def _create(self, branch: RefName, base: RefName, title: str, body: str) -> Answer:
        made: dict[str, Json] = {"head": branch.short, "base": base.short, "title": title, "body": body}
        return self._client.send("POST", self._repository.path("/pulls"), made, expected=self.CONFLICT)

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

    def _update(self, number: int, fields: Mapping[str, Json]) -> Answer:
        return self._client.send("PATCH", self._repository.path(f"/pulls/{number}"), fields)

    def _comment(self, number: int, text: str) -> None:
        self._client.send("POST", self._repository.path(f"/issues/{number}/comments"), {"body": text})

    def _close(self, number: int) -> None:
        self._update(number, {"state": "closed"})

    def add_label(self, number: int, label: str) -> None:
        answer = self._client.send("POST", self._repository.path(f"/issues/{number}/labels"), {"labels": [label]})
        if not answer.found:
            raise Terminal(f"pull request {number}: there is none to label")

    def remove_label(self, number: int, label: str) -> None:
        self._client.send("DELETE", self._repository.path(f"/issues/{number}/labels/{quote(label, safe='')}"), {})
