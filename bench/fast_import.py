"""Repositories for measuring, made by `git fast-import`, and plain git runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pygit2

_START_S = 1_700_000_000


def git(repository: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Run git in `repository` without anybody's configuration; its standard output."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(repository),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    return subprocess.run(
        ["git", *arguments], cwd=repository, input=given, env=environment, check=True, stdout=subprocess.PIPE
    ).stdout


class FastImport:
    """Commits in a row for a new bare repository; they are made by `run`."""

    def __init__(self, path: Path) -> None:
        pygit2.init_repository(str(path), bare=True, initial_head="main")
        self._path = path
        self._stream = [b"feature done\n"]
        self._marks = 0

    def commit(self, ref: str, parent: int | None, files: Mapping[str, str]) -> int:
        """One commit on `ref` after `parent` that writes `files`; its mark, to be a parent."""
        self._marks += 1
        when = _START_S + 60 * self._marks
        lines = [
            f"commit {ref}\nmark :{self._marks}\ncommitter bench <bench@example.invalid> {when} +0000\ndata 1\n.\n"
        ]
        if parent is not None:
            lines.append(f"from :{parent}\n")
        for name, text in files.items():
            lines.append(f"M 100644 inline {name}\ndata {len(text.encode())}\n{text}\n")
        self._stream.append("".join(lines).encode() + b"\n")
        return self._marks

    def run(self) -> None:
        git(self._path, "fast-import", "--quiet", "--done", given=b"".join(self._stream) + b"done\n")
