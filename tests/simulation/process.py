"""One daemon of the simulation: the product's real loop, planner, applier and log over simulated ports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.events import Emitter
from reconciler.looking import Rules, Sources
from reconciler.loop import Loop
from reconciler.passes import PassReport, Reporting, Repository
from state import sshsig
from state.errors import Fenced, LogRollback
from state.log import GitLog
from tests.simulation import ports
from tests.simulation.faults import Crash, Weather
from tests.simulation.registry_port import SimRegistry, SimVerifier
from tests.simulation.world import REPOSITORY_ID

KEY: Final = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)


class Host(ports.Steps, Protocol):
    """What a process needs of the simulation that it runs in."""

    directory: Path
    rng: Random
    weather: Weather
    trace: list[str]
    running: list[str]
    passes: int

    def rules(self, name: str) -> Rules: ...


class _NoLock:
    """The machine's lock of the log, left out: each process is on a machine of its own, so that the epoch must do."""

    def __init__(self, *_: object) -> None: ...

    def acquire(self) -> None: ...

    def release(self) -> None: ...


@contextmanager
def own_machines() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("state.log.WriterLock", _NoLock)
        yield


class Process:
    """One daemon: alive from its activation to its death."""

    def __init__(self, sim: Host, name: str) -> None:
        self.sim, self.name = sim, name
        self.alive = False
        self.report: PassReport | None = None

    def start(self) -> None:
        sim, name = self.sim, self.name
        self.log = GitLog(
            sim.directory / "log.git",
            REPOSITORY_ID,
            "reconciler",
            sign=lambda payload: sshsig.sign(KEY, payload),
            public_key=sshsig.PublicKey.of(KEY).line,
            writer=f"writer-{name}",
            now=lambda: sim.world.time.wall,
            tips_dir=sim.directory / f"tips-{name}",
            fsync=False,
        )
        epoch = self.log.activate().epoch
        sim.check.activated(name, epoch)
        clock, chance = ports.SimClock(sim.world), ports.SimRandom(sim.rng)
        registry = SimRegistry(sim, name)
        registry.staleness = sim.weather.stale
        sources = Sources(
            forge=ports.SimForge(sim, name),
            git=ports.SimGit(sim, name),
            gitops=ports.SimGitOps(sim, name),
            registry=registry,
            verifier=SimVerifier(sim, name),
            executor=ports.SimExecutor(sim.rng),
            clock=clock,
            random=chance,
        )
        metrics = ports.SimMetrics()
        emit = Emitter(lambda _record: None, clock)
        reporting = Reporting(emit, metrics, ports.SimStatus(sim, name))
        repository = Repository(
            "shop",
            sources,
            registry,
            ports.SimLog(sim, name, self.log),
            reporting,
            acceptances=ports.SimAcceptances(sim, name),
        )
        self.loop = Loop([repository], sim.rules, clock, chance, emit=emit, metrics=metrics, on_report=self._reported)
        self.alive = True
        sim.trace.append(f"{name} begins epoch {epoch}")

    def _reported(self, _name: str, report: PassReport) -> None:
        self.report = report
        self.sim.passes += 1

    def step(self) -> float:
        """One step of the loop; seconds until the next one is due. The process may die in it."""
        self.report = None
        self.sim.check.pass_begins(self.name)
        self.sim.running.append(self.name)
        try:
            return self.loop.step()
        except (Crash, Fenced, LogRollback) as death:
            self.alive = False
            self.sim.trace.append(f"{self.name} dies: {type(death).__name__}: {death}")
            return 0.0
        finally:
            self.sim.running.pop()
            self.sim.check.gone(self.name)
