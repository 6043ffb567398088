"""The repository that a command was started in: its commits, and objects that a partial clone left out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import pygit2

from reconciler.adapters.git_tree import MissingObjects
from state.errors import InvalidValue, Terminal
from state.git import CommitId

T = TypeVar("T")

_GIT_TIMEOUT_S: Final = 120
_ROUNDS_MAX: Final = 64


@contextmanager
def checkout(path: Path) -> Iterator[pygit2.Repository]:
    """The repository that `path` is in, named `--repo` in messages. Raises InvalidValue."""
    # Only objects are read here: nothing that another owner's configuration says is run.
    pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, 0)
    found = pygit2.discover_repository(str(path)) if path.is_dir() else None
    if found is None:
        raise InvalidValue(f"--repo {path}: expected a git repository")
    try:
        repository = pygit2.Repository(found)
    except pygit2.GitError as error:
        raise InvalidValue(f"--repo {path}: cannot be read: {error}") from error
    try:
        yield repository
    finally:
        repository.free()


def commit_of(repository: pygit2.Repository, option: str, revision: str) -> CommitId:
    """The commit that a revision names. Raises InvalidValue."""
    hint = ""
    if repository.is_shallow:
        hint = "; this clone is shallow: fetch the full history (actions/checkout: `fetch-depth: 0`)"
    try:
        return CommitId(str(repository.revparse_single(revision).peel(pygit2.Commit).id))
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise InvalidValue(f"{option} {revision!r}: no such commit in {repository.path}{hint}") from error


def fetching(repository: pygit2.Repository, read: Callable[[], T]) -> T:
    """What `read` returns; objects that a partial clone left out are fetched by git as it would for a checkout."""
    for _ in range(_ROUNDS_MAX):
        try:
            return read()
        except MissingObjects as missing:
            for oid in sorted(missing.ids):
                _lazy_fetch(repository, oid)
    raise Terminal(f"{repository.path}: objects are missing, and fetching them does not help")


def _lazy_fetch(repository: pygit2.Repository, oid: str) -> None:
    try:
        done = subprocess.run(
            ["git", f"--git-dir={repository.path}", "cat-file", "-e", oid],
            check=False,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Terminal(f"object {oid} is not in {repository.path}, and git could not fetch it: {error}") from error
    if done.returncode != 0:
        raise Terminal(
            f"object {oid} is not in {repository.path}, and git could not fetch it; clone with `--filter=blob:none`"
            " or without a filter, and without `--depth`"
        )
