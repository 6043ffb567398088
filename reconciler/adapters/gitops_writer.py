"""The ports `GitOpsWriter` and `LaneWriter`: branches of one GitOps repository in a bare mirror, without a work tree.

git fetches and pushes, libgit2 reads and writes objects. A push whose answer was lost is judged by the branch itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Self, TypeVar

import pygit2
from pygit2.enums import MergeFlag

from reconciler.adapters.git_commit import Paths, blobs, contents, write_commit
from reconciler.adapters.git_mirror import BareMirror, unwritable
from reconciler.adapters.git_push import Elsewhere, Refused, push
from reconciler.adapters.git_refs import RemoteRefs
from reconciler.adapters.git_remote import Remote
from reconciler.adapters.git_tree import Entry, MissingObjects, Trees, differing_paths
from reconciler.ports import Signer
from state.errors import Denied, StaleObservation, Terminal, Transient
from state.git import CommitId, RefName

CHANGED_MAX: Final = 10_000
WRITER: Final = "ameide"
"""Author and committer, unless told otherwise."""
_KEPT_MAX: Final = 500

T = TypeVar("T")


class GitOpsBranches:
    """A `LaneWriter`. Calls wait for each other.

    Args:
        path: the mirror's directory; nobody else's mirror is kept there.
        source: where branches are fetched from and pushed to (`git_remote.remote`).
        signer: signs commits; a key of its own.
        writer: the name of author and committer; `<writer>@ameide.invalid` is also the signature's principal.
    """

    def __init__(
        self,
        path: Path,
        source: Remote,
        *,
        timeout_s: float,
        signer: Signer,
        writer: str = WRITER,
    ) -> None:
        self._mirror = BareMirror(path, source, timeout_s=timeout_s)
        self._refs = RemoteRefs(source, path, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._signer = signer
        self._writer = writer
        self._kept: OrderedDict[CommitId, None] = OrderedDict.fromkeys(sorted(self._mirror.kept()))

    def close(self) -> None:
        """Let go of the mirror."""
        self._mirror.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tip(self, branch: RefName) -> CommitId | None:
        found = self._mirror.tip(branch)
        if found is not None:
            self._keep(found)
        return found

    def files(self, commit: CommitId, paths: Iterable[str]) -> Mapping[str, bytes]:
        wanted = tuple(paths)

        def read(repository: pygit2.Repository) -> dict[str, bytes]:
            trees = Trees(repository)
            return contents(trees, repository, blobs(trees, commit, wanted))

        return self._reading(read)

    def committed_at(self, commit: CommitId) -> int:
        return self._reading(lambda repository: _committed_at(repository, commit))

    def commit(self, parents: Sequence[CommitId], files: Mapping[str, bytes], message: str, at: int) -> CommitId:
        return self._committed(parents, files, message, at, Paths.THERE)

    def commit_files(
        self, parents: Sequence[CommitId], files: Mapping[str, bytes | None], message: str, at: int
    ) -> CommitId:
        return self._committed(parents, files, message, at, Paths.ANY)

    def changed(self, base: CommitId, commit: CommitId) -> tuple[str, ...]:
        """Raises Terminal where more paths differ."""
        return self._reading(lambda repository: _changed(repository, base, commit))

    def merges(self, base: CommitId, commit: CommitId) -> bool:
        """By the first merge base; without a common one nothing merges."""
        return self._reading(lambda repository: _merges(repository, base, commit))

    def contains(self, commit: CommitId, ancestor: CommitId) -> bool:
        return self._reading(lambda repository: commit == ancestor or _descends(repository, commit, ancestor))

    def push(self, branch: RefName, commit: CommitId, confirm: Callable[[], None] | None = None) -> None:
        """A rule of the server against the update (a hook, a protected branch) is Denied, with its reason."""
        ask = confirm or (lambda: None)
        try:
            self._mirror.using(
                lambda held: push(
                    self._mirror.source,
                    self._mirror.path,
                    branch,
                    commit,
                    timeout_s=self._timeout_s,
                    confirm=ask,
                    keep_open=held,
                )
            )
        except (Elsewhere, Refused, Transient) as error:
            # The branch itself decides: an answer may have been lost, or another writer was faster with the same.
            there = self._refs.read(branch)
            if there == commit:
                return
            where = f"{self._mirror.name}: push of {commit.short} to {branch.short}"
            if isinstance(error, Elsewhere):
                raise StaleObservation(
                    f"{where}: the branch is at {there or 'no commit'} ({error}); it is never forced, but planned anew"
                ) from error
            if isinstance(error, Refused):
                raise Denied(f"{where}: the server refuses it: {error}; check its rules for this branch") from error
            raise

    # --- inside

    def _committed(
        self, parents: Sequence[CommitId], files: Mapping[str, bytes | None], message: str, at: int, paths: Paths
    ) -> CommitId:
        made = self._reading(
            lambda repository: write_commit(
                repository, parents, files, message, at, signer=self._signer, writer=self._writer, paths=paths
            )
        )
        self._keep(made)
        return made

    def _reading(self, read: Callable[[pygit2.Repository], T]) -> T:
        try:
            return self._mirror.with_objects(read)
        except OSError as error:  # a full disk
            raise unwritable(self._mirror.path, error) from error
        except (KeyError, pygit2.GitError) as error:
            raise Terminal(f"{self._mirror.path}: the mirror cannot be read or written ({error}); remove it") from error

    def _keep(self, commit: CommitId) -> None:
        """So that nothing prunes it; of very many the longest unused are let go."""
        self._mirror.keep(commit)
        self._kept[commit] = None
        self._kept.move_to_end(commit)
        while len(self._kept) > _KEPT_MAX:
            self._mirror.drop([self._kept.popitem(last=False)[0]])


def _changed(repository: pygit2.Repository, base: CommitId, commit: CommitId) -> tuple[str, ...]:
    trees = Trees(repository)
    found = [*islice(differing_paths(trees, trees.root(base), trees.root(commit), ()), CHANGED_MAX + 1)]
    if len(found) > CHANGED_MAX:
        raise Terminal(f"more than {CHANGED_MAX} paths differ between {base.short} and {commit.short}")
    return tuple(path.decode(errors="backslashreplace") for path in sorted(found))


def _committed_at(repository: pygit2.Repository, commit: CommitId) -> int:
    return max(0, int(repository[pygit2.Oid(hex=commit)].peel(pygit2.Commit).commit_time))


def _descends(repository: pygit2.Repository, commit: CommitId, ancestor: CommitId) -> bool:
    return bool(repository.descendant_of(pygit2.Oid(hex=commit), pygit2.Oid(hex=ancestor)))


def _merges(repository: pygit2.Repository, base: CommitId, commit: CommitId) -> bool:
    if base == commit or _descends(repository, base, commit) or _descends(repository, commit, base):
        return True
    found: pygit2.Oid | None = repository.merge_base(pygit2.Oid(hex=base), pygit2.Oid(hex=commit))
    if found is None:
        return False
    trees = Trees(repository)
    ancestor, ours, theirs = (trees.root(c) for c in (CommitId(str(found)), base, commit))
    both: set[Entry] = set()
    for path in islice(differing_paths(trees, ancestor, theirs, ()), CHANGED_MAX):
        at = tuple(path.split(b"/"))
        sides = [trees.find(root, at) for root in (ancestor, ours, theirs)]
        if sides[0] != sides[1]:
            both |= {side for side in sides if side is not None}
    # Contents are compared only of what both sides changed; of a partial clone they are fetched first.
    blobs_of_both = {pygit2.Oid(raw=e.id) for e in both if e.mode.startswith(b"1")}
    missing = frozenset(str(oid) for oid in blobs_of_both if oid not in repository.odb)
    if missing:
        raise MissingObjects(missing)
    # Without looking for renames, which would read every file.
    one, two, three = (pygit2.Oid(raw=root) for root in (ancestor, ours, theirs))
    return repository.merge_trees(one, two, three, flags=MergeFlag(0)).conflicts is None
