"""The registry as a server: waitress on one address, with bounds, and a stop that waits for running requests."""

from __future__ import annotations

import ipaddress
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from reconciler.listener import Bounds, Listener
from reconciler.registry.access import Access, Credentials
from reconciler.registry.app import OnRequest, RegistryApp
from reconciler.registry.service import Limits, Service
from reconciler.registry.storage import Storage
from state.errors import ConfigError


class Address(NamedTuple):
    """Where to listen. Port 0 is any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`host:port` or `[ipv6]:port`. Raises ConfigError."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
            raise ConfigError(f"listen: expected host:port, for example 127.0.0.1:5000, got {text!r}")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RegistryServer:
    """Serves one root. A context manager; after `stop` it cannot be started again."""

    def __init__(
        self,
        root: Path,
        listen: Address,
        *,
        credentials: Credentials | None = None,
        anonymous_pull: bool = False,
        limits: Limits | None = None,
        threads: int = 16,
        on_request: OnRequest | None = None,
    ) -> None:
        """Bind the address and lock the root; requests are answered from `start` on.

        `on_request` gets method, path and status of every answer, from many threads at once.

        Raises ConfigError: the address cannot be bound, or is not loopback while there are no credentials; or the root
        is served by another process or cannot be written.
        """
        if credentials is None and anonymous_pull:
            raise ConfigError("--anonymous-pull: without --credentials everybody may pull and push already; drop it")
        if credentials is None and not listen.is_loopback:
            raise ConfigError(
                f"listen {listen}: without credentials only a loopback address is served, since everybody who reaches "
                "it could push; give --credentials FILE, or listen on 127.0.0.1"
            )
        limits = limits or Limits()
        self.root = root
        self._storage = Storage(root)
        app = RegistryApp(
            Service(self._storage, limits, time.monotonic),
            Access(credentials, anonymous_pull=anonymous_pull),
            on_request,
        )
        bounds = Bounds(
            body_max_bytes=limits.blob_max_bytes,
            memory_max_bytes=1024 * 1024,
            threads=threads,
            connections=256,
            drain_s=limits.drain_s,
        )
        try:
            self._listener = Listener(listen, app, bounds)
        except BaseException:
            self._storage.close()
            raise
        self._stopped = False
        self.address = Address(listen.host, self._listener.address[1])

    @property
    def host(self) -> str:
        """`host:port`, with the real port: what stands before the first `/` of an image reference."""
        return str(self.address)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> Self:
        """Answer requests in threads of this process."""
        self._listener.start()
        return self

    def wait(self, stop: threading.Event) -> None:
        """Block until `stop` is set. Raises RuntimeError if the server ends by itself."""
        while not stop.wait(1):
            if not self._listener.running:
                raise RuntimeError("the registry server ended by itself; its log says why")

    def stop(self) -> None:
        """Take no new requests, let the running ones end, close every connection and give the root back."""
        if not self._stopped:
            self._stopped = True
            self._listener.stop()
            self._storage.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
