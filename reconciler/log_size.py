"""How large the repository of a log is, cheaply: packs and a few loose objects exactly, many of them by a sample.

Objects are spread over 256 directories by their id's first byte, evenly, since ids are hashes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_SAMPLE: Final = 16
_ENOUGH: Final = 64
"""Files in the sample, from which on it stands for all."""
_DIRECTORIES: Final = 256


def log_size_bytes(repository: Path) -> int:
    """Bytes of the bare repository's objects; 0 where it is not there. Reads 257 directories, or 17 fuller ones."""
    objects = repository / "objects"
    packs, _ = _files(objects / "pack")
    every = _DIRECTORIES // _SAMPLE
    loose, count = 0, 0
    for first in range(every):
        for n in range(first, _DIRECTORIES, every):
            size, found = _files(objects / f"{n:02x}")
            loose, count = loose + size, count + found
        if first == 0 and count >= _ENOUGH:
            return packs + loose * every
    return packs + loose


def _files(directory: Path) -> tuple[int, int]:
    """The bytes of a directory's files, and how many they are."""
    total, count = 0, 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # packed meanwhile
                    continue
                count += 1
    except OSError:  # a number is not worth a pass
        return 0, 0
    return total, count
