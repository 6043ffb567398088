"""Settings → the clients of the registries that they name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.registry_router import Registries
from reconciler.ports import Clock, Metrics, Random
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, RegistrySettings


def limits_of(registry: RegistrySettings, *, request_timeout_s: float, connections: int) -> Limits:
    """What the settings say of one registry; the rest are the defaults."""
    return Limits(
        read_timeout_s=float(request_timeout_s),
        call_timeout_s=float(request_timeout_s) * CALL_TIMEOUT_FACTOR,
        connections=connections,
        writes_per_s=float(registry.max_writes_per_s),
    )


def client_of(
    registry: RegistrySettings,
    limits: Limits | None = None,
    *,
    clock: Clock,
    random: Random,
    metrics: Metrics | None = None,
    sleep: Callable[[float], None] = time.sleep,
    pace: Callable[[float], None] | None = None,
) -> OrasRegistry:
    """The client of one registry, which the caller closes; arguments and errors as those of `OrasRegistry`."""
    file = registry.credential_file
    return OrasRegistry(
        registry.host,
        plain_http=registry.plain_http,
        credential=Credential(file, registry.host) if file is not None else None,
        ca_file=registry.ca_file,
        limits=limits,
        clock=clock,
        random=random,
        metrics=metrics,
        sleep=sleep,
        pace=pace,
    )


@contextmanager
def opened_registries(
    registries: Iterable[RegistrySettings], client: Callable[[RegistrySettings], OrasRegistry]
) -> Iterator[Registries]:
    """All of them as one, closed at the end. Raises ConfigError for a credential that cannot be used."""
    with ExitStack() as stack:
        clients = {}
        for registry in registries:
            clients[registry.host] = client(registry)
            stack.callback(clients[registry.host].close)
        yield Registries(clients)
