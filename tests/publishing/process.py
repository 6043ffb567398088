"""One process: the product's `Publisher` with its real parts, given its passes as `reconciler.passes` gives them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, cast

from reconciler.events import Emitter
from reconciler.publishing.lanes import Lane
from reconciler.publishing.publisher import Publisher, PublishTargets
from reconciler.record import Recorder
from state.canonical import Json
from state.entry import Kind
from state.errors import Denied, Transient
from state.observed import Mode, Policy, Snapshot
from state.oci import Digest
from state.quarantine import Breach
from tests.publishing import content, ports
from tests.publishing.gate import Gate
from tests.publishing.ledger import Log

RULES: Final = Policy(Digest.of(b"rules"), (content.MAIN, content.NEXT), hold_label=content.HOLD)
RELEASED: Final = content.RELEASES


class Process:
    """Alive from its activation to its death. `host` is the machine: what is on it outlives the process."""

    def __init__(self, gate: Gate, host: str) -> None:
        self.gate = gate
        self._log = Log(gate, host, f"writer-{host}")
        self._log.activate()
        self._recorder = recorder = Recorder.opened(self._log)
        self._forge = ports.MemoryForge(gate)
        self._registry = ports.MemoryRegistry(gate)
        self._inventory = ports.MemoryInventory(gate)
        clock = ports.MemoryClock(gate)
        lane = Lane(content.TARGET, ports.MemoryBranches(gate, host), ports.MemoryChanges(gate))
        targets = PublishTargets(
            repository_id=content.REPOSITORY_ID,
            markers=ports.MemoryMarkers(gate),
            signers=ports.signers(gate),
            lanes={content.TARGET.name: lane},
            sets=cast("Any", ports.MemorySets(gate)),
            inventory=self._inventory.inventory,
            forge=self._forge,
            registry=self._registry,
            executor=ports.InOrder(),
            clock=clock,
        )
        self.publisher = Publisher(targets, recorder, self._log)
        self._emit = Emitter(lambda _: None, clock)

    def run_pass(self) -> None:
        """Raises what keeps a whole pass from happening, as the product's does."""
        self.publisher.take_markers(self._emit)
        listing = self._forge.open_pull_requests()
        inventory = self._inventory.inventory()
        self._fill()
        history = self._recorder.history
        seen = Snapshot(
            content.REPOSITORY_ID,
            Mode.PUBLISH,
            suspended=False,
            policy=RULES,
            listing=listing,
            inventory=inventory,
            released=history.released,
        )
        self.publisher.publish(seen, self._emit, lambda: False)
        with suppress(Transient, Denied):  # told; the next pass pushes
            self._log.push()

    def _fill(self) -> None:
        """The other part of a pass, as far as publishing depends on it: moved tags are found."""
        history = self._recorder.history
        tags = self.gate.read("registry.sweep", lambda w: dict(w.tags))
        for head, release in RELEASED.items():
            moved = [
                Breach(i.repository, i.digest, tags.get((i.repository, head)))
                for i in release.images
                if tags.get((i.repository, head)) != i.digest
            ]
            if moved and head not in history.quarantined:
                rows: list[Json] = [b.to_json() for b in moved]
                self._recorder.append(Kind.QUARANTINE, {"breaches": rows, "head": head, "pull_requests": []})
