"""Reading pull requests over a forge's REST API; what differs from forge to forge is named by each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ValidationError

from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.adapters.forge_pages import listing
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import parsed
from reconciler.adapters.git_refs import RemoteRefs
from reconciler.ports import RepositoryIdentity
from state.canonical import Json
from state.errors import InvalidValue, Terminal
from state.git import CommitId, RefName
from state.observed import Listing, PullRequest


class RestForge:
    """A `ForgeReader`; `refs` asks git for the second witness."""

    QUERY: ClassVar[Mapping[str, str | int]]
    """Asks for the open ones, oldest first."""
    PAGE_SIZE: ClassVar[int]
    PAGES_MAX: ClassVar[int]
    RECORD: ClassVar[type[ForgePull]]
    COLLECTION: ClassVar[str]
    """Below the repository's path."""
    STATES: ClassVar[frozenset[str]]
    REF: ClassVar[str]
    """The ref of a pull request's head, with its number to be filled in."""

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
        record = self._record(number)
        try:
            return record.value() if record is not None and record.is_open else None
        except InvalidValue as error:
            raise Terminal(f"pull request {number}: {error}") from error

    def merged(self, number: int) -> bool | None:
        record = self._record(number)
        return None if record is None else record.is_merged

    def _record(self, number: int) -> ForgePull | None:
        """One pull request, open or not; None if there is none."""
        answer = self._client.get(self._repository.path(f"{self.COLLECTION}/{number}"))
        if not answer.found:
            self._repository.look()  # raises where it is the repository that is not there
            return None
        record = parsed(self.RECORD, answer, f"pull request {number}")
        if record.number != number or record.state not in self.STATES:
            raise Terminal(f"pull request {number}: answered with number {record.number}, not the one asked for")
        return record

    def _branch_of(self, number: int, head: CommitId) -> RefName | None:
        """The branch of the repository itself that the pull request is open from, at `head`; None if it is not."""
        record = self._record(number)
        if record is None or not record.is_open or record.head_repository_id != self._repository.identity().id:
            return None
        return RefName.branch(record.head_branch) if record.value().head == head else None

    def head_of(self, number: int) -> CommitId | None:
        return self._refs.read(self.ref_of(number))

    def ref_of(self, number: int) -> RefName:
        return RefName(self.REF.format(number))
