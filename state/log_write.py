"""Writing a log into its repository: objects first, then one compare-and-swap of the branch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import ObjectType

from state import log_commit
from state.entry import BLOB_MAX_BYTES, Entry
from state.errors import IntegrityError, InvalidValue, Terminal
from state.git import CommitId
from state.log_branch import LogName
from state.log_commit import EMPTY_TREE
from state.log_read import open_repository
from state.log_recovery import remove_dead_locks, sync_directory

_LOCK_WAIT_S: Final = 2.0
_SET_LAST: Final = "receive.denyDeletes"


class Moved(ValueError):
    """The branch is not where it was expected."""


def create_repository(path: Path, name: LogName, *, fsync: bool) -> None:
    """Make the bare repository if there is none, and what a durable append needs. Raises Terminal if it is not bare.

    The directories for loose objects are made up front and synced, so that syncing a new object's own directory is
    enough to make it durable, on any file system. git removes those that packing leaves empty: see `write_entry`.
    """
    try:
        if not _is_made(path):
            path.mkdir(parents=True, exist_ok=True)
            remove_dead_locks(path, ("HEAD", "config"))
            # The branch is also HEAD, so that a plain `git clone` and `git log` show it.
            made = pygit2.init_repository(str(path), bare=True, initial_head=name.ref)
            made.config["receive.denyNonFastForwards"] = True
            made.config[_SET_LAST] = True
        repository = open_repository(path)
        if not repository.is_bare:
            raise Terminal(f"{path}: has a work tree; a log is kept in a bare repository")
        _write(repository, "tree", b"", EMPTY_TREE, fsync=False)
        if fsync:
            for number in range(256):
                (path / "objects" / f"{number:02x}").mkdir(exist_ok=True)
            sync_directory(path / "objects")
    except (OSError, pygit2.GitError) as error:
        raise Terminal(f"{path}: the log repository cannot be made: {error}") from error


def _is_made(path: Path) -> bool:
    """Whether the repository was made to its end; a process killed meanwhile leaves any part of one."""
    config = path / "config"
    if not (path / "HEAD").exists() or not config.exists():
        return False
    found = pygit2.Config(str(config))
    # One with a work tree is somebody else's, and is refused as it is.
    return _SET_LAST in found or ("core.bare" in found and not found.get_bool("core.bare"))


def write_entry(
    repository: pygit2.Repository, entry: Entry, commit: bytes, blobs: Mapping[str, bytes], *, fsync: bool
) -> None:
    """Store blobs, tree and commit. Nothing refers to them yet, so a crash leaves only garbage for gc.

    With `fsync` the name of a directory that a new object had to make is on disk, too.

    Raises InvalidValue on a blob that is too large, OSError or GitError if the disk does not take them.
    """
    for name, raw in blobs.items():
        if len(raw) > BLOB_MAX_BYTES:
            raise InvalidValue(f"log blob {name}: {len(raw)} bytes, at most {BLOB_MAX_BYTES} are allowed")
        _write(repository, "blob", raw, entry.blobs[name], fsync=fsync)
    if entry.blobs:
        tree = log_commit.tree_bytes(entry.blobs)
        _write(repository, "tree", tree, log_commit.tree_id(entry.blobs), fsync=fsync)
    _write(repository, "commit", commit, log_commit.object_id("commit", commit), fsync=fsync)


def advance_branch(repository: pygit2.Repository, name: LogName, before: CommitId | None, after: CommitId) -> None:
    """Move the branch from exactly `before` to `after`; None makes it, and fails if it is there.

    libgit2 compares under the ref's lock with the value that was read here, so between the comparison below and the
    write nobody can slip in. It does not wait for the lock: that is done here, since `git pack-refs` takes it too.

    Raises Moved, or GitError, OSError, ValueError if the ref stays locked or was changed at the last moment.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            if before is None:
                repository.references.create(name.ref, after)
                return
            reference = repository.references.get(name.ref)
            found = str(reference.target) if reference else "missing"
            if reference is None or found != before:
                raise Moved(f"the branch is {found}")
            reference.set_target(after)
            return
        except (pygit2.GitError, OSError) as error:
            if "lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


_TRIES: Final = 3
_TYPES: Final = {"blob": ObjectType.BLOB, "tree": ObjectType.TREE, "commit": ObjectType.COMMIT}


def _write(repository: pygit2.Repository, kind: str, raw: bytes, oid: str, *, fsync: bool) -> None:
    directory = Path(repository.path) / "objects" / oid[:2]
    before = _inode(directory)
    for left in reversed(range(_TRIES)):
        try:
            made = str(repository.odb.write(_TYPES[kind], raw))
            break
        except (pygit2.GitError, OSError):
            # Packing takes empty directories away, also between the object's file and its name.
            if not left or directory.exists():
                raise
    if made != oid:
        raise IntegrityError(f"{kind}: git calls these bytes {made}, expected {oid}")
    if fsync and _inode(directory) != before:
        sync_directory(directory.parent)


def _inode(directory: Path) -> int | None:
    try:
        return directory.stat().st_ino
    except FileNotFoundError:
        return None
