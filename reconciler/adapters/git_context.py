"""A build context from git objects: what the declared inputs of an image are at a commit, and nothing else.

The working directory is never looked at, so what is not committed, or not declared, is in no image. Symbolic links stay
links and may not lead out of the context; submodules are not there to be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pygit2

from reconciler.adapters.git_tree import (
    ABSENT,
    LINK,
    LINK_MAX_BYTES,
    SUBMODULE,
    TREE,
    MissingObjects,
    Parts,
    Trees,
    parts,
)
from reconciler.catalogue import WHOLE_REPOSITORY
from state.errors import ConfigError, IntegrityError, Terminal
from state.git import CommitId
from state.observed import Image, Recipe

FILE_MAX_BYTES: Final = 1024 * 1024 * 1024
CONTEXT_MAX_BYTES: Final = 4 * 1024 * 1024 * 1024
ENTRIES_MAX: Final = 200_000
DOCKERFILE_MAX_BYTES: Final = 1024 * 1024
_EXECUTABLE: Final = b"100755"
_FILES: Final = frozenset({b"100644", _EXECUTABLE, b"100664"})
_NO_NAMES: Final = frozenset({b".", b"..", b".git"})


def dockerfile(repository: pygit2.Repository, commit: CommitId, recipe: Recipe) -> bytes:
    """The bytes of the recipe's file at `commit`; a link is not followed. Raises ConfigError, MissingObjects."""
    trees = Trees(repository)
    found = trees.find(trees.root(commit), parts(recipe.file))
    if found is None or found.mode not in _FILES:
        got = "nothing" if found is None else "something else"
        raise ConfigError(f"{recipe.file}: expected a file at commit {commit}, got {got}")
    return trees.blob(found.id, DOCKERFILE_MAX_BYTES, f"{recipe.file} at commit {commit}")


def write_context(
    repository: pygit2.Repository, commit: CommitId, image: Image, recipe: Recipe, target: Path, *, time_s: int
) -> int:
    """Write the context of `recipe` into the new directory `target`; how many files and links there are.

    Equal inputs give equal names, contents, modes and times (`time_s`, seconds since 1970).

    Raises:
        Terminal: a submodule, a link that leads out of the context, or more than this module's bounds.
        ConfigError: there is nothing of the declared inputs in the context.
        MissingObjects: a partial clone has to fetch these first; nothing was written.
    """
    files = _files(Trees(repository), commit, image)
    top = () if recipe.context == WHOLE_REPOSITORY else parts(recipe.context)
    inside = {
        path[len(top) :]: entry for path, entry in files.items() if path[: len(top)] == top and len(path) > len(top)
    }
    if not inside:
        raise ConfigError(f"{recipe.context}: holds none of the inputs of {image.name} at {commit}")
    _check(repository, inside, recipe)
    target.mkdir()
    links = []
    for path, (mode, id_) in inside.items():
        where = target.joinpath(*map(os.fsdecode, path))
        where.parent.mkdir(parents=True, exist_ok=True)
        raw = repository.odb.read(pygit2.Oid(raw=id_))[1]
        if mode == LINK:
            where.symlink_to(os.fsdecode(raw))
            os.utime(where, (time_s, time_s), follow_symlinks=False)
            links.append(where)
            continue
        with where.open("xb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), 0o755 if mode == _EXECUTABLE else 0o644)
        os.utime(where, (time_s, time_s))
    _check_links(target, links, recipe)
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(0o755)
        os.utime(folder, (time_s, time_s))
    return len(inside)


def _files(trees: Trees, commit: CommitId, image: Image) -> dict[Parts, tuple[bytes, bytes]]:
    """path → (mode, id) of every file and link of the declared inputs, links followed inside the repository."""
    found: dict[Parts, tuple[bytes, bytes]] = {}
    root = trees.root(commit)
    for declared in image.inputs:
        for entry in trees.closure(root, parts(declared)):
            if entry.mode == SUBMODULE:
                raise _submodule(entry.path)
            if entry.mode == TREE:
                for path, mode, id_ in _below(trees, entry.path, entry.id):
                    found[path] = mode, id_
            elif entry.id and entry.mode != ABSENT:
                found[entry.path] = entry.mode, entry.id
            if len(found) > ENTRIES_MAX:
                raise Terminal(f"{image.name} at {commit}: the inputs have more than {ENTRIES_MAX} files")
    return dict(sorted(found.items()))


def _below(trees: Trees, at: Parts, tree: bytes) -> Iterator[tuple[Parts, bytes, bytes]]:
    todo = [(at, tree)]
    while todo:
        path, id_ = todo.pop()
        for name, (mode, child) in trees.children(id_).items():
            if name.lower() in _NO_NAMES:
                raise IntegrityError(f"{_shown((*path, name))}: no file of a repository has such a name")
            if mode == SUBMODULE:
                raise _submodule((*path, name))
            if mode == TREE:
                todo.append(((*path, name), child))
            else:
                yield (*path, name), mode, child


def _check(repository: pygit2.Repository, files: dict[Parts, tuple[bytes, bytes]], recipe: Recipe) -> None:
    """Whether all is here and within the bounds, before anything is written."""
    missing, total = set(), 0
    for path, (mode, id_) in files.items():
        oid = pygit2.Oid(raw=id_)
        try:
            _, size = repository.odb.read_header(oid)
        except KeyError:
            missing.add(str(oid))
            continue
        total += size
        bound = LINK_MAX_BYTES if mode == LINK else FILE_MAX_BYTES
        if size > bound or total > CONTEXT_MAX_BYTES:
            raise Terminal(
                f"{_shown(path)} in the context {recipe.context}: {size} bytes; at most {bound} for one and"
                f" {CONTEXT_MAX_BYTES} for all are written"
            )
    if missing:
        raise MissingObjects(frozenset(missing))


def _check_links(target: Path, links: list[Path], recipe: Recipe) -> None:
    """Every link has to lead to a place inside, by all links on its way: whoever reads it follows them."""
    top = target.resolve()
    for link in links:
        text = str(link.readlink())
        try:
            inside = not text.startswith("/") and link.resolve().is_relative_to(top)
        except (OSError, RuntimeError):  # a loop
            inside = False
        if not inside:
            shown = _shown(tuple(map(os.fsencode, link.relative_to(target).parts)))
            raise Terminal(
                f"{shown} in the context {recipe.context}: a symbolic link to {text[:200]!r} leads out of the context"
                " or round in a circle, so nothing is built; let it lead to a place inside"
            )


def _submodule(path: Parts) -> Terminal:
    return Terminal(f"{_shown(path)}: is a submodule, whose files are not in this repository; nothing is built from it")


def _shown(path: Parts) -> str:
    return ascii(b"/".join(path).decode(errors="backslashreplace"))[1:-1]
