"""Reading a log from a git repository: raw objects, each checked against its id.

Objects are read from the object database and parsed here, so `refs/replace` has no effect; a repository with a
`shallow` file or grafts, which hide or change parents, is refused. libgit2 checks SHA-1 with collision detection.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pygit2
from pygit2.enums import ObjectType, ReferenceType, RepositoryOpenFlag

from state import log_commit
from state.entry import BLOB_MAX_BYTES, Kind, Logged
from state.errors import IntegrityError, InvalidValue, Terminal
from state.git import CommitId
from state.log_branch import LogName
from state.log_commit import COMMIT_MAX_BYTES, EMPTY_TREE, EntryCommit

_TYPES: Final = {"commit": ObjectType.COMMIT, "tree": ObjectType.TREE, "blob": ObjectType.BLOB}
_TREE_MAX_BYTES: Final = COMMIT_MAX_BYTES
_OID_BYTES: Final = 20
_LOOSE: Final = ("refs/heads/log/*/*", "refs/remotes/*/log/*/*")


class Span(NamedTuple):
    """A part of a log: what follows `after` (None: all from the start) up to `last` (None: the tip).

    Of one year: `year`, and `previous`, the closed year that ends with `after`.
    """

    after: CommitId | None = None
    last: CommitId | None = None
    year: int | None = None
    previous: int | None = None


WHOLE: Final = Span()


def open_repository(path: Path) -> pygit2.Repository:
    """Open exactly the repository at `path` (bare, or a clone's work tree). Raises Terminal if there is none."""
    if not path.exists():
        raise Terminal(f"{path}: no such directory; expected a log repository or a clone of one")
    try:
        return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        raise Terminal(f"{path}: not a git repository that can be read: {error}") from error


def hidden_history(repository: pygit2.Repository) -> tuple[str, ...]:
    """The files in this repository that hide or change parents, in words; empty in every honest log."""
    home = Path(repository.path)
    common = home / "commondir"
    homes = {home, (home / common.read_text().strip()).resolve()} if common.is_file() else {home}
    found = []
    for place in sorted(homes):
        if (place / "shallow").exists():
            found.append(f"{place / 'shallow'}: a shallow clone hides the older entries; clone the whole log")
        if (place / "info" / "grafts").exists():
            found.append(f"{place / 'info' / 'grafts'}: grafts change which entry follows which; remove the file")
    return tuple(found)


def all_refs(repository: pygit2.Repository) -> list[str]:
    """Every ref that libgit2 can read, in full. Raises IntegrityError where git's list of packed refs is damaged."""
    try:
        return list(repository.listall_references())
    except (pygit2.GitError, OSError, ValueError) as error:
        raise IntegrityError(
            f"{repository.path}: its refs cannot be read: {error}; compare packed-refs with a clone, or clone anew"
        ) from error


def branches(repository: pygit2.Repository) -> tuple[str, ...]:
    """The log branches, and the remote-tracking branches of logs, in order of name.

    libgit2 leaves out a ref whose file is damaged; here it is listed, so that it is told and not passed over.
    Raises IntegrityError as `all_refs`.
    """
    home = Path(repository.path)
    files = (file for pattern in _LOOSE for file in home.glob(pattern) if file.is_file())
    refs = {*all_refs(repository), *(file.relative_to(home).as_posix() for file in files)}
    return tuple(sorted(ref for ref in refs if LogName.of_ref(ref)))


def find_branch(repository: pygit2.Repository, branch: str) -> str:
    """The full ref of `branch`, which may be short (`log/1/reconciler`).

    Raises Terminal naming what there is, IntegrityError as `all_refs`.
    """
    known = branches(repository)
    for ref in (branch, f"refs/heads/{branch}", f"refs/remotes/origin/{branch}", f"refs/remotes/{branch}"):
        if ref in known:
            return ref
    raise Terminal(f"{repository.path}: no log branch {branch!r}; there are: {', '.join(known) or 'none'}")


def target(repository: pygit2.Repository, ref: str) -> CommitId | None:
    """The commit that `ref` names; None if there is no such ref. Raises IntegrityError on a symbolic one."""
    try:
        found = repository.references.get(ref)
    except (pygit2.GitError, OSError, ValueError) as error:
        raise IntegrityError(f"{ref}: cannot be read: {error}") from error
    if found is None:
        return None
    if found.type != ReferenceType.DIRECT:
        raise IntegrityError(f"{ref}: a symbolic ref to {found.target}; a log branch holds its own tip")
    return CommitId(str(found.target))


class ObjectStore:
    """Objects by id, their bytes checked against it."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._odb = repository.odb

    def read(self, oid: str, kind: str, max_bytes: int) -> bytes:
        """The bytes of one object. Raises IntegrityError if it is missing, damaged, too large or of another type."""
        try:
            key = pygit2.Oid(hex=oid)
            _, size = self._odb.read_header(key)
            if size > max_bytes:
                raise IntegrityError(f"{kind} {oid}: {size} bytes, at most {max_bytes} are allowed")
            found, raw = self._odb.read(key)
        except KeyError as error:
            raise IntegrityError(f"{kind} {oid} is missing from the repository") from error
        except (pygit2.GitError, OSError, ValueError) as error:
            raise IntegrityError(f"{kind} {oid} is damaged: {error}") from error
        if found != _TYPES[kind]:
            raise IntegrityError(f"{oid}: expected a {kind}, got an object of git type {int(found)}")
        if log_commit.object_id(kind, raw) != oid:
            raise IntegrityError(f"{kind} {oid}: its bytes have another id")
        return raw

    def commit(self, oid: CommitId) -> bytes:
        return self.read(oid, "commit", COMMIT_MAX_BYTES)

    def entry(self, oid: CommitId) -> EntryCommit:
        """One entry, its form checked, its signature not. Raises IntegrityError."""
        try:
            return log_commit.parse(self.commit(oid))
        except InvalidValue as error:
            raise IntegrityError(f"log entry {oid}: {error}") from error

    def check_blobs(self, commit: EntryCommit) -> None:
        """Raise IntegrityError unless the entry's tree and every blob in it are here, whole."""
        tree = log_commit.tree_id(commit.entry.blobs)
        if tree != EMPTY_TREE:  # git itself knows the empty tree, so a clone may lack it
            self.read(tree, "tree", _TREE_MAX_BYTES)
        for oid in commit.entry.blobs.values():
            self.read(oid, "blob", BLOB_MAX_BYTES)

    def lineage(self, tip: CommitId) -> Iterator[CommitId]:
        """`tip`, its parent, and so on to the root; of a merge, the first parent."""
        at: CommitId | None = tip
        while at is not None:
            yield at
            found = log_commit.parents(self.commit(at))
            at = found[0] if found else None

    def contains(self, tip: CommitId | None, ancestor: CommitId) -> bool:
        """Whether `ancestor` is `tip` or stands before it."""
        return tip is not None and any(found == ancestor for found in self.lineage(tip))

    def path(self, tip: CommitId, after: CommitId | None = None) -> CommitPath:
        """From the root, or from behind `after`, up to `tip`, oldest first. Holds 20 bytes an entry."""
        packed = bytearray()
        for oid in self.lineage(tip):
            if oid == after:
                return CommitPath(packed, from_root=False)
            packed += bytes.fromhex(oid)
        return CommitPath(packed, from_root=True)


class CommitPath:
    """Commit ids, oldest first, gathered by walking back."""

    def __init__(self, packed: bytearray, *, from_root: bool) -> None:
        self._packed = packed
        self.from_root = from_root
        """Whether the first id is the root; otherwise it is the child of the commit that was asked for."""

    def __len__(self) -> int:
        return len(self._packed) // _OID_BYTES

    def __iter__(self) -> Iterator[CommitId]:
        for end in range(len(self._packed), 0, -_OID_BYTES):
            yield CommitId(self._packed[end - _OID_BYTES : end].hex())


class LogReader:
    """A log for reading only: no key, no lock. Form and ids are checked, signatures are not: that is `log_verify`."""

    def __init__(self, path: Path, branch: str) -> None:
        """Open the log `branch` (full or short) of the repository at `path`.

        Raises Terminal if there is none, IntegrityError if the history is shallow or grafted.
        """
        self._repository = open_repository(path)
        refuse_hidden_history(self._repository)
        self.branch = find_branch(self._repository, branch)
        self._store = ObjectStore(self._repository)

    def tip(self) -> CommitId | None:
        """The id of the newest entry, as the branch says now."""
        return target(self._repository, self.branch)

    def entries(self, span: Span = WHOLE) -> Iterator[Logged]:
        """Every entry of that part, oldest first. Raises IntegrityError if it begins outside of the log."""
        tip = self.tip() if span.last is None else span.last
        if tip is not None:
            yield from between(self._store, tip, span.after)

    def newest_first(self, start: CommitId | None = None, after: CommitId | None = None) -> Iterator[Logged]:
        """Every entry from `start`, by default the tip, back to the one that follows `after`, newest first.

        Raises IntegrityError if `start` is no entry."""
        newest = self.tip() if start is None else start
        for oid in self._store.lineage(newest) if newest is not None else ():
            if oid == after:
                return
            yield self.read(oid)

    def read(self, entry: CommitId) -> Logged:
        """One entry by its id. Raises IntegrityError if it is not one."""
        return Logged(entry, self._store.entry(entry).entry)

    def blob(self, oid: str) -> bytes:
        """An observation blob. Raises IntegrityError if it is missing or larger than BLOB_MAX_BYTES."""
        return self._store.read(oid, "blob", BLOB_MAX_BYTES)

    def signer(self, entry: CommitId) -> str:
        """The fingerprint of the key that an entry says it was signed by; `log_verify` checks that it was."""
        return self._store.entry(entry).signature.key.fingerprint


def between(store: ObjectStore, tip: CommitId, after: CommitId | None) -> Iterator[Logged]:
    """Every entry up to `tip` that follows `after` (None: all), oldest first. 20 bytes an entry, and one entry.

    Raises IntegrityError if `after` does not stand before `tip`.
    """
    path = store.path(tip, after)
    if after is not None and path.from_root:
        raise IntegrityError(f"{after} is not an entry of the log that ends with {tip}")
    for oid in path:
        yield Logged(oid, store.entry(oid).entry)


def key_in_force(log: LogReader) -> str | None:
    """The public key line that signs the next entry, as the log says; None for a log without entries."""
    for logged in log.newest_first():
        if logged.entry.kind in (Kind.KEY, Kind.GENESIS):
            return str(logged.entry.body.get("key"))
    return None


def refuse_hidden_history(repository: pygit2.Repository) -> None:
    """Raise IntegrityError if the repository is shallow or grafted."""
    if found := hidden_history(repository):
        raise IntegrityError("; ".join(found))
