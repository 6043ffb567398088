"""Evidence that CI hands over as files: `<directory>/sha256-<hex of the image's digest>/<name><suffix>`.

A writer makes a file under a name that begins with a dot, or elsewhere on the same file system, and renames it: what
is seen is whole. No link is followed below the directory, and what anybody might have written is not read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from reconciler.ports import HandedFile
from state.errors import Unavailable
from state.oci import Digest

FILE_MAX_BYTES: Final = 10 * 1024 * 1024
FILES_MAX: Final = 40
"""About one digest; as many as are ever attached to one."""
_ENTRIES_MAX: Final = 1000
_FOLDER: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_FILE: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class HandedOverFiles:
    """Implements `ports.HandOver`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def files(self, digest: Digest, suffix: str) -> Sequence[HandedFile]:
        """See HandOver."""
        try:
            root = os.open(self._directory, _FOLDER)
        except OSError as error:
            raise Unavailable(
                f"{self._directory}: what CI hands over cannot be read: {error.strerror}; make the directory, or drop"
                " `evidence.handed_over_dir`"
            ) from error
        try:
            return self._about(root, f"sha256-{digest.hex}", suffix)
        except OSError as error:
            raise Unavailable(f"{self._directory}/sha256-{digest.hex}: cannot be read: {error.strerror}") from error
        finally:
            os.close(root)

    def _about(self, root: int, name: str, suffix: str) -> Sequence[HandedFile]:
        try:
            folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=root)
        except FileNotFoundError:
            return ()
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            return (HandedFile(name, b"", "expected a directory, got a link or another kind"),)
        try:
            if os.fstat(folder).st_mode & stat.S_IWOTH:
                return (HandedFile(name, b"", "the directory is writable by everybody; take that right away"),)
            with os.scandir(folder) as entries:
                listed = [entry.name for entry in islice(entries, _ENTRIES_MAX + 1)]
            names = sorted(n for n in listed if n.endswith(suffix) and not n.startswith("."))
            if len(listed) > _ENTRIES_MAX or len(names) > FILES_MAX:
                text = f"expected at most {FILES_MAX} files {suffix} about one digest, got more; none was read"
                return (HandedFile(name, b"", text),)
            read = (_read(folder, each) for each in names)
            return tuple(file for file in read if file is not None)
        finally:
            os.close(folder)


def _read(folder: int, name: str) -> HandedFile | None:
    """None for one that was removed meanwhile."""
    shown = name if name.isprintable() else ascii(name)
    try:
        handle = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        kind = "a link is not followed" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        return HandedFile(shown, b"", kind)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode) or mode & stat.S_IWOTH:
        os.close(handle)
        kind = "the file is writable by everybody; take that right away"
        return HandedFile(shown, b"", kind if stat.S_ISREG(mode) else "expected a regular file, got another kind")
    with os.fdopen(handle, "rb") as file:
        raw = file.read(FILE_MAX_BYTES + 1)
    if len(raw) > FILE_MAX_BYTES:
        return HandedFile(shown, b"", f"expected at most {FILE_MAX_BYTES} bytes, got more")
    return HandedFile(shown, raw) if raw else HandedFile(shown, b"", "the file is empty")
