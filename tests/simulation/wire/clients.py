"""The product's HTTP clients of one process, over the wire, with files for their credentials."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import NamedTuple, Protocol

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_client import ForgeClient
from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from tests.simulation.content import HOST
from tests.simulation.faults import Weather
from tests.simulation.ports import SimClock, SimMetrics, SimRandom, Steps
from tests.simulation.wire.forge import FORGE_HOST, TOKEN, ForgeServer, headers_of
from tests.simulation.wire.network import LOGIN_HOST, LoginPage, Server, Wire, wired
from tests.simulation.wire.registry import AUTH_HOST, PASSWORD, USER, RegistryServer, TokenServer

_KIB = 1024
_FORGE_LIMITS = ForgeLimits(answer_max_bytes=128 * _KIB)
_REGISTRY_LIMITS = Limits(manifest_max_bytes=64 * _KIB, tags_max_bytes=64 * _KIB)


class Host(Steps, Protocol):
    directory: Path
    weather: Weather


class Clients(NamedTuple):
    registry: OrasRegistry
    forge: ForgeClient


def clients(sim: Host, process: str, clock: SimClock, chance: SimRandom) -> Clients:
    """New ones, as a process that starts makes them."""
    servers: dict[str, Server] = {
        HOST: RegistryServer(sim, process, sim.weather.stale),
        AUTH_HOST: TokenServer(sim),
        FORGE_HOST: ForgeServer(sim, process),
        LOGIN_HOST: LoginPage(),
    }
    sim.check.wire.hosts |= {
        HOST: lambda proof: proof.startswith("Bearer hunter2-token-"),
        AUTH_HOST: lambda proof: proof.startswith("Basic "),
        FORGE_HOST: lambda proof: proof == f"Bearer {TOKEN}",
    }
    sleep = sim.world.time.advance
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    config = secret_file(sim.directory / "registry.json", json.dumps({"auths": {HOST: {"auth": login}}}))
    with wired(Wire(sim, process, servers)):
        registry = OrasRegistry(
            HOST,
            credential=Credential(config, HOST),
            limits=_REGISTRY_LIMITS,
            clock=clock,
            random=chance,
            sleep=sleep,
        )
        forge = ForgeClient(
            f"https://{FORGE_HOST}/api",
            TokenFile(secret_file(sim.directory / "forge-token", TOKEN)),
            name="shop",
            headers=headers_of(sim.world.forge),
            clock=clock,
            random=chance,
            metrics=SimMetrics(),
            limits=_FORGE_LIMITS,
            sleep=sleep,
        )
    return Clients(registry, forge)


def secret_file(file: Path, text: str) -> Path:
    if not file.exists():
        file.write_text(text)
        file.chmod(0o600)
    return file
