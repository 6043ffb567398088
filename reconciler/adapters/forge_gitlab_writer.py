"""GitLab, for writing: the merge requests that we open, and labels.

Source: docs.gitlab.com REST API v4 (merge_requests, notes, branches).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import quote

from reconciler.adapters.forge_changes import RestChanges
from reconciler.adapters.forge_client import Answer
from reconciler.adapters.forge_gitlab import PAGE_SIZE, PAGES_MAX, MergeRequest
from reconciler.adapters.forge_pull import ForgePull
from state.canonical import Json
from state.errors import Terminal
from state.git import RefName


class GitLabChanges(RestChanges):
    """A `ForgeWriter` and `LabelWriter`."""

    CONFLICT: ClassVar[frozenset[int]] = frozenset({409})
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX
    RECORD: ClassVar[type[ForgePull]] = MergeRequest
    COLLECTION: ClassVar[str] = "/merge_requests"

    def _query(self, owner: str, branch: RefName, base: RefName) -> dict[str, str | int]:
        del owner  # the filter is by name alone: forks are sorted out by id
        return {
            "state": "all",
            "scope": "all",
            "source_branch": branch.short,
            "target_branch": base.short,
            "order_by": "created_at",
            "sort": "asc",
            "per_page": self.PAGE_SIZE,
        }

    def _create(self, branch: RefName, base: RefName, title: str, body: str) -> Answer:
        # Asked first, since no document says that one from a branch that is not there is refused.
        if not self._client.get(self._repository.path(f"/repository/branches/{quote(branch.short, safe='')}")).found:
            raise Terminal(f"merge request from {branch.short}: there is no such branch; push it first")
        made: dict[str, Json] = {
            "source_branch": branch.short,
            "target_branch": base.short,
            "title": title,
            "description": body,
        }
        return self._client.send("POST", self._repository.path(self.COLLECTION), made, expected=self.CONFLICT)

    def _update(self, number: int, fields: Mapping[str, Json]) -> Answer:
        named = {"description" if name == "body" else name: value for name, value in fields.items()}
        return self._client.send("PUT", self._repository.path(f"/merge_requests/{number}"), named)

    def _comment(self, number: int, text: str) -> None:
        self._client.send("POST", self._repository.path(f"/merge_requests/{number}/notes"), {"body": text})

    def _close(self, number: int) -> None:
        self._update(number, {"state_event": "close"})

    def add_label(self, number: int, label: str) -> None:
        """A project gets the label with its first use."""
        if "," in label:
            raise Terminal(f"label {label!r}: GitLab takes a comma for the end of a name; use another")
        if not self._update(number, {"add_labels": label}).found:
            raise Terminal(f"merge request {number}: there is none to label")

    def remove_label(self, number: int, label: str) -> None:
        self._update(number, {"remove_labels": label})
