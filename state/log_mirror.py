"""A second remote that has what the first one has: a witness on another host, and what a lost remote is restored from.

A mirror is never believed and never in the way: nothing is read from it but its tip, a push goes forward only, and what
is wrong with it is told without stopping the writer.
"""

from __future__ import annotations

from pathlib import Path

from state import log_years
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
        self._years: set[int] = set()
        """The closed years that it has."""

    def follow(self, tip: CommitId) -> None:
        """Bring the mirror's branch forward to `tip`, which is on the log's remote; nothing is sent if it has it.

        The closed years that are part of it follow. Raises:
            IntegrityError: the mirror has an entry that the log has not, or a year that ends elsewhere: one of both was
                rewritten.
            LogRollback: the mirror lost entries that it had a moment ago. Both send nothing.
            Unavailable: it refuses, or gives no usable answer. Denied: the credential does not suffice.
        """
        if tip != self._mirrored:
            self._bring(tip)
            self._mirrored = tip
        years = self._years_up_to(tip)
        log_years.push(self._path, self._remote, self._name.ref, years)
        self._years.update(years)

    def _years_up_to(self, tip: CommitId) -> dict[int, CommitId]:
        """Those to bring. Appends go on, so the newest one may have been closed after `tip`: that one can wait."""
        repository = open_repository(self._path)
        try:
            years = log_years.beside(repository, self._name.ref)
            store = ObjectStore(repository)
            end = store.entry(tip).entry.sequence
            return {
                year: last
                for year, last in years.items()
                if year not in self._years and store.entry(last).entry.sequence < end
            }
        finally:
            repository.free()

    def _bring(self, tip: CommitId) -> None:
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
