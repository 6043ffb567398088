"""What a writer keeps beside its log to survive a crash: one lock, and a witness of what it has seen.

The witness (`TipsFile`) lies outside the repository, so that a branch set back to an older entry is noticed. It may
lag: it is replaced after activation, after each push, every few dozen appends and at close, always *after* the entries
it names are on disk. So a crash leaves it naming an entry that the log has, and what it guarantees is: nothing up to
the named entry can vanish unseen. Entries after it are protected by their own fsync, and on the remote by the push.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pygit2

from state import canonical
from state.errors import ConfigError, IntegrityError, InvalidValue, LogBusy, Unavailable
from state.git import CommitId, RefName
from state.log_branch import LogName, orphan_ref
from state.log_read import ObjectStore, target
from state.sshsig import PublicKey

_TIPS_MAX_BYTES: Final = 4096
_OWN_LOCK_STALE_S: Final = 0.5
_SHARED_LOCK_STALE_S: Final = 60.0
_SHARED_LOCKS: Final = ("packed-refs.lock", "HEAD.lock")


@dataclass(frozen=True, slots=True)
class Tips:
    """What this writer remembers: the newest entry it stood on, and the key in force after it; what the remote had.

    `moving_to` is set before the branch leaves `tip` for the remote's tip; `orphan` names a saved tail that no epoch
    entry has recorded yet.
    """

    tip: CommitId | None = None
    key: PublicKey | None = None
    pushed: CommitId | None = None
    moving_to: CommitId | None = None
    orphan: CommitId | None = None


class TipsFile:
    """The witness file of one log; replaced as a whole, never edited."""

    def __init__(self, directory: Path, name: LogName, *, fsync: bool = True) -> None:
        self._fsync = fsync
        self.path = directory / f"{name.file_stem}.tips.json"

    def load(self) -> Tips:
        """What is remembered; nothing at the first start. Raises IntegrityError if the file is damaged."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_TIPS_MAX_BYTES + 1)
        except FileNotFoundError:
            return Tips()
        try:
            return _parse_tips(raw)
        except InvalidValue as error:
            raise IntegrityError(
                f"{self.path}: the remembered tips are damaged ({error}); verify the log, then remove the file"
            ) from error

    def save(self, tips: Tips) -> None:
        """Replace the file; when this returns, the new one is on disk. Raises Unavailable; the old one is left then."""
        raw = canonical.dumps(
            {
                "key": tips.key.line if tips.key else None,
                "moving_to": tips.moving_to,
                "orphan": tips.orphan,
                "pushed": tips.pushed,
                "tip": tips.tip,
                "v": 1,
            }
        )
        try:
            self._replace(raw)
        except OSError as error:
            raise Unavailable(f"{self.path}: the tip cannot be remembered: {error}") from error

    def _replace(self, raw: bytes) -> None:
        new = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
        new.replace(self.path)
        if self._fsync:
            sync_directory(self.path.parent)


