"""How large the repository of a log is, cheaply: packs exactly, loose objects by a sample, as `git gc --auto` does.

Objects are spread over 256 directories by their id's first byte, evenly, since ids are hashes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_SAMPLED: Final = 16
_DIRECTORIES: Final = 256


def log_size_bytes(repository: Path) -> int:
    """Bytes of the bare repository's objects; 0 where it is not there. Reads 17 directories."""
    objects = repository / "objects"
    sampled = sum(_files_bytes(objects / f"{n:02x}") for n in range(0, _DIRECTORIES, _DIRECTORIES // _SAMPLED))
    return _files_bytes(objects / "pack") + sampled * (_DIRECTORIES // _SAMPLED)


def _files_bytes(directory: Path) -> int:
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # packed meanwhile
                    continue
    except OSError:  # a number is not worth a pass
        return 0
    return total
