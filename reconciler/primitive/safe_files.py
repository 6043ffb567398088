"""Files below one folder, by directory descriptors: never through a symbolic link, each file whole or not there.

A name that is created or replaced is first written aside, as `.<name>.scaffold-new`. What a killed run left of that is
cleared away by the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from reconciler.primitive.layout import LEFTOVER
from state.errors import ConfigError, Unavailable

READ_MAX_BYTES: Final = 4 * 1024 * 1024
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WAIT: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """An error of the system inside becomes a ConfigError that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _WAIT:
            raise
        why = error.strerror or str(error)
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            why = "expected a folder, found a file or a symbolic link, which is not followed"
        raise ConfigError(f"{path}: {why}") from error


class Folder:
    """An open folder. Close it, or use it in a `with`."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Folder:
        """The folder that the caller named; links in that name are theirs to make."""
        with told(path):
            return cls(os.open(path, _FOLDER), str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def at(self, relative: str) -> str:
        return f"{self.path}/{relative}"

    def descend(self, relative: str, *, create: bool = False) -> Folder:
        """The folder below, one component at a time. Raises ConfigError for a link or a file on the way."""
        fd = os.dup(self.fd)
        try:
            done = self.path
            for part in relative.split("/") if relative else []:
                done = f"{done}/{part}"
                with told(done):
                    if create:
                        with suppress(FileExistsError):
                            os.mkdir(part, dir_fd=fd)
                    deeper = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = deeper
        except BaseException:
            os.close(fd)
            raise
        return Folder(fd, done)

    def kind(self, relative: str) -> str | None:
        """`file`, `folder`, `link` or `other`; None if there is nothing. A link or file on the way is an error."""
        head, _, name = relative.rpartition("/")
        try:
            with self.descend(head) as folder:
                mode = os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None
        except ConfigError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        if stat.S_ISREG(mode):
            return "file"
        if stat.S_ISDIR(mode):
            return "folder"
        return "link" if stat.S_ISLNK(mode) else "other"

    def read(self, relative: str) -> bytes | None:
        """The bytes of a regular file; None if it is not there. Raises ConfigError for anything else."""
        if (kind := self.kind(relative)) is None:
            return None
        if kind != "file":
            raise ConfigError(f"{self.at(relative)}: expected a regular file, found a {kind}")
        head, _, name = relative.rpartition("/")
        with self.descend(head) as folder, told(self.at(relative)):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.fd)
            with os.fdopen(fd, "rb") as file:
                raw = file.read(READ_MAX_BYTES + 1)
        if len(raw) > READ_MAX_BYTES:
            raise ConfigError(f"{self.at(relative)}: expected at most {READ_MAX_BYTES} bytes, got more")
        return raw

    def names(self, relative: str = "") -> list[str]:
        """What is in the folder, sorted; nothing where there is no folder."""
        if relative and self.kind(relative) is None:
            return []
        with self.descend(relative) as folder, told(self.at(relative)):
            return sorted(os.listdir(folder.fd))  # noqa: PTH208 - pathlib knows no descriptors

    def create(self, relative: str, content: bytes) -> bool:
        """Write a file that is not there. One that is there by now is left as it is: False."""
        with self._parent(relative) as folder, told(self.at(relative)):
            name = relative.rpartition("/")[2]
            draft = _draft(folder, name, content)
            try:
                os.link(draft, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd, follow_symlinks=False)
            except FileExistsError:
                return False
            finally:
                os.unlink(draft, dir_fd=folder.fd)
        return True

    def replace(self, relative: str, content: bytes) -> None:
        """Write a file, over one that may be there."""
        with self._parent(relative) as folder, told(self.at(relative)):
            name = relative.rpartition("/")[2]
            os.replace(_draft(folder, name, content), name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)

    def remove(self, relative: str) -> None:
        """Remove a file, a link or a folder with all below it, if it is there."""
        if (kind := self.kind(relative)) is None:
            return
        head, _, name = relative.rpartition("/")
        with self.descend(head) as folder, told(self.at(relative)):
            if kind == "folder":
                shutil.rmtree(name, dir_fd=folder.fd)
            else:
                os.unlink(name, dir_fd=folder.fd)

    def rename(self, old: str, new: str) -> None:
        """Give a name in this folder to what has another one. A folder that is not empty is not replaced."""
        with told(self.at(new)):
            os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def lock(self) -> None:
        """Hold this folder against other runs until it is closed. Raises Unavailable if one holds it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"{self.path}: another run is writing here; try again") from error

    def _parent(self, relative: str) -> Folder:
        return self.descend(relative.rpartition("/")[0], create=True)


def draft_of(relative: str) -> str:
    """Where a file is written aside."""
    head, slash, name = relative.rpartition("/")
    return f"{head}{slash}.{name}{LEFTOVER}"


def _draft(folder: Folder, name: str, content: bytes) -> str:
    draft = draft_of(name)
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder.fd)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o666, dir_fd=folder.fd), "wb") as file:
        file.write(content)
    return draft
