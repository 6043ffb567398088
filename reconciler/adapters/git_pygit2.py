"""The Git port over a bare mirror: git fetches, libgit2 reads, what takes long runs in a worker process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final, Self

from reconciler.adapters.git_files import read_catalogue
from reconciler.adapters.git_history import History
from reconciler.adapters.git_mirror import BareMirror
from reconciler.adapters.git_remote import Remote
from reconciler.adapters.git_worker import Worker
from reconciler.adapters.recent import Recent
from reconciler.catalogue import DEFAULT_PATH
from state.change import ChangeRecord
from state.git import CommitId, RefName
from state.observed import Catalogue, Image
from state.oci import Digest

_RECORDS_KEPT: Final = 2048
_CATALOGUES_KEPT: Final = 64


class Mirror:
    """The code repository, for reading (`ports.Git`). Methods may be called from several threads.

    Args:
        path: of the mirror; a cache that may be deleted. Worker and mirror are let go by `close`.
        source: where it is fetched from (`git_remote.remote`).
        timeout_s: seconds for one fetch, and for one comparison.
    """

    def __init__(
        self,
        path: Path,
        source: Remote,
        *,
        timeout_s: float,
        catalogue_path: str = DEFAULT_PATH,
    ) -> None:
        self._catalogue_path = catalogue_path
        self._mirror = BareMirror(path, source, timeout_s=timeout_s)
        self._worker = Worker(path, timeout_s=timeout_s)
        self._records: Recent[tuple[CommitId, CommitId, CommitId], ChangeRecord] = Recent(_RECORDS_KEPT)
        self._catalogues: Recent[CommitId, Catalogue] = Recent(_CATALOGUES_KEPT)

    def close(self) -> None:
        """End the worker and let go of the mirror."""
        self._worker.close()
        self._mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return self._worker.pid

    def branch_tip(self, branch: RefName) -> CommitId | None:
        return self._mirror.tip(branch)

    def fetch(self, commit: CommitId, ref: RefName) -> None:
        self._mirror.have(commit, ref)

    def catalogue(self, commit: CommitId) -> Catalogue:
        found = self._catalogues.get(commit)
        if found is None:
            found = self._mirror.with_objects(partial(read_catalogue, commit=commit, path=self._catalogue_path))
            self._catalogues.put(commit, found)
        return found

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        key = (base, head, catalogue.commit)  # All three name content, so an answer stays right.
        found = self._records.get(key)
        if found is None:
            found = self._mirror.fetching(lambda: self._worker.changes(base, head, catalogue))
            self._records.put(key, found)
        return found

    def faithful_commits(
        self, image: Image, base: CommitId, merge_base: CommitId, fingerprint: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        return self._mirror.fetching(lambda: self._worker.faithful(image, base, merge_base, fingerprint, limit))

    def own_commits(self, tip: CommitId, commits: frozenset[CommitId]) -> frozenset[CommitId]:
        """Those of `commits` that are in the first-parent history of a fetched `tip`: the branch's own."""
        return self._mirror.with_objects(
            lambda repository: commits.intersection(History(repository).first_parents(tip))
        )

    def retain(self, commits: frozenset[CommitId]) -> None:
        self._mirror.drop(self._mirror.kept() - commits)
