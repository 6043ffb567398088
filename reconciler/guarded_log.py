"""A log that is only written while this process may act: the lease comes before the log's own fences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from reconciler.ports import LogStore
from state.canonical import Json
from state.entry import Kind, Logged
from state.git import CommitId


class GuardedLog(NamedTuple):
    """Implements `ports.LogStore`. `may_act` raises Fenced where this process may not act any more."""

    log: LogStore
    may_act: Callable[[], None]

    def entries(self) -> Iterable[Logged]:
        return self.log.entries()

    def read(self, entry: CommitId) -> Logged:
        return self.log.read(entry)

    def blob(self, oid: str) -> bytes:
        return self.log.blob(oid)

    def tip(self) -> CommitId | None:
        return self.log.tip()

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        self.may_act()
        return self.log.append(kind, body, blobs)

    def confirm(self) -> None:
        self.may_act()
        self.log.confirm()

    def push(self) -> bool:
        self.may_act()
        return self.log.push()
