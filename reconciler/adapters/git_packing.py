"""Packing the loose objects of a log's repository with git, beside its writer and without losing anything.

Every append leaves loose objects, one file each. `git repack --geometric` puts them into a pack and merges packs of
like size, so the work for a log of n entries grows as n log n, and the number of packs as log n. Nothing is pruned:
an object that no entry names, left by a crash, is packed like the others. Source: git-repack(1).
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from reconciler.adapters import git_process
from state.errors import Unavailable

LOOSE_MAX: Final = 8192
"""Loose objects that are left alone; git's own limit for `gc --auto` is 6700."""
TIMEOUT_S: Final = 3600.0
LEFTOVER_AGE_S: Final = 24 * 3600.0
"""Temporary files of packing that are older are a dead process's."""

_SAMPLED: Final = 16
_LEFTOVERS: Final = ("tmp_pack_*", "tmp_idx_*", "tmp_rev_*", ".tmp-*", "pack_git2_*")
_OPTIONS: Final = (
    *("-c", "safe.directory=*"),
    *("-c", "pack.threads=1"),
    *("-c", "pack.windowMemory=64m"),
    *("-c", "pack.packSizeLimit=0"),
    *("-c", "repack.writeBitmaps=false"),
)


def loose_objects(repository: Path) -> int:
    """About how many there are: ids are hashes, so a sixteenth of the 256 directories tells."""
    counted = 0
    for n in range(0, 256, 256 // _SAMPLED):
        try:
            counted += sum(1 for _ in (repository / "objects" / f"{n:02x}").iterdir())
        except FileNotFoundError:
            continue
    return counted * (256 // _SAMPLED)


def pack_loose(repository: Path) -> bool:
    """Pack them; False where another process is at it. Safe beside a writer, and to be killed at any moment.

    Raises Terminal if there is no git, Unavailable if it fails or does not end within an hour.
    """
    lock = os.open(repository / "ameide-packing.flock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        _remove_leftovers(repository / "objects" / "pack")
        done = git_process.run(
            [*_OPTIONS, "repack", "-d", "-l", "-q", "--geometric=2"],
            cwd=repository,
            env=git_process.own_environment(repository),
            timeout_s=TIMEOUT_S,
            keep_open=(lock,),  # it may outlive us
        )
    finally:
        os.close(lock)
    if done.code:
        raise Unavailable(f"{repository}: git cannot pack it: {done.errors.strip()[-300:]}")
    return True


def _remove_leftovers(packs: Path) -> None:
    for pattern in _LEFTOVERS:
        for file in packs.glob(pattern):
            if time.time() - file.stat().st_mtime > LEFTOVER_AGE_S:
                file.unlink(missing_ok=True)
