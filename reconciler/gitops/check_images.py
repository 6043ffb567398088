"""The digest policy for a whole GitOps tree: every YAML file below a path, fast.

Files are read once and screened by their bytes; only documents that may hold something forbidden are parsed, and where
they are many, by several processes. Templates of charts are left out, since they are no YAML before they are rendered;
the values that they are rendered with are looked at.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.gitops.screen import Chunk, suspects
from state.errors import ConfigError

FILE_MAX_BYTES: Final = 4 * 1024 * 1024
FILES_MAX: Final = 1_000_000
_SUFFIXES: Final = (".yaml", ".yml", ".json")
_ALONE_MAX_BYTES: Final = 128 * 1024
"""Of suspect documents; more are parsed by several processes, which take a moment to start."""
_BATCH: Final = 64
UNREADABLE: Final = "unreadable"


class Finding(NamedTuple):
    """One forbidden place: `path` is as it was given or below it; findings sort by place."""

    path: str
    line: int
    rule: str
    what: str
    remedy: str


class Checked(NamedTuple):
    """What was found, and in how many files was looked."""

    findings: tuple[Finding, ...]
    files: int


class Suspect(NamedTuple):
    """A document that has to be parsed, or why its file could not be read."""

    path: str
    chunk: Chunk
    problem: str = ""


def check_images(paths: Iterable[Path]) -> Checked:
    """Look at every YAML file at and below `paths`; links to directories are not followed.

    Raises ConfigError for a path that is not there, or more than FILES_MAX files.
    """
    files = 0
    waiting: list[Suspect] = []
    for path in paths:
        for name in _files(path):
            files += 1
            if files > FILES_MAX:
                raise ConfigError(f"{path}: more than {FILES_MAX} files; name a part of the tree")
            waiting.extend(_suspects(name))
    return Checked(tuple(sorted(_parsed(waiting))), files)


def _files(path: Path) -> Iterator[str]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name a file or folder that is there") from error
    if not stat.S_ISDIR(mode):
        yield str(path)
        return
    folders = [str(path)]
    while folders:
        folder = folders.pop()
        below: list[str] = []
        chart = False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith(_SUFFIXES):
                        chart = chart or name == "Chart.yaml"
                        if not entry.is_dir():
                            yield entry.path
                    elif name == "Kustomization":
                        yield entry.path
                    if entry.is_dir(follow_symlinks=False) and name != ".git":
                        below.append(entry.path)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from error
        folders += [one for one in below if not (chart and one.endswith("/templates"))]


def _suspects(name: str) -> Iterator[Suspect]:
    try:
        handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            raw = os.read(handle, FILE_MAX_BYTES + 1)
            while len(raw) <= FILE_MAX_BYTES and (more := os.read(handle, FILE_MAX_BYTES + 1 - len(raw))):
                raw += more
        finally:
            os.close(handle)
    except OSError as error:
        yield Suspect(name, Chunk(b"", 0), f"cannot be read: {error.strerror}")
        return
    if len(raw) > FILE_MAX_BYTES:
        yield Suspect(name, Chunk(b"", 0), f"more than {FILE_MAX_BYTES} bytes")
        return
    for chunk in suspects(raw):
        yield Suspect(name, chunk)


def _parsed(waiting: Sequence[Suspect]) -> list[Finding]:
    if sum(len(one.chunk.raw) for one in waiting) <= _ALONE_MAX_BYTES or (os.cpu_count() or 1) < 2:
        return _judge(waiting)
    batches = [waiting[n : n + _BATCH] for n in range(0, len(waiting), _BATCH)]
    # A fresh interpreter each, since this one may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(batches), 8), mp_context=context) as pool:
        return [found for batch in pool.map(_judge, batches) for found in batch]


def _judge(batch: Sequence[Suspect]) -> list[Finding]:
    from reconciler.gitops.documents import read  # noqa: PLC0415 - a clean tree is never parsed
    from reconciler.gitops.image_places import findings  # noqa: PLC0415

    made: list[Finding] = []
    for path, (raw, before), problem in batch:
        remedy = "correct the file, so that its images can be checked"
        if problem:
            made.append(Finding(path, 1, UNREADABLE, problem, remedy))
            continue
        try:
            roots = read(raw, "", max_bytes=FILE_MAX_BYTES).roots
        except ConfigError as error:
            made.append(Finding(path, before + 1, UNREADABLE, str(error).removeprefix(": "), remedy))
            continue
        made += [Finding(path, before + f.line, f.rule, f.what, f.remedy) for root in roots for f in findings(root)]
    return made
