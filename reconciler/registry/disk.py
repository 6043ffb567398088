"""What makes a write durable: the file is synced before it gets its name, the directory after.

Every temporary file lies on the file system of its target, so that the rename is atomic.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Have `directory` and its parents, each name durable. An existing one is left alone."""
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def write_file(target: Path, raw: bytes, scratch: Path) -> None:
    """Replace `target` with these bytes, atomically and durably; `scratch` is a directory for the temporary file."""
    temporary = scratch / f"write-{secrets.token_hex(16)}"
    try:
        with temporary.open("xb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        move_file(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def move_file(source: Path, target: Path) -> None:
    """Give a synced file its name, atomically and durably; an existing target is replaced."""
    source.replace(target)
    sync_directory(target.parent)


def remove_file(target: Path) -> bool:
    """Remove a file durably; False if there was none."""
    try:
        target.unlink()
    except FileNotFoundError:
        return False
    sync_directory(target.parent)
    return True
