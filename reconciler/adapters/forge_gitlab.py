"""GitLab, for reading: merge requests by REST, permissions by user id.

Source: docs.gitlab.com REST API v4 (projects, merge_requests, project members, pagination). A conditional request saves
the body and not the quota. Beyond 10,000 records no total is told; offset paging ends at 50,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote

from pydantic import AliasChoices, Field

from reconciler.adapters.forge_github import GitHubForge, rows
from reconciler.adapters.forge_identity import ForgeRepository, NamedRecord
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import Id, Record, parsed, parsed_record
from reconciler.ports import LAST_PUSHES_MAX, Change, Permission
from state.errors import Terminal, Unavailable
from state.git import CommitId, RefName
from state.observed import PullRequest

HEADERS: Final = {"Accept": "application/json"}
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 500
NAME_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}){1,20}$"
OWNER, DEVELOPER, GUEST = 50, 30, 10


class _Project(NamedRecord):
    full_name: str = Field(pattern=NAME_PATTERN, validation_alias="path_with_namespace")


class _Account(Record):
    id: Id


class MergeRequest(ForgePull):
    """One merge request; `iid` is its number, `sha` its head."""

    # By either name, since a listing keeps records under ours.
    number: Id = Field(validation_alias=AliasChoices("iid", "number"))
    body: str | None = Field(default=None, validation_alias=AliasChoices("description", "body"))
    author: _Account
    labels: tuple[str, ...] = Field(strict=False)
    sha: str
    """Null for a moment after it was made: such a record is not usable yet."""
    source_branch: str
    target_branch: str
    source_project_id: Id | None

    @property
    def is_open(self) -> bool:
        return self.state == "opened"

    @property
    def is_merged(self) -> bool:
        return self.state == "merged"

    @property
    def head_branch(self) -> str:
        return self.source_branch

    @property
    def base_branch(self) -> str:
        return self.target_branch

    @property
    def head_repository_id(self) -> int | None:
        return self.source_project_id

    def value(self) -> PullRequest:
        return PullRequest(
            number=self.number,
            head=CommitId(self.sha),
            base=RefName.branch(self.target_branch),
            head_repository_id=self.source_project_id,
            author_id=self.author.id,
            labels=tuple(sorted(self.labels)),
            draft=self.draft,
        )

    def change(self) -> Change:
        """Raises Unavailable for one that is being merged at this moment: it is neither open, closed nor merged."""
        if self.state == "locked":
            raise Unavailable(f"merge request {self.number}: is locked while it is merged; it is asked again")
        return super().change()


class GitLabProject(ForgeRepository):
    """By its path at first sight, by its id from then on, so that a rename changes nothing."""

    RECORD: ClassVar[type[NamedRecord]] = _Project

    def _address(self) -> str:
        return f"/projects/{quote(self._name, safe='') if self._seen is None else self._seen.id}"


class _Member(Record):
    id: Id
    state: str
    access_level: int


class _Pushed(Record):
    ref_type: str
    ref: str | None
    """None for a push of more branches than the server tells of one by one."""
    commit_to: str | None
    """None where the branch was deleted."""


class _PushEvent(Record):
    author_id: Id
    push_data: _Pushed | None = None


class GitLabForge(GitHubForge):
    """A `ForgeReader` and `ForgePeople`."""

    QUERY: ClassVar[Mapping[str, str | int]] = {
        "state": "opened",
        "scope": "all",
        "order_by": "created_at",
        "sort": "asc",
        "per_page": PAGE_SIZE,
    }
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX
    RECORD: ClassVar[type[ForgePull]] = MergeRequest
    COLLECTION: ClassVar[str] = "/merge_requests"
    STATES: ClassVar[frozenset[str]] = frozenset({"opened", "closed", "locked", "merged"})
    REF: ClassVar[str] = "refs/merge-requests/{}/head"

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        """From the project's events, newest first. Source: `GET /projects/:id/events?action=pushed`.

        One push of many branches is a single event without branches: behind one nothing is certain.
        """
        branch = self._branch_of(number, head)
        if branch is None:
            return None
        query: dict[str, str | int] = {"action": "pushed", "sort": "desc", "per_page": LAST_PUSHES_MAX}
        answer = self._client.get(self._repository.path("/events"), query)
        what = f"pushes of {branch.short}"
        for row in rows(answer, what):
            pushed = parsed_record(_PushEvent, row, what)
            if pushed.push_data is None or pushed.push_data.ref is None:
                return None
            data = pushed.push_data
            if (data.ref_type, data.ref, data.commit_to) == ("branch", branch.short, head):
                return pushed.author_id
        return None

    def permission(self, user_id: int) -> Permission:
        """The role in the project, inherited or invited; a maintainer may write, an owner is admin."""
        answer = self._client.get(self._repository.path(f"/members/all/{user_id}"))
        if not answer.found:
            return Permission.NONE
        member = parsed(_Member, answer, f"member {user_id}")
        if member.id != user_id:
            raise Terminal(f"user {user_id}: answered with member {member.id}, not the one asked for")
        if member.state != "active" or member.access_level < GUEST:
            return Permission.NONE
        if member.access_level >= OWNER:
            return Permission.ADMIN
        return Permission.WRITE if member.access_level >= DEVELOPER else Permission.READ
