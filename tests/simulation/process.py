"""One daemon of the simulation: the product's real loop, planner, applier and log over simulated ports."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reconciler.events import Emitter
from reconciler.evidence.release_check import ReleaseSets
from reconciler.looking import Rules, Sources
from reconciler.loop import Loop
from reconciler.passes import PassReport, Reporting, Repository
from state import sshsig
from state.errors import Fenced, LogRollback
from state.log import GitLog
from tests.simulation import ports
from tests.simulation.content import HOST, RELEASES
from tests.simulation.faults import Crash, Weather
from tests.simulation.publishing import OWN, publish_targets, release_targets
from tests.simulation.registry_port import SimVerifier, WatchedRegistry
from tests.simulation.wire.clients import clients
from tests.simulation.wire.forge import FORGE_HOST, adapters
from tests.simulation.wire.registry import AUTH_HOST
from tests.simulation.world import REPOSITORY_ID

KEY: Final = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)


class Host(ports.Steps, Protocol):
    """What a process needs of the simulation that it runs in."""

    directory: Path
    weather: Weather
    trace: list[str]
    running: list[str]
    passes: int

    def rules(self, name: str) -> Rules: ...


_POISON = {"auths": {HOST: {"auth": base64.b64encode(b"poison:poison").decode()}}}


class _NoLock:
    """The machine's lock of the log, left out: each process is on a machine of its own, so that the epoch must do."""

    def __init__(self, *_: object) -> None: ...

    def acquire(self) -> None: ...

    def release(self) -> None: ...


@contextmanager
def own_machines(directory: Path) -> Iterator[None]:
    """Each process on a machine of its own; and where other programs look for credentials and proxies, some are."""
    home = directory / "home"
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text(json.dumps(_POISON))
    hosts = (HOST.partition(":")[0], AUTH_HOST, FORGE_HOST)
    (home / ".netrc").write_text("".join(f"machine {host} login poison password poison\n" for host in hosts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("state.log.WriterLock", _NoLock)
        patch.setenv("HOME", str(home))
        patch.setenv("NETRC", str(home / ".netrc"))
        patch.setenv("DOCKER_CONFIG", str(home / ".docker"))
        for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            patch.setenv(proxy, "http://poison.example:3128")
        yield


class Process:
    """One daemon: alive from its activation to its death."""

    def __init__(self, sim: Host, name: str) -> None:
        self.sim, self.name = sim, name
        self.rng = Random(name)
        """The product's own chance, and the order in which its threads come to their turn."""
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
        clock, chance = ports.SimClock(sim.world), ports.SimRandom(self.rng)
        made, executor = clients(sim, name, clock, chance), ports.SimExecutor(self.rng)
        registry = WatchedRegistry(made.registry, sim.check, name)
        reader, status = adapters(sim.world.forge, made.forge, ports.SimRefs(sim, name))
        sources = Sources(
            forge=ports.WatchedForge(reader, sim.check, name),
            git=ports.SimGit(sim, name),
            gitops=ports.SimGitOps(sim, name),
            registry=registry,
            verifier=SimVerifier(sim, name),
            executor=executor,
            clock=clock,
            random=chance,
            releases=ReleaseSets(registry, RELEASES, OWN) if sim.world.releasing else None,
        )
        metrics = ports.SimMetrics()
        emit = Emitter(lambda record: sim.check.wire.told("a log line", json.dumps(dict(record))), clock)
        reporting = Reporting(emit, metrics, status)
        self.repository = Repository(
            "shop",
            sources,
            registry,
            ports.SimLog(sim, name, self.log, lambda made, blobs: sim.check.appended(name, made, blobs)),
            reporting,
            acceptances=ports.SimAcceptances(sim, name),
            release=release_targets(sources, registry) if sim.world.releasing else None,
            publish=publish_targets(sim, name, sources, registry) if sim.world.releasing else None,
        )
        self.loop = Loop(
            [self.repository], sim.rules, clock, chance, emit=emit, metrics=metrics, on_report=self._reported
        )
        self.alive = True
        sim.trace.append(f"{name} begins epoch {epoch}")

    def _reported(self, _name: str, report: PassReport) -> None:
        self.report = report
        self.sim.passes += 1
        told = self.sim.check.wire.told
        told("a report", json.dumps(report.to_json("shop")))
        if (shown := self.repository.shown) is not None:
            published = shown.published
            texts = (*shown.problems, *(p.why for p in published.plans), *(a.told for a in published.approvals))
            told("the status page", "\n".join(texts))

    def step(self, seed: int | None = None) -> float:
        """One step of the loop; seconds until the next one is due. The process may die in it."""
        if seed is not None:
            self.rng.seed(seed)
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
