"""Our release sets as a publish reads them: verified anew where something irreversible follows."""

from __future__ import annotations

from typing import Final

from reconciler.evidence.authority import Authority
from reconciler.evidence.release_check import Published, Reader, published, signed
from state.git import CommitId
from state.oci import Digest, Repository
from state.release_set import ReleaseSet

_REMEMBERED: Final = 2000


class PublishedSets:
    """The release sets of one repository of them."""

    def __init__(self, reader: Reader, repository: Repository, own: Authority) -> None:
        self._reader = reader
        self._repository = repository
        self._own = own
        self._known: dict[Digest, ReleaseSet] = {}

    def current(self, head: CommitId) -> Published | None:
        """The head's set as its tag names it now, if we signed it. Raises IntegrityError, Transient or Denied."""
        found = published(self._reader, self._repository, head)
        if found is None or not signed(self._reader, self._repository, found, self._own).holds:
            return None
        return found

    def recorded(self, head: CommitId, digest: Digest) -> ReleaseSet | None:
        """The set that the log records for the head; None if the tag names another one now.

        Read once: a set is known by its digest. Raises as `current`.
        """
        if (known := self._known.get(digest)) is not None:
            return known
        found = self.current(head)
        if found is None or found.manifest.digest != digest:
            return None
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[digest] = found.release
        return found.release
