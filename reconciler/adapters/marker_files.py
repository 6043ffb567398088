"""Reading a directory of markers: regular files alone, bounded in number and size, no link followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from state.approval import MARKER_MAX_BYTES
from state.errors import ConfigError

FILES_MAX: Final = 500
TOTAL_MAX_BYTES: Final = 16 * 1024 * 1024


class MarkerFile(NamedTuple):
    """One file. Of one that is too large there is one byte more than a marker may have, so that it is told as such."""

    name: str
    raw: bytes


def newest(directory: Path, wanted: Callable[[str], bool]) -> list[MarkerFile]:
    """The newest FILES_MAX files whose names are wanted, oldest first.

    What is no regular file, or is gone or unreadable by now, is left out. Raises ConfigError if the directory cannot
    be read.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"{directory}: the directory of markers cannot be read ({error.strerror}); make it, readable by this user"
        ) from error
    try:
        with os.scandir(handle) as entries:
            names = [entry.name for entry in entries if wanted(entry.name)]
        found = [(seen.st_mtime_ns, name) for name in names if (seen := _status(handle, name)) is not None]
        made: list[MarkerFile] = []
        total = 0
        for _, name in sorted(found, reverse=True)[:FILES_MAX]:
            if (raw := _read(handle, name)) is not None and (total := total + len(raw)) <= TOTAL_MAX_BYTES:
                made.append(MarkerFile(name, raw))
        return made[::-1]
    finally:
        os.close(handle)


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return seen if stat.S_ISREG(seen.st_mode) else None


def _read(directory: int, name: str) -> bytes | None:
    try:
        # Non-blocking: it may have become a pipe since it was looked at.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        try:
            return file.read(MARKER_MAX_BYTES + 1)
        except OSError:
            return None
