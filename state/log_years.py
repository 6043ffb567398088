"""Closed years: refs beside a log's branch, each at the last entry of a year, so that one year can be taken by name.

The chain goes on unbroken: the first entry of a new year says which year it closes, and `<branch>-<year>` names the
entry before it. What counts is that signed entry; the ref follows from it, is made once, and is never moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pygit2

from state.errors import IntegrityError, Terminal, Unavailable
from state.git import CommitId, RefName
from state.log_branch import LogName
from state.log_chain import closes, year_of
from state.log_read import ObjectStore, Span, all_refs, open_repository, target
from state.log_remote import LogRemote, Refused

Years = Mapping[int, CommitId]
"""A closed year → its last entry."""

_YEAR: Final = re.compile(r"-([0-9]{4})")


def ref_of(branch: str, year: int) -> RefName:
    """The ref of a closed year of the log whose branch (in full) is `branch`."""
    return RefName(f"{branch}-{year:04}")


def among(refs: Mapping[str, CommitId], branch: str) -> dict[int, CommitId]:
    """Those of `refs` that are closed years of `branch`, oldest first."""
    found = {}
    for ref, tip in refs.items():
        year = _YEAR.fullmatch(ref.removeprefix(branch)) if ref.startswith(branch) else None
        if year is not None:
            found[int(year[1])] = tip
    return dict(sorted(found.items()))


def beside(repository: pygit2.Repository, branch: str) -> dict[int, CommitId]:
    """The closed years of `branch` that this repository has, oldest first; those of `origin` for a clone's own branch.

    Raises IntegrityError on a ref that is symbolic or cannot be read."""
    for home in (branch, branch.replace("refs/heads/", "refs/remotes/origin/", 1)):
        refs = [r for r in all_refs(repository) if r.startswith(f"{home}-")]
        if found := among({ref: tip for ref in refs if (tip := target(repository, ref)) is not None}, home):
            return found
    return {}


def spans(repository: pygit2.Repository, branches: Iterable[str], year: int) -> dict[str, Span]:
    """That year of each of these logs that has it, by the refs that are here.

    Raises Terminal if none has it, IntegrityError if a tip or a ref cannot be read.
    """
    found, known = {}, []
    for branch in branches:
        years = beside(repository, branch)
        tip = target(repository, branch)
        newest = max(years, default=None)
        running = year_of(ObjectStore(repository).entry(tip).entry.at) if tip is not None else None
        if running is not None and newest is not None:
            running = max(running, newest + 1)
        if year in years or year == running:
            previous = max((y for y in years if y < year), default=None)
            found[branch] = Span(years[previous] if previous is not None else None, years.get(year), year, previous)
        closed = ", ".join(map(str, years)) or "no closed year"
        known.append(f"{branch} has {closed} and the running one, {running}")
    if not found:
        raise Terminal(
            f"{repository.path}: no log has a year {year}: {'; '.join(known)}; fetch the refs of closed years"
        )
    return found


def mark(repository: pygit2.Repository, name: LogName, year: int, last: CommitId) -> None:
    """Have the ref of a closed year at `last`.

    Raises IntegrityError if it is elsewhere: it is left as it is. Unavailable if it cannot be written.
    """
    ref = ref_of(name.ref, year)
    there = target(repository, ref)
    if there is None:
        try:
            repository.references.create(ref, last)
        except (pygit2.GitError, OSError, ValueError) as error:
            raise Unavailable(f"{ref}: the year cannot be marked: {error}") from error
    elif there != last:
        raise IntegrityError(_elsewhere(repository.path, ref, there, last))


def forget_lost(
    repository: pygit2.Repository, name: LogName, lost: CommitId, goal: CommitId, common: CommitId | None
) -> None:
    """Drop the refs of years that only the tail up to `lost` closes; the log goes on to `goal` without that tail.

    What stands up to `common` is part of both. No remote has such a ref, since the entry that closes goes before it.
    """
    store = ObjectStore(repository)
    for oid in store.lineage(lost):
        if oid == common:
            return
        commit = store.entry(oid)
        year = closes(commit.entry)
        if year is None or store.contains(goal, oid):
            continue
        ref = ref_of(name.ref, year)
        if target(repository, ref) == commit.parent:
            repository.references.delete(ref)


def push(path: Path, remote: LogRemote, branch: str, years: Years) -> None:
    """Have these years of the log in `path` on a remote that has later entries; one that is there is never moved.

    Raises IntegrityError if one is elsewhere there. Unavailable, Denied: no usable answer, or it does not take one.
    """
    if not years:
        return
    repository = open_repository(path)  # its own handle: the writer appends through another one meanwhile
    try:
        there = among(remote.branches(repository, branch), branch)
        for year, last in years.items():
            ref = ref_of(branch, year)
            if there.get(year, last) != last:
                raise IntegrityError(_elsewhere(remote.url, ref, there[year], last))
            if year not in there:
                remote.push(repository, last, ref)
    except Refused as refusal:
        raise Unavailable(f"{remote.url}: does not take the end of a closed year: {refusal}") from refusal
    finally:
        repository.free()


def _elsewhere(where: str, ref: str, there: CommitId, last: CommitId) -> str:
    return (
        f"{where}: {ref} is at {there}, but {last} is the last entry of that year: it was moved or made by somebody "
        "else; find out by whom, and put it back"
    )
