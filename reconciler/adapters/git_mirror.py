"""A bare mirror on disk: git fetches into it, libgit2 reads it.

It holds commits and trees, and of the contents of files only what was asked for. It is a cache: it may be deleted at
any time, and one that is damaged is made anew. Several processes may read and fetch; they hold a shared lock on
`<path>.flock`, which their git children inherit. Whoever finds nobody else there first removes what a killed process
left behind.

    refs/ameide/keep/<commit>    what must stay reachable, so that nothing prunes it
    refs/ameide/tip/<hash>       the last tip seen of a remote ref; the hash is of the ref's name
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Self, TypeVar

import pygit2
from pygit2.enums import RepositoryOpenFlag

from reconciler.adapters.git_fetch import IdRefused, Locked, NoSuchRef, fetch, fetch_objects, repack
from reconciler.adapters.git_open_packs import bound_open_packs
from reconciler.adapters.git_remote import Remote, write_askpass
from reconciler.adapters.git_tree import MissingObjects
from state.errors import StaleObservation, Terminal, Unavailable
from state.git import CommitId, RefName
from state.git_url import safe

_HEAD: Final = "ref: refs/heads/main\n"
_KEEP: Final = "refs/ameide/keep/"
_TIP: Final = "refs/ameide/tip/"
_MARK: Final = "ameide-mirror"
_MARK_TEXT: Final = "1\n"
_CONFIG: Final = """\
[core]
\trepositoryformatversion = 0
\tbare = true
\tlogAllRefUpdates = false
\tfsync = committed,reference
[remote "origin"]
\tpromisor = true
\tpartialclonefilter = blob:none
[gc]
\tauto = 0
"""
PACKS_MAX: Final = 200
"""Each fetch leaves a pack; with more than this many they are made into one, while nobody else has the mirror."""
_ROUNDS_MAX: Final = 64
"""A chain of symbolic links shows one more text to fetch with each round; 40 is as long as one may be."""

T = TypeVar("T")


class BareMirror:
    """One mirror of one remote. Methods may be called from several threads."""

    def __init__(self, path: Path, source: Remote, *, timeout_s: float) -> None:
        """Make or open the mirror, waiting while another process makes it.

        Raises Terminal if `path` is taken or its directory cannot be written to, Unavailable on a full disk.
        """
        self.path = path
        self.source = source
        self._timeout_s = timeout_s
        self._writing = threading.RLock()
        self._lock = _lock_file(path)
        self._closing = weakref.finalize(self, os.close, self._lock)
        try:
            if self._alone():
                _clean(path)
                _make(path)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._repository = _open(path)
            write_askpass(path)
        except (OSError, pygit2.GitError) as error:
            self._closing()  # the error refers to this frame: whoever keeps it would keep the lock, too
            raise unwritable(path, error) from error
        except Terminal:
            self._closing()
            raise

    def close(self) -> None:
        """Let go of the lock and the files."""
        self._repository.free()
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The remote, for messages."""
        return safe(self.source.url)

    # --- fetching

    def tip(self, ref: RefName) -> CommitId | None:
        """The remote's tip of `ref` now, fetched and kept; None if the remote answers that it has no such ref."""
        own = _TIP + sha256(ref.encode()).hexdigest()[:40]
        try:
            self._fetch(f"+{ref}:{own}")
        except NoSuchRef:
            return None
        found = self._target(own)
        if found is None:
            raise Unavailable(f"{self.name}: {ref} was fetched, but the mirror does not show it")
        self.keep(found)
        return found

    def have(self, commit: CommitId, ref: RefName) -> None:
        """Fetch and keep `commit` with its history: by its id, or by `ref` where the remote refuses ids.

        Raises StaleObservation if `ref` leads elsewhere by now.
        """
        with self._writing:
            if self._target(_KEEP + commit) == commit and commit in self._repository:
                return
        try:
            self._fetch(f"+{commit}:{_KEEP}{commit}")
        except IdRefused:
            tip = self.tip(ref)
            if tip != commit:
                raise StaleObservation(
                    f"{self.name}: expected {ref} at {commit}, got {tip or 'no such ref'}; it is observed again"
                ) from None
        if self._target(_KEEP + commit) != commit:
            raise StaleObservation(f"{self.name}: asked for {commit}, got something else; it is observed again")

    def kept(self) -> frozenset[CommitId]:
        """The commits that are kept reachable."""
        with self._writing:
            names = [name for name in self._repository.references if name.startswith(_KEEP)]
        return frozenset(CommitId(name.removeprefix(_KEEP)) for name in names)

    def keep(self, commit: CommitId) -> None:
        """Keep a commit that is here reachable. Raises Unavailable on a full disk."""
        with self._refs_written():
            if self._target(_KEEP + commit) != commit:
                self._repository.references.create(_KEEP + commit, pygit2.Oid(hex=commit), force=True)

    def drop(self, commits: Iterable[CommitId]) -> None:
        """Keep these no longer. Their objects stay until git prunes the mirror. Raises Unavailable on a full disk."""
        with self._refs_written():
            for commit in commits:
                if self._target(_KEEP + commit) is not None:
                    self._repository.references.delete(_KEEP + commit)

    # --- reading

    def with_objects(self, read: Callable[[pygit2.Repository], T]) -> T:
        """What `read` returns, after every object that it misses was fetched. It must be quick: it holds the GIL."""

        def locked() -> T:
            with self._writing:
                return read(self._repository)

        return self.fetching(locked)

    def fetching(self, call: Callable[[], T]) -> T:
        """What `call` returns, after every object that it asks for by MissingObjects was fetched."""
        missing: frozenset[str] = frozenset()
        for _ in range(_ROUNDS_MAX):
            try:
                return call()
            except MissingObjects as asked:
                if asked.ids <= missing:
                    raise Terminal(
                        f"{self.name}: {min(asked.ids)} was fetched but is not in {self.path}; remove the mirror"
                    ) from None
                missing |= asked.ids
            with self._locks_removed():
                fetch_objects(
                    self.source, self.path, sorted(missing), timeout_s=self._timeout_s, keep_open=(self._lock,)
                )
        raise Terminal(f"{self.name}: more than {_ROUNDS_MAX} rounds of fetching missing objects")

    def using(self, call: Callable[[Sequence[int]], T]) -> T:
        """What `call` returns: a run of git in the mirror that inherits these file descriptors, one at a time."""
        with self._writing:
            return call((self._lock,))

    # --- inside

    def _fetch(self, refspec: str) -> None:
        with self._locks_removed():
            fetch(self.source, self.path, [refspec], timeout_s=self._timeout_s, keep_open=(self._lock,))
            if len([*(self.path / "objects/pack").glob("*.pack")]) > PACKS_MAX and self._alone():
                repack(self.source, self.path, timeout_s=self._timeout_s, keep_open=(self._lock,))
                self._repository.free()  # or it would hold on to every pack that there is no more
                fcntl.flock(self._lock, fcntl.LOCK_SH)

    @contextmanager
    def _locks_removed(self) -> Iterator[None]:
        """One git at a time; a lock file that nobody can own is removed, and the next try finds none."""
        with self._writing:
            try:
                yield
            except Locked as error:
                if self._alone():
                    _clean(self.path)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
                raise Unavailable(f"{self.path}: {error}") from error

    @contextmanager
    def _refs_written(self) -> Iterator[None]:
        """One writer at a time. libgit2 tells a full disk as an OSError without a number, or as an error of its own."""
        with self._writing:
            try:
                yield
            except (OSError, pygit2.GitError) as error:
                raise unwritable(self.path, error) from error

    def _alone(self) -> bool:
        """Whether no other process has this mirror; then its lock is exclusive until it is made shared again."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _target(self, ref: str) -> CommitId | None:
        with self._writing:
            try:
                target = self._repository.lookup_reference(ref).target
            except KeyError:
                return None
        return CommitId(str(target))


def unwritable(path: Path, error: OSError | pygit2.GitError) -> Unavailable:
    """What is raised where a mirror takes no write."""
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return Unavailable(f"{path}: the mirror cannot be written ({why}); make room, and let this user write there")


def _lock_file(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(_beside(path, ".flock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Terminal(
            f"{path.parent}: mirrors are kept there, but this user cannot write there ({error.strerror});"
            " make it a directory of this user, or name another state_dir"
        ) from error


def _make(path: Path) -> None:
    """Make the mirror, or mend what can be made anew. Raises Terminal if `path` holds something else."""
    if path.exists():
        if not path.is_dir() or (any(path.iterdir()) and not (path / _MARK).exists()):
            raise Terminal(f"{path}: expected a mirror made by this program, or nothing; move it away")
        try:
            _open(path).free()
        except Terminal:
            shutil.rmtree(path)
        else:
            (path / "config").write_text(_CONFIG)
            (path / "HEAD").write_text(_HEAD)  # libgit2 opens it with any text there, git does not
            return
    fresh = _beside(path, ".new")
    pygit2.init_repository(str(fresh), bare=True, initial_head="main").free()
    (fresh / "config").write_text(_CONFIG)
    (fresh / _MARK).write_text(_MARK_TEXT)
    shutil.rmtree(fresh / "hooks", ignore_errors=True)
    fresh.rename(path)


def _open(path: Path) -> pygit2.Repository:
    bound_open_packs()
    try:
        repository = pygit2.Repository(str(path), RepositoryOpenFlag.BARE | RepositoryOpenFlag.NO_SEARCH)
        if not (path / _MARK).exists():
            raise Terminal(f"{path}: expected a mirror made by this program; it may be just being made")
    except pygit2.GitError as error:
        raise Terminal(f"{path}: the mirror cannot be read ({error}); remove it") from error
    return repository


def _clean(path: Path) -> None:
    """Remove what a killed process left: half a mirror, lock files, temporary objects, refs cut short by a crash."""
    shutil.rmtree(_beside(path, ".new"), ignore_errors=True)
    if not (path / _MARK).exists():
        return
    for pattern in ("*.lock", "refs/**/*.lock", "objects/**/*.lock", "objects/**/tmp_*"):
        for left in path.glob(pattern):
            left.unlink(missing_ok=True)
    for ref in (path / "refs").glob("**/*"):
        if ref.is_file() and len(ref.read_bytes().strip()) != 40:
            ref.unlink()


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
