"""The forge `local`, for reading: open pull requests of a bare repository. Source: design §9."""

from __future__ import annotations

from pathlib import Path

from reconciler.adapters.local_record import State
from reconciler.adapters.local_repository import LocalRepository
from reconciler.adapters.local_store import LocalStore, Stored, head_ref
from reconciler.ports import RepositoryIdentity
from state.git import CommitId, RefName
from state.observed import Listing, PullRequest


class LocalForge:
    """A `ForgeReader` over a bare repository that `ameide local init` made."""

    def __init__(self, path: Path) -> None:
        self._repository = LocalRepository(path)
        self._store = LocalStore(self._repository)

    def repository(self) -> RepositoryIdentity:
        """The id from its config, and the directory's name. Raises Terminal if there is no such repository."""
        path = self._repository.path
        return RepositoryIdentity(self._repository.id(), path.resolve().name.removesuffix(".git"))

    def open_pull_requests(self) -> Listing:
        """Every open pull request, ascending; not `complete` if a record or a head of any could not be read.

        Raises Terminal if the repository is missing, Unavailable if git fails.
        """
        self._repository.id()
        contents = self._store.contents()
        return Listing(
            complete=not contents.problems,
            pull_requests=tuple(
                made for made in (_pull_request(stored) for stored in contents.stored) if made is not None
            ),
        )

    def pull_request(self, number: int) -> PullRequest | None:
        """One open pull request, from disk at each call.

        Raises Terminal where its record or head cannot be read: such a pull request is not known to be closed.
        """
        self._repository.id()
        stored = self._store.one(number)
        return None if stored is None else _pull_request(stored)

    def merged(self, number: int) -> bool | None:
        """What its record says."""
        self._repository.id()
        stored = self._store.one(number)
        return None if stored is None else stored.record.state is State.MERGED

    def head_of(self, number: int) -> CommitId | None:
        """What `refs/pull/<n>/head` says, whatever the record says; it outlives the pull request, as on GitHub."""
        return self._store.head(number)

    def ref_of(self, number: int) -> RefName:
        """`refs/pull/<n>/head`."""
        return head_ref(number)

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        """Who opened it at `head`, or moved it there by `ameide local pr push --by`."""
        self._repository.id()
        stored = self._store.one(number)
        if stored is None or stored.record.state is not State.OPEN or stored.head != head:
            return None
        if stored.record.head_repository_id != self._repository.id() or stored.record.pushed is None:
            return None
        pushed, by = stored.record.pushed
        return by if pushed == head else None


def _pull_request(stored: Stored) -> PullRequest | None:
    record, head = stored
    if record.state is not State.OPEN or head is None:
        return None
    return PullRequest(
        number=record.number,
        head=head,
        base=record.base,
        head_repository_id=record.head_repository_id,
        author_id=record.author_id,
        labels=record.labels,
        draft=record.draft,
    )
