"""Pushing a tip so that a doubtful answer is never taken for a yes, nor a rewound remote for a fresh one."""

from __future__ import annotations

from pathlib import Path

from state.errors import LogRollback, Transient
from state.git import CommitId
from state.log_branch import LogName
from state.log_read import ObjectStore, open_repository
from state.log_remote import LogRemote, Refused


class Replaced(Exception):
    """The remote has an entry that this writer did not append. `args[0]` says which."""


def push_tip(
    remote: LogRemote, path: Path, store: ObjectStore, name: LogName, *, tip: CommitId, pushed: CommitId | None
) -> None:
    """Bring the remote's branch up to `tip`; `pushed` is what it is known to have had. When it returns, it has `tip`.

    Raises:
        Refused: the server said no. Replaced: another writer's entries are there.
        LogRollback: the remote no longer has `pushed`. Nothing is sent, though a plain push would succeed.
        Transient, Denied: no usable answer, and the remote, asked again, does not have the tip.
    """

    def judge(there: CommitId | None) -> None:
        if there is not None and not store.contains(tip, there):
            raise Replaced(f"{remote.url} has {there}, which this writer did not append")
        if pushed is not None and not store.contains(there, pushed):
            raise LogRollback(f"{remote.url}: {name.ref} had {pushed}, is now at {there or 'no entry'}")

    repository = open_repository(path)  # its own handle: other threads append through another one meanwhile
    try:
        remote.push(repository, tip, name.ref, judge)
    except Refused as refusal:
        raise Refused(f"{remote.url} refused {tip}: {refusal}") from refusal
    except Transient:
        # Unknown whether it arrived: the remote's own branch decides.
        there = remote.branches(repository, name.ref).get(name.ref)
        if there == tip:
            return
        judge(there)
        raise
    finally:
        repository.free()
