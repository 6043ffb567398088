"""The bare repository behind the forge `local`: its identity, and the one way to write its refs.

Every write is a compare-and-swap under git's own lock of that ref. libgit2's create without force looks for the ref
before it takes the lock (4 processes "created" 604 of 600 refs), and with force it compares nothing: neither is used.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag

from reconciler.adapters.local_record import ID_MAX
from state.errors import Denied, InvalidValue, Terminal, Unavailable
from state.git import RefName

GIT_TIMEOUT_S: Final = 60.0
LOCK_TIMEOUT_S: Final = 10.0
MESSAGE_SHOWN_CHARS: Final = 400

_ID_KEY: Final = "ameide.repositoryid"


@dataclass(frozen=True, slots=True)
class LocalRepository:
    """One bare repository, by its path. `lock_timeout_s` bounds the wait for other writers."""

    path: Path
    lock_timeout_s: float = LOCK_TIMEOUT_S

    def open(self) -> pygit2.Repository:
        """The repository, opened anew: nothing is answered from an earlier look.

        Raises Terminal if there is none: a missing repository is never an empty one.
        """
        try:
            return pygit2.Repository(str(self.path), RepositoryOpenFlag.BARE | RepositoryOpenFlag.NO_SEARCH)
        except pygit2.GitError as error:
            raise Terminal(
                f"{self.path}: expected a bare git repository ({error}); make one with `ameide local init {self.path}`"
            ) from error

    def id(self) -> int:
        """The id from the repository's own config file. Raises Terminal if it is missing or malformed."""
        self.open()
        found = self._configured_id()
        if found is None:
            raise Terminal(
                f"{self.path}: its config has no {_ID_KEY}, so it is no local forge yet; "
                f"give it one with `ameide local init {self.path}`"
            )
        return found

    def initialise(self, wanted: int | None) -> int:
        """Make the directory a bare repository with an id, or complete one; the id. Doing it again changes nothing.

        Raises Terminal on a directory that holds something else, on a work tree, and on another id than it has; Denied
        where this user cannot make it.
        """
        if wanted is not None and not 1 <= wanted <= ID_MAX:
            raise InvalidValue(f"repository id: expected 1 to {ID_MAX}, got {wanted}")
        try:
            if self.path.exists() and not self.path.is_dir():
                raise Terminal(f"{self.path}: expected a directory, or nothing yet")
            fresh = not self.path.exists() or not any(self.path.iterdir())
            if fresh:
                pygit2.init_repository(str(self.path), bare=True, initial_head="main").free()
        except (pygit2.GitError, OSError) as error:
            raise Denied(f"{self.path}: cannot be made ({error}); name a place this user may write to") from error
        if not fresh and (self.path / ".git").exists():
            raise Terminal(
                f"{self.path}: has a work tree, and a local forge is a bare repository; "
                f"make one with `git clone --bare {self.path} NEW.git`"
            )
        if not fresh and not (self.path / "HEAD").is_file():
            raise Terminal(f"{self.path}: neither empty nor a git repository; nothing was changed, name another path")
        self.open()
        with self.opening():
            found = self._configured_id()
            if found is not None and wanted not in {None, found}:
                raise Terminal(
                    f"{self.path}: its id is {found} for good, asked for {wanted}; leave --id out to keep it"
                )
            if found is None:
                found = wanted or 2**30 + secrets.randbelow(2**53 - 2**30)
                # Pushes must not write records or statuses, and fetches need not see them.
                git(["config", "transfer.hideRefs", "refs/ameide"], self.path)
                git(["config", _ID_KEY, str(found)], self.path)
        return found

    @contextmanager
    def writing(self) -> Iterator[pygit2.Repository]:
        """The repository, opened anew, to add objects to it.

        Raises Denied if the repository cannot be written at all, Unavailable if it does not take an object.
        """
        repository = self.open()
        self._may_write()
        try:
            yield repository
        except (pygit2.GitError, OSError) as error:
            raise Unavailable(
                f"{self.path}: no object can be written there ({error}); make room, and let this user write below it"
            ) from error

    def add(self, raw: bytes) -> str:
        """Store a blob; its object id. Raises as `writing` does."""
        with self.writing() as repository:
            return str(repository.create_blob(raw))

    def swap(self, name: RefName, expected: str | None, new: str) -> bool:
        """Point `name` at `new` if it is at `expected` now (None: if it does not exist). False if it is elsewhere.

        The object must exist. Raises Unavailable if git's lock of that ref could not be had in time, Denied if the
        repository cannot be written at all.
        """
        repository = self.open()
        self._may_write()
        until = time.monotonic() + self.lock_timeout_s
        while True:
            try:
                with repository.transaction() as transaction:
                    transaction.lock_ref(name)
                    if target(repository, name) != expected:
                        return False
                    transaction.set_target(name, new)
                return True
            except (pygit2.GitError, OSError) as error:
                if time.monotonic() >= until:
                    raise Unavailable(
                        f"{self.path}: {name} could not be locked for {self.lock_timeout_s:g} s ({error}); if no git "
                        f"process runs there, one was killed: remove {name}.lock below that directory"
                    ) from error
                _pause()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Mutual exclusion between openers on this machine (a kernel lock, so a killed one leaves nothing behind)."""
        try:
            held = os.open(self.path / "ameide-opening", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Denied(f"{self.path}: this user may not write there ({error.strerror})") from error
        try:
            until = time.monotonic() + self.lock_timeout_s
            while True:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= until:
                        raise Unavailable(
                            f"{self.path}: another process is opening pull requests, for {self.lock_timeout_s:g} s now"
                        ) from error
                    _pause()
            yield
        finally:
            os.close(held)

    def _may_write(self) -> None:
        if not os.access(self.path, os.W_OK):
            raise Denied(f"{self.path}: this user may not write there; let its owner run this")

    def _configured_id(self) -> int | None:
        # The repository's own file alone: an id from the user's or the system's configuration is nobody's decision.
        file = self.path / "config"
        try:
            found = [str(text) for text in pygit2.Config(str(file)).get_multivar(_ID_KEY)]
        except (pygit2.GitError, OSError) as error:
            raise Terminal(f"{file}: cannot be read: {error}") from error
        if not found:
            return None
        if len(found) != 1 or not re.fullmatch(r"[1-9][0-9]{0,15}", found[0]) or int(found[0]) > ID_MAX:
            raise Terminal(f"{file}: {_ID_KEY}: expected one integer from 1 to {ID_MAX}, got {str(found)[:80]}")
        return int(found[0])


def git(arguments: Sequence[str], directory: Path, *, timeout_s: float = GIT_TIMEOUT_S) -> tuple[str, str]:
    """Run git in `directory`; its output and its messages. Raises Unavailable on a failure or a timeout."""
    environment = {k: v for k, v in os.environ.items() if k in {"HOME", "PATH", "TMPDIR"}}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{directory}: git {arguments[0]} took more than {timeout_s:g} s") from error
    except OSError as error:
        raise Terminal(f"git could not be started ({error.strerror}): install git and have it on PATH") from error
    messages = done.stderr.decode(errors="backslashreplace").strip()
    if done.returncode:
        shown = repr(messages[:MESSAGE_SHOWN_CHARS])
        raise Unavailable(f"{directory}: git {arguments[0]} ended with {done.returncode}: {shown}")
    return done.stdout.decode(errors="backslashreplace"), messages


def target(repository: pygit2.Repository, name: RefName) -> str | None:
    """The object id behind a ref; None if there is no such ref. Raises Terminal if it is malformed or symbolic."""
    try:
        found = repository.lookup_reference(name).target
    except KeyError:
        return None
    except (pygit2.GitError, ValueError) as error:
        raise Terminal(f"{name}: the ref cannot be read: {error}") from error
    if isinstance(found, str):
        raise Terminal(f"{name}: a symbolic ref; expected an object id")
    return str(found)


def is_commit(repository: pygit2.Repository, oid: str) -> bool:
    """Whether the repository holds `oid` and it is a commit; reads the object's header only."""
    try:
        kind, _ = repository.odb.read_header(pygit2.Oid(hex=oid))
    except (KeyError, ValueError, pygit2.GitError):
        return False
    return kind == ObjectType.COMMIT


def blob(repository: pygit2.Repository, oid: str, what: str, max_bytes: int) -> bytes:
    """A blob's bytes; its size is looked at first. Raises Terminal if it is none, missing, damaged or too large."""
    try:
        kind, size = repository.odb.read_header(pygit2.Oid(hex=oid))
        if kind != ObjectType.BLOB or size > max_bytes:
            raise Terminal(f"{what}: expected a blob of at most {max_bytes} bytes, got {size} bytes, type {int(kind)}")
        return repository.odb.read(pygit2.Oid(hex=oid))[1]
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise Terminal(f"{what}: object {oid} cannot be read: {error}") from error


def _pause() -> None:
    time.sleep(random.uniform(0.0005, 0.005))  # noqa: S311 - jitter between writers, not a secret
