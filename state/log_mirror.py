"""A second remote that has what the first one has: a witness on another host, and what a lost remote is restored from.

A mirror is never believed and never in the way: nothing is read from it but its tip, a push goes forward only, and what
is wrong with it is told without stopping the writer.
"""

from __future__ import annotations

from pathlib import Path

from state.errors import IntegrityError, LogRollback, Unavailable
from state.git import CommitId
from state.log_branch import LogName
from state.log_read import ObjectStore, open_repository
from state.log_remote import LogRemote, Refused


class LogMirror:
    """The mirror of one log branch."""

    def __init__(self, path: Path, name: LogName, url: str, credential_file: Path | None) -> None:
        """`path` is the log repository, which is there by the first `follow`. Raises ConfigError on an odd URL."""
        self._path = path
        self._name = name
        self._remote = LogRemote(url, credential_file)
        self._mirrored: CommitId | None = None

    def follow(self, tip: CommitId) -> None:
        """Bring the mirror's branch forward to `tip`, which is on the log's remote; nothing is sent if it has it.

        Raises:
            IntegrityError: the mirror has an entry that the log has not: one of both was rewritten.
            LogRollback: the mirror lost entries that it had a moment ago. Both send nothing.
            Unavailable: it refuses, or gives no usable answer. Denied: the credential does not suffice.
        """
        if tip == self._mirrored:
            return
        repository = open_repository(self._path)  # its own handle: the writer appends through another one meanwhile
        store = ObjectStore(repository)
        url, ref = self._remote.url, self._name.ref

        def judge(there: CommitId | None) -> None:
            if there is not None and not store.contains(tip, there):
                raise IntegrityError(
                    f"{url}: {ref} has {there}, which is not in the log that ends with {tip}: one of both was "
                    "rewritten; find out which by an anchor, and never force the other over it before"
                )
            if self._mirrored is not None and not store.contains(there, self._mirrored):
                raise LogRollback(f"{url}: {ref} had {self._mirrored}, is now at {there or 'no entry'}")

        try:
            self._remote.push(repository, tip, ref, judge)
        except Refused as refusal:
            raise Unavailable(f"{url}: does not take {tip}: {refusal}") from refusal
        finally:
            repository.free()
        self._mirrored = tip