class WriterLock:
    """At most one live writer of a log on this machine: flock(2) on a file inside the repository.

    The kernel releases it when the process ends, however it ends. It is a courtesy that makes lock recovery safe;
    what keeps two writers apart is the compare-and-swap and the epoch.
    """

    def __init__(self, repository: Path, name: LogName) -> None:
        self.path = repository / f"ameide-{name.file_stem}.flock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises LogBusy, naming the process that holds it: it may end by itself."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LogBusy(
                f"{self.path}: another writer of this log is active on this machine "
                f"(process {holder if holder.isdigit() else 'unknown'}); stop it first"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give it back; the file stays, so that no two processes ever hold locks on two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_stale_locks(repository: Path, refs: tuple[str, ...]) -> tuple[Path, ...]:
    """Remove ref locks that a killed writer left; call it only under the WriterLock. Returns what was removed.

    A lock of the log's own refs can only be a dead writer's, or for an instant that of `git pack-refs`; so it must
    stay unchanged for half a second first. The locks that all branches share are left alone for a minute: appends do
    not take them, and another role's writer may.
    """
    removed = list(remove_dead_locks(repository, refs))
    for shared in _SHARED_LOCKS:
        lock = repository / shared
        held = _identity(lock)
        if held is not None and time.time() - held[1] / 1e9 > _SHARED_LOCK_STALE_S:
            lock.unlink(missing_ok=True)
            removed.append(lock)
    return tuple(removed)


def remove_dead_locks(repository: Path, refs: Iterable[str]) -> tuple[Path, ...]:
    """Remove the locks of `refs` that stay unchanged for half a second; only for refs that nobody else writes now."""
    removed = []
    for ref in refs:
        lock = repository / f"{ref}.lock"
        before = _identity(lock)
        if before is None:
            continue
        deadline = time.monotonic() + _OWN_LOCK_STALE_S
        while time.monotonic() < deadline and _identity(lock) == before:
            time.sleep(0.02)
        if _identity(lock) == before:
            lock.unlink(missing_ok=True)
            removed.append(lock)
    return tuple(removed)


def locked_orphans(repository: Path, writer: str) -> tuple[str, ...]:
    """The orphan refs of `writer` that a lock file stands beside."""
    home = repository / "refs" / "heads" / "log-orphan" / writer
    return tuple(str(lock.relative_to(repository).with_suffix("")) for lock in sorted(home.glob("*.lock")))


def locked_years(repository: Path, name: LogName) -> tuple[str, ...]:
    """The refs of this log's closed years that a lock file stands beside."""
    home = (repository / name.ref).parent
    found = home.glob(f"{name.role.value}-[0-9][0-9][0-9][0-9].lock")
    return tuple(str(lock.relative_to(repository).with_suffix("")) for lock in sorted(found))


def save_orphan(repository: pygit2.Repository, store: ObjectStore, tip: CommitId) -> RefName:
    """Keep the tail that ends at `tip` under `log-orphan/<writer>/<epoch>`; an orphan that is there is never lost.

    Raises Unavailable if the disk does not take it: the tail is then still where it was.
    """
    try:
        return _save_orphan(repository, store, tip)
    except (pygit2.GitError, OSError, ValueError) as error:
        raise Unavailable(f"{repository.path}: the tail {tip} could not be saved: {error}") from error


def _save_orphan(repository: pygit2.Repository, store: ObjectStore, tip: CommitId) -> RefName:
    entry = store.entry(tip).entry
    wanted = orphan_ref(entry.writer, entry.epoch)
    for ref in (wanted, RefName(f"{wanted}-{tip.short}")):
        there = target(repository, ref)
        if there == tip:
            return ref
        if there is None:
            repository.references.create(ref, tip)
            return ref
        if store.contains(tip, there):
            repository.references[ref].set_target(tip)
            return ref
    raise IntegrityError(f"{wanted}: taken by another tail; {tip} could not be saved")


def outside_of(repository: Path, directory: Path) -> None:
    """Raise ConfigError if the witness would lie inside the repository that it watches."""
    if directory.resolve().is_relative_to(repository.resolve()):
        raise ConfigError(f"{directory}: the remembered tips must lie outside the log repository {repository}")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse_tips(raw: bytes) -> Tips:
    value = canonical.loads(raw, what="remembered tips", max_bytes=_TIPS_MAX_BYTES)
    if not isinstance(value, dict) or set(value) != {"key", "moving_to", "orphan", "pushed", "tip", "v"}:
        raise InvalidValue("expected an object with exactly the keys of version 1")
    ids = {k: CommitId(str(v)) if v is not None else None for k, v in value.items() if k not in ("key", "v")}
    key = PublicKey.parse(str(value["key"])) if value["key"] is not None else None
    return Tips(ids["tip"], key, ids["pushed"], ids["moving_to"], ids["orphan"])


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
