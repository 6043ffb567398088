"""The GitOps repository in memory: commits by content, as git has them, and what a merge of two of them does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from state.git import CommitId

Files = tuple[tuple[str, bytes], ...]


class Commit(NamedTuple):
    """A commit; `by` is `us` or `a person`, which git would show as its author."""

    parents: tuple[CommitId, ...]
    files: Files
    message: str
    at: int
    by: str


COMMITS: Final[dict[CommitId, Commit]] = {}
"""Every commit that was ever made, in all worlds: they are named by their content, so nothing clashes."""


def make(parents: Sequence[CommitId], files: Mapping[str, bytes], message: str, at: int, by: str) -> CommitId:
    made = Commit(tuple(parents), tuple(sorted(files.items())), message, at, by)
    oid = CommitId(hashlib.sha1(repr(made).encode(), usedforsecurity=False).hexdigest())
    COMMITS[oid] = made
    return oid


@cache
def tree(commit: CommitId) -> dict[str, bytes]:
    return dict(COMMITS[commit].files)


@cache
def history(commit: CommitId) -> frozenset[CommitId]:
    """The commit and all that it descends from."""
    return frozenset({commit}).union(*(history(p) for p in COMMITS[commit].parents))


@cache
def merge_base(one: CommitId, other: CommitId) -> CommitId:
    """The newest commit that both descend from; these histories have one."""
    shared = history(one) & history(other)
    return next(c for c in shared if all(c == d or d in history(c) for d in shared))


@cache
def differing(one: CommitId, other: CommitId) -> tuple[str, ...]:
    before, after = tree(one), tree(other)
    return tuple(sorted(p for p in {*before, *after} if before.get(p) != after.get(p)))


@cache
def merged(base: CommitId, commit: CommitId) -> CommitId | None:
    """The merge of `commit` into `base`, by a person; None where they conflict."""
    root = merge_base(base, commit)
    files: dict[str, bytes] = {}
    for path in sorted({*tree(root), *tree(base), *tree(commit)}):
        sides = [tree(c).get(path) for c in (root, base, commit)]
        made = _three_way(*sides)
        if made is None:
            return None
        files[path] = made
    return make((base, commit), files, "merge", 0, "a person")


def by_person(parent: CommitId, changed: Mapping[str, bytes]) -> CommitId:
    return make((parent,), {**tree(parent), **changed}, "by hand", 0, "a person")


def persons(commits: Iterable[CommitId]) -> set[CommitId]:
    return {c for c in commits if COMMITS[c].by == "a person"}


def _three_way(root: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    """As git merges a file whose lines are replaced one for one: changes next to each other conflict."""
    if theirs in {ours, root}:
        return ours
    if ours == root:
        return theirs
    if root is None or ours is None or theirs is None:
        return None
    lines = [raw.split(b"\n") for raw in (root, ours, theirs)]
    if len({len(one) for one in lines}) > 1:
        return None
    changed = [{n for n, line in enumerate(one) if line != lines[0][n]} for one in lines[1:]]
    if any(abs(a - b) < 2 for a in changed[0] for b in changed[1]):
        return None
    return b"\n".join(lines[1][n] if n in changed[0] else lines[2][n] for n in range(len(lines[0])))
