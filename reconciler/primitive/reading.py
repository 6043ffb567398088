"""Reading a primitive's folder: bounded, never through a symbolic link."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Final

from reconciler.primitive.safe_files import READ_MAX_BYTES, Folder, told
from state.errors import ConfigError

FILES_MAX: Final = 10_000
ALL_MAX_BYTES: Final = 256 * 1024 * 1024
SKIPPED: Final = frozenset(
    {".git", ".hg", ".mypy_cache", ".next", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", "node_modules"}
)
"""Folders of tools and dependencies: not sources, and not looked at."""


@dataclass(slots=True)
class Seen:
    """The files, and what is there besides: path → `link`, `other` or `too long`."""

    files: dict[str, bytes] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


def read_folder(folder: Folder) -> Seen:
    """Everything in the folder, sorted. Raises ConfigError if it is too much to look at."""
    seen = Seen()
    size = 0
    with told(folder.path):
        for where, below, names, fd in os.fwalk(".", dir_fd=folder.fd, follow_symlinks=False, onerror=_raise):
            prefix = "" if where == "." else f"{where.removeprefix('./')}/"
            below[:] = sorted(set(below) - SKIPPED)
            for name in [d for d in below if _is_link(d, fd)]:
                seen.odd[f"{prefix}{name}"] = "link"
            for name in sorted(names):
                path = f"{prefix}{name}"
                if len(seen.files) + len(seen.odd) >= FILES_MAX or size > ALL_MAX_BYTES:
                    raise ConfigError(
                        f"{folder.path}: expected at most {FILES_MAX} files, {ALL_MAX_BYTES} bytes together"
                    )
                kind = folder.kind(path)
                if kind != "file":
                    seen.odd[path] = kind or "gone"
                elif os.stat(name, dir_fd=fd, follow_symlinks=False).st_size > READ_MAX_BYTES:
                    seen.odd[path] = "too long"
                else:
                    seen.files[path] = folder.read(path) or b""
                    size += len(seen.files[path])
    seen.files = dict(sorted(seen.files.items()))
    return seen


def _is_link(name: str, fd: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def _raise(error: OSError) -> None:
    raise error
