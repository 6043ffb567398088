"""GitHub (and GitHub Enterprise Server), for reading: pull requests and permissions by REST with ETags.

Source: docs.github.com REST API 2022-11-28 (pulls, repos, collaborators, users). A listing that did not change costs no
quota, since a 304 is free; one that did costs a request for 100 pull requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import Field, ValidationError

from reconciler.adapters.forge_client import Answer
from reconciler.adapters.forge_identity import ForgeRepository, NamedRecord
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import Id, Record, parsed, parsed_record
from reconciler.adapters.git_refs import RemoteRefs
from reconciler.ports import LAST_PUSHES_MAX, Permission, RepositoryIdentity
from state.canonical import Json
from state.errors import InvalidValue, Terminal
from state.git import CommitId, RefName
from state.observed import Listing, PullRequest

HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 200
_PERMISSIONS: Final = {
    "admin": Permission.ADMIN,
    "write": Permission.WRITE,
    "read": Permission.READ,
    "none": Permission.NONE,
}


class User(Record):
    id: Id
    login: str = Field(min_length=1, max_length=255)


class RepositoryRecord(NamedRecord):
    full_name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")


class _Named(Record):
    name: str


class _Head(Record):
    ref: str
    sha: str
    repo: RepositoryRecord | None
    """None once the fork was deleted."""


class _Base(Record):
    ref: str
    repo: RepositoryRecord


class PullRecord(ForgePull):
    """One pull request, in a list or alone."""

    user: User | None
    """None for a deleted account, which GitHub shows as `ghost`."""
    labels: tuple[_Named, ...] = Field(strict=False)
    merged_at: str | None
    """When it was merged; lists tell no more of that."""
    head: _Head
    base: _Base

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def is_merged(self) -> bool:
        return self.merged_at is not None

    @property
    def head_branch(self) -> str:
        return self.head.ref

    @property
    def base_branch(self) -> str:
        return self.base.ref

    @property
    def head_repository_id(self) -> int | None:
        return None if self.head.repo is None else self.head.repo.id

    def value(self) -> PullRequest:
        """Raises InvalidValue for an id or a name that is none."""
        return PullRequest(
            number=self.number,
            head=CommitId(self.head.sha),
            base=RefName.branch(self.base.ref),
            head_repository_id=self.head_repository_id,
            author_id=GHOST_ID if self.user is None else self.user.id,
            labels=tuple(sorted(label.name for label in self.labels)),
            draft=self.draft,
        )


GHOST_ID: Final = 10137
"""The account that stands for deleted ones. Source: api.github.com/users/ghost."""


class GitHubRepository(ForgeRepository):
    RECORD: ClassVar[type[NamedRecord]] = RepositoryRecord

    def _address(self) -> str:
        return f"/repos/{self._current()}"


class GitHubForge:
    """A `ForgeReader` and `ForgePeople` over the REST API; `refs` asks git for the second witness."""

    QUERY: ClassVar[Mapping[str, str | int]] = {
        "state": "open",
        "sort": "created",
        "direction": "asc",
        "per_page": PAGE_SIZE,
    }
    PAGE_SIZE: ClassVar[int] = PAGE_SIZE
    PAGES_MAX: ClassVar[int] = PAGES_MAX
    RECORD: ClassVar[type[ForgePull]] = PullRecord
    COLLECTION: ClassVar[str] = "/pulls"
    STATES: ClassVar[frozenset[str]] = frozenset({"open", "closed"})
    REF: ClassVar[str] = "refs/pull/{}/head"

    def __init__(self, repository: ForgeRepository, refs: RemoteRefs) -> None:
        self._repository = repository
        self._client = repository.client
        self._refs = refs

    def repository(self) -> RepositoryIdentity:
        return self._repository.look()

    def open_pull_requests(self) -> Listing:
        """Every open pull request; not `complete` where a record is unusable or the list would not stand still."""
        name = self._repository.look().name
        what = f"{name}: open pull requests"
        paged = listing(
            self._client,
            self._repository.path(self.COLLECTION),
            self.QUERY,
            what=what,
            key="id",
            page_size=self.PAGE_SIZE,
            pages_max=self.PAGES_MAX,
            reduce=self._listed,
        )
        if paged is None:
            raise Terminal(f"{what}: 404 although the repository is there; check what the credential may read")
        made, complete = [], paged.complete
        for raw in paged.records:
            try:
                made.append(self.RECORD.model_validate(raw).value())
            except (ValidationError, InvalidValue):
                complete = False
        return Listing(complete, tuple(sorted(made, key=lambda pull_request: pull_request.number)))

    def _listed(self, raw: dict[str, Json]) -> dict[str, Json]:
        """What a listing needs of a record; of an unusable one only its id, so that its reader refuses it too."""
        try:
            return self.RECORD.model_validate(raw).model_dump(mode="json", exclude={"body"})
        except ValidationError:
            return {"id": raw.get("id")}

    def pull_request(self, number: int) -> PullRequest | None:
        answer = self._client.get(self._repository.path(f"{self.COLLECTION}/{number}"))
        if not answer.found:
            self._repository.look()  # raises where it is the repository that is not there
            return None
        record = parsed(self.RECORD, answer, f"pull request {number}")
        if record.number != number or record.state not in self.STATES:
            raise Terminal(f"pull request {number}: answered with number {record.number}, not the one asked for")
        try:
            return record.value() if record.is_open else None
        except InvalidValue as error:
            raise Terminal(f"pull request {number}: {error}") from error

    def head_of(self, number: int) -> CommitId | None:
        return self._refs.read(self.ref_of(number))

    def ref_of(self, number: int) -> RefName:
        return RefName(self.REF.format(number))

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        """From the repository's activity, which a person cannot write to.

        Source: `GET /repos/{owner}/{repo}/activity?ref=`, newest first. A GitHub Enterprise Server without it answers
        404.
        """
        branch = self._branch_of(number, head)
        if branch is None:
            return None
        query: dict[str, str | int] = {"ref": branch, "per_page": LAST_PUSHES_MAX}
        answer = self._client.get(self._repository.path("/activity"), query)
        what = f"pushes of {branch.short}"
        for row in rows(answer, what):
            made = parsed_record(_Activity, row, what)
            if made.after == head and made.ref == branch:
                return None if made.actor is None else made.actor.id
        return None

    def _branch_of(self, number: int, head: CommitId) -> RefName | None:
        """The branch of the repository itself that the pull request is open from, at `head`; None if it is not."""
        answer = self._client.get(self._repository.path(f"{self.COLLECTION}/{number}"))
        if not answer.found:
            self._repository.look()  # raises where it is the repository that is not there
            return None
        record = parsed(self.RECORD, answer, f"pull request {number}")
        if not record.is_open or record.head_repository_id != self._repository.identity().id:
            return None
        return RefName.branch(record.head_branch) if record.value().head == head else None

    def permission(self, user_id: int) -> Permission:
        """By id to the login of now, and by login to the permission, which has to name the same id.

        Source: `GET /user/{account_id}`, `GET /repos/{owner}/{repo}/collaborators/{username}/permission`.
        """
        answer = self._client.get(f"/user/{user_id}")
        if not answer.found:
            return Permission.NONE
        user = parsed(User, answer, f"user {user_id}")
        answer = self._client.get(self._repository.path(f"/collaborators/{user.login}/permission"))
        if not answer.found:
            return Permission.NONE
        granted = parsed(_Granted, answer, f"permission of user {user_id}")
        if user.id != user_id or granted.user is None or granted.user.id != user_id:
            raise Terminal(f"user {user_id}: the login leads to another account now; ask again")
        return _PERMISSIONS.get(granted.permission, Permission.NONE)


class _Granted(Record):
    permission: str
    user: User | None


class _Activity(Record):
    ref: str
    after: str
    actor: User | None


def rows(answer: Answer, what: str) -> list[Json]:
    """The members of a list; none where the forge has no such list."""
    if not answer.found:
        return []
    if not isinstance(answer.body, list):
        raise Terminal(f"{what}: expected a list, got {type(answer.body).__name__}; check the API's address")
    return answer.body[:LAST_PUSHES_MAX]
