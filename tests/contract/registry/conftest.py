"""Clients that are closed at the end, and the registries of the contract suite."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from reconciler.adapters.registry_oras import OrasRegistry
from tests.contract.registry.support import Connect, connect


class Server(Protocol):
    @property
    def host(self) -> str: ...


_SERVERS: list[Any] = [
    pytest.param("distribution", marks=pytest.mark.distribution),
    pytest.param("distribution3", marks=pytest.mark.distribution3),
]
if importlib.util.find_spec("tests.fixtures.embedded"):
    _SERVERS.append("embedded_registry")


@pytest.fixture
def client() -> Iterator[Connect]:
    made: list[OrasRegistry] = []

    def make(host: str, **more: Any) -> OrasRegistry:
        made.append(connect(host, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=_SERVERS)
def registry_server(request: pytest.FixtureRequest) -> Server:
    """A real registry that answers anonymously in plain http."""
    server: Server = request.getfixturevalue(request.param)
    return server
