"""GitHub, for writing: the pull requests that we open, and labels. Finding comes before creating.

Source: docs.github.com REST API 2022-11-28 (pulls, issues). Lists are eventually consistent there: "not found" is a
reason to try, never proof; the answer 422 to a second one is, and is adopted.
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

from reconciler.adapters.forge_github import PAGE_SIZE, PAGES_MAX, GitHubRepository, PullRecord
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_records import parsed, parsed_record
from reconciler.ports import Change
from state.errors import Terminal, Unavailable
from state.git import RefName


class GitHubChanges:
    """A `ForgeWriter` and `LabelWriter`."""

    CONFLICT: ClassVar[frozenset[int]] = frozenset({422})
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX

    def __init__(self, repository: GitHubRepository) -> None:
        self._repository = repository
        self._client = repository.client

    def find_change(self, branch: RefName, base: RefName) -> tuple[Change, ...]:
        """Every pull request from `branch` of the repository itself, whatever GitHub's filter let through.

        Raises Unavailable where the list would not stand still.
        """
        identity = self._repository.look()
        query = self._query(identity.name.partition("/")[0], branch, base)
        what = f"{identity.name}: pull requests from {branch.short}"
        path = f"/repos/{identity.name}/pulls"
        paged = listing(
            self._client, path, query, what=what, key="id", page_size=self.PAGE_SIZE, pages_max=self.PAGES_MAX
        )
        if paged is None or not paged.complete:
            raise Unavailable(f"{what}: the list could not be read whole; it is asked again")
        records = [parsed_record(PullRecord, raw, what) for raw in paged.records]
        found = [
            _change(r)
            for r in records
            if r.head.ref == branch.short
            and r.base.ref == base.short
            and r.head.repo is not None
            and r.head.repo.id == identity.id
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
        answer = self._client.send(
            "POST",
            self._repository.path("/pulls"),
            {"head": branch.short, "base": base.short, "title": title, "body": body},
            expected=self.CONFLICT,
        )
        what = f"pull request from {branch.short} to {base.short}"
        if answer.status == 201:
            return _change(parsed(PullRecord, answer, what))
        for change in self.find_change(branch, base):
            if change.open:
                return change
        raise Terminal(
            f"{what}: the forge refuses it ({answer.status}); is the branch there, and does it differ from base?"
        )

    def update_change(self, number: int, *, title: str, body: str) -> None:
        answer = self._client.send("PATCH", self._repository.path(f"/pulls/{number}"), {"title": title, "body": body})
        if not answer.found:
            raise Terminal(f"pull request {number}: there is none to update")

    def close_change(self, number: int, reason: str) -> None:
        """Say why in a comment, then close: the other way round a lost process would close without a word."""
        answer = self._client.get(self._repository.path(f"/pulls/{number}"))
        if not answer.found:
            raise Terminal(f"pull request {number}: there is none to close")
        if parsed(PullRecord, answer, f"pull request {number}").state == "closed":
            return
        self._client.send("POST", self._repository.path(f"/issues/{number}/comments"), {"body": reason})
        self._client.send("PATCH", self._repository.path(f"/pulls/{number}"), {"state": "closed"})

    def add_label(self, number: int, label: str) -> None:
        answer = self._client.send("POST", self._repository.path(f"/issues/{number}/labels"), {"labels": [label]})
        if not answer.found:
            raise Terminal(f"pull request {number}: there is none to label")

    def remove_label(self, number: int, label: str) -> None:
        self._client.send("DELETE", self._repository.path(f"/issues/{number}/labels/{quote(label, safe='')}"), {})


def _change(record: PullRecord) -> Change:
    return Change(
        number=record.number,
        branch=RefName.branch(record.head.ref),
        base=RefName.branch(record.base.ref),
        open=record.state == "open",
        title=record.title,
        body=record.body or "",
    )
