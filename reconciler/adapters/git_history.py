"""The commit graph: all merge bases of two commits, and first-parent history.

libgit2 gives one merge base where there may be several, and its answers with shallow clones say nothing of what could
be hidden. The walk here is that of git's `merge-base --all` (commit-reach.c, paint_down_to_common): commit dates, which
whoever makes a commit can choose, only order the work and decide nothing.
Commits are read raw, so neither replacements nor grafts apply; what was read is kept by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path
from typing import Final, TypeAlias

import pygit2
from pygit2.enums import ObjectType

from state.errors import IntegrityError, Terminal
from state.git import CommitId

_PARENTS: Final = re.compile(rb"tree [0-9a-f]{40}\n((?:parent [0-9a-f]{40}\n)*)")
_COMMITTED: Final = re.compile(rb"\ncommitter [^\n]*> (-?[0-9]{1,18}) ")
_KNOWN_MAX: Final = 1_000_000
_SHALLOW_MAX_BYTES: Final = 64 * 1024 * 1024

_LEFT, _RIGHT, _STALE, _RESULT, _QUEUED = 1, 2, 4, 8, 16
_BOTH: Final = _LEFT | _RIGHT

_Known: TypeAlias = "tuple[int, tuple[str, ...]]"


class _Line:
    """Commits passed from `start` on, one parent each, as far as was asked; `end` is the last."""

    def __init__(self, start: str) -> None:
        self.start = self.end = start
        self.passed = {start}


class History:
    """The commits of one repository. Not for use from several threads at once."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._odb = repository.odb
        self._known: dict[str, _Known] = {}
        self._boundary = _boundary(Path(repository.path))
        self._line = _Line("")

    @property
    def shallow(self) -> bool:
        return bool(self._boundary)

    def parents(self, commit: str) -> tuple[str, ...]:
        """Ids of the parents; none at the boundary of a shallow clone."""
        return self._commit(commit)[1]

    def merge_bases(self, left: CommitId, right: CommitId) -> tuple[CommitId, ...]:
        """Every best common ancestor, ascending; empty if there is none, or if one could be hidden.

        In a shallow clone an ancestor could be hidden where the walk reaches the boundary before it reaches a common
        ancestor: then nothing is known for sure, and the answer is that there is none.
        """
        if left == right:
            return (left,)
        unique = self._on_one_line(left, right)
        if unique is not None:
            return (CommitId(unique),)
        results, flags = self._paint(left, right)
        if any(flags.get(b, 0) and not flags[b] & (_STALE | _RESULT) for b in self._boundary):
            return ()
        return tuple(sorted(CommitId(r) for r in results if not flags[r] & _STALE))

    def _on_one_line(self, left: str, right: str) -> str | None:
        """The merge base where both sides are lines of single parents down to where they meet, else None.

        Two such lines are the same from their first common commit on, so there is no other best one, nor a hidden one.
        Dates only order the steps. The line of `left` is kept, since many heads are compared with one base.
        """
        if self._line.start != left:
            self._line = _Line(left)
        line, seen, at = self._line, set[str](), right
        while at not in line.passed:
            seen.add(at)
            date, parents = self._commit(at)
            while line.end not in seen and self._commit(line.end)[0] > date:
                above = self._commit(line.end)[1]
                if len(above) != 1:
                    return None
                line.end = above[0]
                line.passed.add(line.end)
            if line.end in seen:
                return line.end
            if len(parents) != 1:
                return None
            at = parents[0]
        return at

    def first_parents(self, commit: CommitId) -> Iterator[CommitId]:
        """`commit`, its first parent, and so on to the root or the boundary."""
        at: str | None = commit
        while at is not None:
            yield CommitId(at)
            at = next(iter(self.parents(at)), None)

    def nearest_first_parent(self, base: CommitId, commit: CommitId) -> CommitId | None:
        """The newest commit of `base`'s first-parent history that `commit` is, or descends from."""
        chain = {c: n for n, c in enumerate(self.first_parents(base))}
        found: list[int] = []
        todo, seen = [str(commit)], {str(commit)}
        while todo:
            at = todo.pop()
            if (position := chain.get(CommitId(at))) is not None:
                found.append(position)
                continue
            for parent in self.parents(at):
                if parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return next((c for c, n in chain.items() if n == min(found)), None) if found else None

    def _paint(self, left: str, right: str) -> tuple[list[str], dict[str, int]]:
        """Colour ancestors from both sides, newest first, until all that is left to visit is below a result."""
        commit = self._commit
        flags = {left: _LEFT | _QUEUED, right: _RIGHT | _QUEUED}
        heap = [(-commit(left)[0], left), (-commit(right)[0], right)]
        heap.sort()
        results: list[str] = []
        fresh = 2  # queued commits that are not stale
        while heap and (fresh or len(results) > 1):  # Several results: go on, one may turn out to be below another.
            _, at = heappop(heap)
            colour = flags[at] & (_BOTH | _STALE)
            flags[at] &= ~_QUEUED
            if not colour & _STALE:
                fresh -= 1
                if colour == _BOTH:
                    if not flags[at] & _RESULT:
                        flags[at] |= _RESULT
                        results.append(at)
                    colour |= _STALE
            for parent in commit(at)[1]:
                old = flags.get(parent, 0)
                if old & colour == colour:
                    continue
                new = flags[parent] = old | colour
                if not old & _QUEUED:
                    flags[parent] |= _QUEUED
                    heappush(heap, (-commit(parent)[0], parent))
                    fresh += not new & _STALE
                elif new & _STALE and not old & _STALE:
                    fresh -= 1
        return results, flags

    def _commit(self, commit: str) -> _Known:
        known = self._known.get(commit)
        if known is None:
            try:
                kind, raw = self._odb.read(pygit2.Oid(hex=commit))
            except KeyError:
                raise Terminal(
                    f"commit {commit} is not in this repository, so its history is cut off; fetch the full history"
                    " (actions/checkout: `fetch-depth: 0`)"
                ) from None
            found = _PARENTS.match(raw)
            if kind != ObjectType.COMMIT or not found:
                raise IntegrityError(f"{commit}: expected a commit, got another object")
            date = _COMMITTED.search(raw, found.end())
            parents = () if commit in self._boundary else tuple(found[1].decode().replace("parent ", "").split())
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[commit] = (int(date[1]) if date else 0, parents)
        return known


def _boundary(git_dir: Path) -> frozenset[str]:
    """The commits whose parents a shallow clone left out. Source: gitformat-shallow."""
    for file in (git_dir / "shallow", _common_dir(git_dir) / "shallow"):
        try:
            with file.open("rb") as opened:
                raw = opened.read(_SHALLOW_MAX_BYTES + 1)
        except FileNotFoundError:
            continue
        if len(raw) > _SHALLOW_MAX_BYTES:
            raise Terminal(f"{file}: expected at most {_SHALLOW_MAX_BYTES} bytes")
        return frozenset(CommitId(line) for line in raw.decode().split())
    return frozenset()


def _common_dir(git_dir: Path) -> Path:
    """Where a linked work tree keeps what it shares. Source: gitrepository-layout, commondir."""
    try:
        return git_dir / (git_dir / "commondir").read_text().strip()
    except FileNotFoundError:
        return git_dir
