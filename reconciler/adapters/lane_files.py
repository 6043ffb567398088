"""Reading and writing a folder of a lane: bounded, regular files only, never through a symbolic link."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from reconciler.strict_yaml import read_regular
from state.errors import ConfigError

FILES_MAX: Final = 20_000
FILE_MAX_BYTES: Final = 4 * 1024 * 1024
_SKIPPED: Final = frozenset({".git", ".hg", ".venv", "node_modules", "vendor"})
_NAMES: Final = frozenset({"CODEOWNERS"})


def read_tree(root: Path, suffixes: Iterable[str]) -> dict[str, bytes]:
    """Relative path → bytes of every file with one of the suffixes, and CODEOWNERS; sorted by path.

    Raises:
        ConfigError: there is no such path, a file is too long or there are too many.
    """
    wanted = tuple(suffixes)
    if root.is_file():
        return {root.name: read_regular(root, max_bytes=FILE_MAX_BYTES)}
    if not root.is_dir():
        raise ConfigError(f"{root}: expected a folder or a file, found neither")
    made: dict[str, bytes] = {}
    for folder, below, names in os.walk(root):
        below[:] = sorted(d for d in below if d not in _SKIPPED)
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_symlink() or not (name.endswith(wanted) or name in _NAMES):
                continue
            if len(made) >= FILES_MAX:
                raise ConfigError(f"{root}: expected at most {FILES_MAX} files; name the lane's own folder")
            made[path.relative_to(root).as_posix()] = read_regular(path, max_bytes=FILE_MAX_BYTES)
    return dict(sorted(made.items()))


def write_tree(root: Path, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Write what differs, each file whole or not at all; the paths that were written.

    Raises:
        ConfigError: a file cannot be written, or a path leads through a symbolic link.
    """
    written = []
    for name, content in files.items():
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.resolve() != root.resolve() / Path(name).parent or path.is_symlink():
                raise ConfigError(f"{path}: leads through a symbolic link; it is not written")
            if path.is_file() and path.read_bytes() == content:
                continue
            draft = path.with_name(f".{path.name}.new")
            draft.write_bytes(content)
            draft.replace(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
        written.append(name)
    return tuple(written)
