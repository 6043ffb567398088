"""GitHub, for writing: the pull requests that we open, and labels.

Source: docs.github.com REST API 2022-11-28 (pulls, issues).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from reconciler.adapters.forge_changes import RestChanges
from reconciler.adapters.forge_client import Answer
from reconciler.adapters.forge_github import PAGE_SIZE, PAGES_MAX, PullRecord
from reconciler.adapters.forge_pull import ForgePull
from state.canonical import Json
from state.errors import Terminal
from state.git import RefName


class GitHubChanges(RestChanges):
    """A `ForgeWriter` and `LabelWriter`."""

    CONFLICT: ClassVar[frozenset[int]] = frozenset({422})
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX
    RECORD: ClassVar[type[ForgePull]] = PullRecord
    COLLECTION: ClassVar[str] = "/pulls"

    def _query(self, owner: str, branch: RefName, base: RefName) -> dict[str, str | int]:
        return {
            "state": "all",
            "head": f"{owner}:{branch.short}",  # without the owner the filter is silently ignored
            "base": base.short,
            "sort": "created",
            "direction": "asc",
            "per_page": self.PAGE_SIZE,
        }

    def _create(self, branch: RefName, base: RefName, title: str, body: str) -> Answer:
        made: dict[str, Json] = {"head": branch.short, "base": base.short, "title": title, "body": body}
        return self._client.send("POST", self._repository.path("/pulls"), made, expected=self.CONFLICT)

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
