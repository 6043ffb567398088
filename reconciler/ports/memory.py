"""What is remembered and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from state.canonical import Json
from state.entry import Kind, Logged
from state.git import CommitId
from state.quarantine import Acceptance


class LogStore(Protocol):
    """The append-only log of one (repository, role). Appends are compare-and-swap, signed and fsynced."""

    def entries(self) -> Iterable[Logged]:
        """Every entry, oldest first."""

    def read(self, entry: CommitId) -> Logged:
        """One entry by its id. Raises IntegrityError if it is not one."""

    def blob(self, oid: str) -> bytes:
        """An observation blob. Raises IntegrityError if it is missing or too large."""

    def tip(self) -> CommitId | None:
        """The id of the newest entry."""

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        """Append one entry after the tip this writer knows; when it returns, the entry is on disk.

        Raises LedgerMoved if another writer appended first, Fenced if this writer's epoch is over.
        """

    def confirm(self) -> None:
        """Pass if the branch here still ends with the entry that this writer appended last. Cheap: one ref is read.

        Raises LedgerMoved or Fenced if another writer appended, LogRollback if the branch lost entries.
        """

    def push(self) -> bool:
        """Bring the remote up to the tip; False where no remote is configured.

        Raises Transient if the remote does not answer, Fenced if it refuses (the tail is saved first).
        """


class Acceptances(Protocol):
    """What operators handed over about quarantined heads (`ameide head accept`), for one repository."""

    def pending(self) -> Sequence[Acceptance]:
        """What was handed over and not taken up yet. Raises Terminal if it cannot be believed."""

    def done(self, acceptance: Acceptance) -> None:
        """Forget one that was taken up, or that came too late."""


class Metrics(Protocol):
    """Numbers about this process, with a fixed set of names and bounded labels."""

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add one duration to a histogram."""

    def timed(self, name: str, **labels: str) -> AbstractContextManager[None]:
        """Observe how long the block takes."""
