"""Gitea and Forgejo, whose API has GitHub's shapes but for what is here.

Source: Gitea 1.26, routers/api/v1 (repo/pull.go, repo/issue_label.go, repo/collaborators.go, user/user.go) and answers.
It has no ETags, so that an unchanged listing costs its pages; it limits no rate by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import Field

from reconciler.adapters.forge_github import GitHubForge, User
from reconciler.adapters.forge_github_status import CommitStatuses
from reconciler.adapters.forge_github_writer import GitHubChanges
from reconciler.adapters.forge_records import Id, Record, parsed, parsed_record
from reconciler.ports import Change, Permission
from state.errors import Terminal
from state.git import CommitId, RefName

HEADERS: Final = {"Accept": "application/json"}
PAGES_MAX: Final = 1000
PAGE_SIZE: Final = 50
"""What a server gives by default at most (`MAX_RESPONSE_ITEMS`); one that gives less says that there is a next page."""
_PERMISSIONS: Final = {
    "owner": Permission.ADMIN,
    "admin": Permission.ADMIN,
    "write": Permission.WRITE,
    "read": Permission.READ,
}
_COLOR: Final = "#1d76db"


class _Users(Record):
    data: tuple[User, ...] = Field(strict=False)


class _Granted(Record):
    permission: str
    user: User | None


class _Label(Record):
    id: Id
    name: str


class GiteaForge(GitHubForge):
    """A `ForgeReader` and `ForgePeople`."""

    QUERY: ClassVar[Mapping[str, str | int]] = {"state": "open", "sort": "oldest", "limit": PAGE_SIZE}
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        """Nobody is named: the activity feed has no commit for a branch that is made at one that is there already.

        Whoever deletes a branch and makes it again would not be seen, and who pushed before be taken for the last.
        """
        del number, head
        return None

    def permission(self, user_id: int) -> Permission:
        """By id to the login of now, and by login to the permission, which has to name the same id."""
        found = parsed(_Users, self._client.get("/users/search", {"uid": user_id}), f"user {user_id}").data
        user = next((u for u in found if u.id == user_id), None)
        if user is None:
            return Permission.NONE
        answer = self._client.get(self._repository.path(f"/collaborators/{user.login}/permission"))
        if not answer.found:
            return Permission.NONE
        granted = parsed(_Granted, answer, f"permission of user {user_id}")
        if granted.user is None or granted.user.id != user_id:
            raise Terminal(f"user {user_id}: the login leads to another account now; ask again")
        return _PERMISSIONS.get(granted.permission, Permission.NONE)


class GiteaChanges(GitHubChanges):
    """A `ForgeWriter` and `LabelWriter`."""

    CONFLICT: ClassVar[frozenset[int]] = frozenset({409, 422})
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX

    def _query(self, owner: str, branch: RefName, base: RefName) -> dict[str, str | int]:
        del owner, branch  # there is no filter by head
        return {"state": "all", "sort": "oldest", "base_branch": base.short, "limit": self.PAGE_SIZE}

    def _opened(self, change: Change) -> Change:
        """Gitea looks and then inserts, so that two at the same moment are both made: the first one stays."""
        found = [c for c in self.find_change(change.branch, change.base) if c.open]
        if not found or found[0].number >= change.number:
            return change
        self.close_change(change.number, f"#{found[0].number} was opened at the same moment")
        return found[0]

    def add_label(self, number: int, label: str) -> None:
        """Labels go by id: a name that the repository has no label of is left out without a word."""
        found = self._label(label)
        if found is None:
            made = self._client.send("POST", self._repository.path("/labels"), {"name": label, "color": _COLOR})
            found = parsed(_Label, made, f"label {label!r}").id
        path = self._repository.path(f"/issues/{number}/labels")
        if not self._client.send("POST", path, {"labels": [found]}).found:
            raise Terminal(f"pull request {number}: there is none to label")

    def remove_label(self, number: int, label: str) -> None:
        found = self._label(label)
        if found is not None:
            self._client.send("DELETE", self._repository.path(f"/issues/{number}/labels/{found}"), {})

    def _label(self, name: str) -> int | None:
        """The repository's label of this name."""
        for page in range(1, 101):
            answer = self._client.get(self._repository.path("/labels"), {"limit": PAGE_SIZE, "page": page})
            rows = answer.body if answer.found else None
            if not isinstance(rows, list):
                raise Terminal(f"{self._repository.identity().name}: its labels cannot be read")
            for row in rows:
                label = parsed_record(_Label, row, "label")
                if label.name == name:
                    return label.id
            if not rows:
                return None
        raise Terminal(f"{self._repository.identity().name}: more than {100 * PAGE_SIZE} labels")


class GiteaStatuses(CommitStatuses):
    """A `StatusReporter`: the first line, as the commit status `ameide`."""

    QUERY: ClassVar[Mapping[str, str | int]] = {"limit": PAGE_SIZE}
