"""Small declared files of a trusted commit: the catalogue, and what it takes to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pygit2

from reconciler.adapters.git_changes import Comparer
from reconciler.adapters.git_tree import Trees, parts
from reconciler.catalogue import parse_catalogue, parse_recipes
from reconciler.declared import MAX_BYTES, refuse
from state.errors import ConfigError
from state.git import CommitId
from state.observed import Catalogue, Recipe

_FILE_MODES: Final = frozenset({b"100644", b"100755", b"100664"})


def read_file(repository: pygit2.Repository, commit: CommitId, path: str) -> bytes:
    """The bytes of a regular file at `commit`, at most `declared.MAX_BYTES`; a symbolic link is not one.

    Raises ConfigError if it is not there or not that, Terminal if it is larger, MissingObjects if a partial clone has
    to fetch it first.
    """
    trees = Trees(repository)
    found = trees.find(trees.root(commit), parts(path))
    if found is None or found.mode not in _FILE_MODES:
        got = "nothing" if found is None else "something else"
        raise ConfigError(f"{path}: expected a file at commit {commit}, got {got}; add it on the trusted branch")
    return trees.blob(found.id, MAX_BYTES, f"{path} at commit {commit}")


def read_catalogue(repository: pygit2.Repository, commit: CommitId, path: str) -> Catalogue:
    """The catalogue at `commit`, each input checked to match something there. Raises ConfigError, MissingObjects."""
    what = f"{path} at {commit.short}"
    catalogue = parse_catalogue(read_file(repository, commit, path), commit, what=what)
    refuse(what, Comparer(repository).unmatched(commit, catalogue))
    return catalogue


def read_declared(repository: pygit2.Repository, commit: CommitId, path: str) -> tuple[Catalogue, Mapping[str, Recipe]]:
    """The catalogue at `commit` and how its images are built, as they are written: no input is looked for.

    Raises ConfigError, MissingObjects.
    """
    raw, what = read_file(repository, commit, path), f"{path} at {commit.short}"
    return parse_catalogue(raw, commit, what=what), parse_recipes(raw, commit, what=what)
