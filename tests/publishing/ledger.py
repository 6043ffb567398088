"""The log in memory, with the promises of `state.log`.

* An append is local, durable on its host, and follows exactly the entry that this writer knew as the newest.
* A push is a fast-forward of the remote; a writer that meets entries which it did not append is fenced for good.
* Activation takes the longer of local and remote, the remote where they have parted, and begins an epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from state.canonical import Json
from state.entry import Entry, Kind, Logged, decode
from state.errors import Fenced, Unavailable
from state.git import CommitId

if TYPE_CHECKING:
    from tests.publishing.gate import Gate
    from tests.publishing.world import World

AT: Final = "2026-01-31T23:59:59Z"


class _Node(NamedTuple):
    parent: CommitId | None
    entry: Entry
    meaning: str


_NODES: Final[dict[CommitId, _Node]] = {}


def make(parent: CommitId | None, kind: Kind, body: Mapping[str, Json], writer: str) -> CommitId:
    before = _NODES[parent].entry if parent is not None else None
    epoch = (before.epoch if before else 0) + (kind is Kind.EPOCH)
    raw = Entry(kind, before.sequence + 1 if before else 0, epoch, writer, AT, body).encode()
    oid = CommitId(hashlib.sha1(f"{parent}".encode() + raw, usedforsecurity=False).hexdigest())
    _NODES[oid] = _Node(parent, decode(raw), _meaning(parent, kind, body))
    return oid


def meaning(tip: CommitId | None) -> str:
    """Equal for logs that say the same, whoever wrote them and in how many epochs."""
    return _NODES[tip].meaning if tip is not None else ""


def _meaning(parent: CommitId | None, kind: Kind, body: Mapping[str, Json]) -> str:
    before = meaning(parent)
    if kind is Kind.EPOCH:
        return before
    intent = body.get("intent")
    said = {**body, "intent": meaning(CommitId(intent))} if isinstance(intent, str) else body
    return hashlib.sha1(f"{before} {kind} {said!r}".encode(), usedforsecurity=False).hexdigest()


@cache
def path(tip: CommitId | None) -> tuple[Logged, ...]:
    """Every entry up to `tip`, oldest first."""
    if tip is None:
        return ()
    node = _NODES[tip]
    return (*path(node.parent), Logged(tip, node.entry))


def contains(tip: CommitId | None, entry: CommitId | None) -> bool:
    if entry is None:
        return True
    if tip is None:
        return False
    number = _NODES[entry].entry.sequence
    entries = path(tip)
    return number < len(entries) and entries[number].id == entry


class Log:
    """A `LogStore` of one process."""

    def __init__(self, gate: Gate, host: str, writer: str) -> None:
        self._gate = gate
        self._host = host
        self._writer = writer
        self._tip: CommitId | None = None
        self._pushed: CommitId | None = None
        self._stopped: str | None = None

    def activate(self) -> None:
        def fetched(world: World) -> CommitId | None:
            local = world.local.get(self._host)
            world.local[self._host] = self._tip = local if contains(local, world.remote) else world.remote
            return world.remote

        self._pushed = self._gate.read("log.fetch", fetched)
        self._append(Kind.EPOCH, {"orphan": None, "writer": self._writer})
        self.push()

    def entries(self) -> Iterable[Logged]:
        return path(self._tip)

    def read(self, entry: CommitId) -> Logged:
        return Logged(entry, _NODES[entry].entry)

    def blob(self, oid: str) -> bytes:
        raise AssertionError(f"nothing here records observations, and {oid} was asked for")

    def tip(self) -> CommitId | None:
        return self._tip

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        assert not blobs
        return self._append(kind, body)

    def confirm(self) -> None:
        self._must_run()
        self._gate.read("log.confirm", lambda w: self._swap(w.local.get(self._host)))

    def push(self) -> bool:
        self._must_run()
        if self._tip != self._pushed:
            self._gate.write("log.push", self._push, asks_again=True)
        return True

    # --- inside

    def _append(self, kind: Kind, body: Mapping[str, Json]) -> Logged:
        self._must_run()

        def effect() -> CommitId:
            world = self._gate.world
            self._swap(world.local.get(self._host))
            world.local[self._host] = made = make(self._tip, kind, body, self._writer)
            return made

        try:
            self._tip = made = self._gate.write(f"log.append {kind.value}", effect, outside=False)
        except Unavailable:
            if self._gate.world.local.get(self._host) != self._tip:
                self._stopped = "the last entry may or may not be on disk"
            raise
        return self.read(made)

    def _swap(self, now: CommitId | None) -> None:
        if now != self._tip:
            self._stopped = f"expected the tip {self._tip}, got {now}"
            raise Fenced(f"log: {self._stopped}")

    def _push(self) -> None:
        world = self._gate.world
        self._judge(world.remote)
        world.remote = self._pushed = self._tip

    def _judge(self, there: CommitId | None) -> None:
        if not contains(self._tip, there):
            self._stopped = f"the remote has {there}, which this writer did not append"
            raise Fenced(f"log: {self._stopped}")

    def _must_run(self) -> None:
        if self._stopped is not None:
            raise Fenced(f"log: {self._stopped}; activate again")


def since(tip: CommitId | None, wanted: Callable[[Entry], bool]) -> Iterator[Logged]:
    """The entries of a log that are `wanted`, oldest first."""
    return (logged for logged in path(tip) if wanted(logged.entry))
