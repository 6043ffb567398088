"""What a writer stands on when it becomes active: its own branch, the remote's, and what it remembers, made one.

1. The remembered tip is part of the local branch: otherwise the branch was set back (LogRollback).
2. What this writer pushed is part of the remote branch: otherwise the remote was set back (LogRollback).
3. Local and remote: equal, or one continues the other (the longer one wins), or they have parted. Then another writer
   took over: the local tail is saved as an orphan, and the remote's branch is what counts.
4. Everything that will be stood on is verified, from the remembered tip on, or from the start where there is none.
5. Only then the local branch moves.
6. The refs of closed years that follow from what was verified, or that the remote has, are there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pygit2

from state import log_chain, log_years
from state.errors import IntegrityError, LedgerMoved, LogRollback, Transient
from state.git import CommitId
from state.log_branch import LogName
from state.log_chain import Standing
from state.log_read import ObjectStore, all_refs, target
from state.log_recovery import Tips, TipsFile, save_orphan
from state.log_remote import LogRemote, Refused


class Settled(NamedTuple):
    """Where the log stands (None: it has no entry yet), what is now remembered, and the closed years.

    `unpushed` are those years that the remote has not.
    """

    standing: Standing | None
    tips: Tips
    unpushed: dict[int, CommitId]


def tracking_ref(name: LogName) -> str:
    """The local ref that keeps what was fetched; a convenience for gc, never read as a fact."""
    return f"refs/ameide/remote/{name.file_stem}"


def settle(
    repository: pygit2.Repository, store: ObjectStore, name: LogName, tips: TipsFile, remote: LogRemote | None
) -> Settled:
    """Steps 1 to 6. Raises LogRollback, IntegrityError, Transient or Denied; then the branch has not moved."""
    seen = tips.load()
    local = target(repository, name.ref)
    known = local is not None or seen.tip is None
    if known and not _remembered(store, local, seen):
        raise _rolled_back(f"{repository.path}: {name.ref}", seen.tip, local)
    there, abroad = _fetched(repository, store, name, remote) if remote else (None, {})
    if remote and seen.pushed and not store.contains(there, seen.pushed):
        raise _rolled_back(f"{remote.url}: {name.ref}", seen.pushed, there)
    if not known and not _remembered(store, there, seen):
        # The whole local repository is gone: the remote may stand in for it only if it has all that is remembered.
        raise _rolled_back(f"{repository.path}: {name.ref}", seen.tip, None)
    goal, parted = _goal(store, local, there)
    years = log_years.beside(repository, name.ref)
    # A log that comes from the remote as a whole is verified as a whole; that finds its closed years, too.
    vouched = seen if local is not None else Tips()
    standing, closings = verified(store, name, goal, vouched, years) if goal else (None, {})
    if goal is not None and goal != local:
        if parted and local is not None:
            save_orphan(repository, store, local)
            log_years.forget_lost(repository, name, local, goal, seen.pushed)
            seen = replace(seen, orphan=local)
        tips.save(replace(seen, moving_to=goal))
        _move(repository, name, local, goal)
    made = replace(
        seen,
        tip=goal,
        key=standing.key if standing else None,
        pushed=there or seen.pushed,
        moving_to=None,
    )
    tips.save(made)
    for year, last in closings.items():
        log_years.mark(repository, name, year, last)
    years = log_years.beside(repository, name.ref)
    for year, last in abroad.items():
        if year not in years and store.contains(goal, last):
            log_years.mark(repository, name, year, last)
    unpushed = {year: last for year, last in years.items() if abroad.get(year) != last} if remote else {}
    return Settled(standing, made, unpushed)


def verified(
    store: ObjectStore, name: LogName, goal: CommitId, seen: Tips, years: log_years.Years
) -> tuple[Standing, dict[int, CommitId]]:
    """Check all entries up to `goal` that are not vouched for by `seen`. Raises IntegrityError at the first fault.

    `years` are those that were closed before, as far as it is known. Returned with what stands at the end: the years
    that the checked entries close.
    """
    start = seen.tip if seen.key else None
    path = store.path(goal, start)
    standing: Standing | None = None
    closings: dict[int, CommitId] = {}
    if not path.from_root and start is not None and seen.key is not None:
        ahead = {start, *path}
        closed = max((year for year, last in years.items() if last not in ahead), default=None)
        standing = log_chain.assume(store.entry(start), start)._replace(key=seen.key)
        standing = standing._replace(closed=standing.closed if standing.closed is not None else closed)
    for oid in path:
        commit = store.entry(oid)
        standing, problems = log_chain.advance(standing, commit, oid, name)
        if (year := log_chain.closes(commit.entry)) is not None and commit.parent is not None:
            closings[year] = commit.parent
        if problems:
            raise IntegrityError(f"log entry {commit.entry.sequence} ({oid}): {'; '.join(problems)}")
        store.check_blobs(commit)
    if standing is None:
        raise IntegrityError(f"{name.ref}: no entry leads to {goal}")
    return standing, closings


def push_orphans(repository: pygit2.Repository, remote: LogRemote) -> tuple[str, ...]:
    """Bring saved tails to the remote, best effort. Returns the refs that it did not take."""
    prefix = "refs/heads/log-orphan/"
    mine = {r: target(repository, r) for r in all_refs(repository) if r.startswith(prefix)}
    if not mine:
        return ()
    try:
        there = remote.branches(repository, prefix)
    except Transient:
        return tuple(sorted(mine))
    left = []
    for ref, tip in sorted(mine.items()):
        if tip is None or there.get(ref) == tip:
            continue
        try:
            remote.push(repository, tip, ref)
        except (Refused, Transient):
            left.append(ref)
    return tuple(left)


def _remembered(store: ObjectStore, tip: CommitId | None, seen: Tips) -> bool:
    if seen.tip is None or store.contains(tip, seen.tip):
        return True
    return seen.moving_to is not None and store.contains(tip, seen.moving_to)


def _fetched(
    repository: pygit2.Repository, store: ObjectStore, name: LogName, remote: LogRemote
) -> tuple[CommitId | None, dict[int, CommitId]]:
    """The remote's tip, all that leads to it being here, and the closed years that the remote has."""
    refs = remote.branches(repository, name.ref)
    there = refs.get(name.ref)
    if there is None:
        return None, {}
    remote.fetch(repository, name.ref, tracking_ref(name))
    got = target(repository, tracking_ref(name))
    if got is None or not store.contains(got, there):
        raise IntegrityError(f"{remote.url}: {name.ref} was announced at {there}, the fetch brought {got}")
    return got, log_years.among(refs, name.ref)


def _goal(store: ObjectStore, local: CommitId | None, there: CommitId | None) -> tuple[CommitId | None, bool]:
    if there is None or local == there:
        return local, False
    if local is None:
        return there, False
    if store.contains(local, there):
        return local, False
    return there, not store.contains(there, local)


def _move(repository: pygit2.Repository, name: LogName, local: CommitId | None, goal: CommitId) -> None:
    try:
        if local is None:
            repository.references.create(name.ref, goal)
            return
        reference = repository.references[name.ref]
        if str(reference.target) == local:
            reference.set_target(goal)
            return
    except (pygit2.GitError, OSError, ValueError) as error:
        raise LedgerMoved(f"{name.ref}: could not be moved from {local} to {goal}: {error}") from error
    raise LedgerMoved(f"{name.ref}: was at {local} a moment ago, is now at {reference.target}; activate again")


def _rolled_back(where: str, remembered: CommitId | None, now: CommitId | None) -> LogRollback:
    return LogRollback(
        f"{where} lost entries: {remembered} was there before, the tip is now {now or 'missing'} without it. "
        "Find out who moved the branch; restore it from the remote, a mirror or log-orphan, or remove the "
        "remembered tip by hand if the loss is understood"
    )
