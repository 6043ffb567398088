"""One bound socket that serves one WSGI application, with every read bounded: for the HTTP host and the registry."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from state.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_JOIN_S: Final = 30
_TLS_HANDSHAKE: Final = b"\x16\x03"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a listener takes. A body over `body_max_bytes` is answered 413 and never reaches the application."""

    body_max_bytes: int
    memory_max_bytes: int
    """A longer body waits in a temporary file."""
    threads: int
    connections: int
    """More than this many at once wait in the backlog."""
    header_max_bytes: int = 64 * 1024
    idle_s: int = 60
    """A connection on which nothing happens for this long is closed."""
    drain_s: float = 5
    """How long a stop waits for running requests."""


class _Channel(HTTPChannel):  # type: ignore[misc] # waitress has no type information
    """A connection that answers a TLS client at once, and lets go of a body that was only half received."""

    request: HTTPRequestParser | None

    def received(self, data: bytes) -> bool:
        if self.request is None and not self.requests and data.startswith(_TLS_HANDSHAKE):
            # Docker and skopeo try TLS first; without an answer they wait ten seconds before they try plain HTTP.
            self.send(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
            self.will_close = True
            return False
        return bool(super().received(data))

    def handle_close(self) -> None:
        super().handle_close()
        half, self.request = self.request, None
        if half is not None:
            half.close()


class Listener:
    """Binds when it is made, serves between `start` and `stop`. After `stop` it cannot be started again.

    Raises ConfigError if the address (an IP address or `localhost`, and a port; 0 is any free one) cannot be bound.
    """

    def __init__(self, address: tuple[str, int], app: WSGIApplication, bounds: Bounds) -> None:
        listening = _bind(address)
        host, port = listening.getsockname()[:2]
        self.address: tuple[str, int] = (str(host), int(port))
        self._drain_s = bounds.drain_s
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            sockets=[listening],
            threads=bounds.threads,
            connection_limit=bounds.connections,
            max_request_body_size=bounds.body_max_bytes + 1,  # the first size that waitress refuses
            inbuf_overflow=bounds.memory_max_bytes + 1,
            max_request_header_size=bounds.header_max_bytes,
            recv_bytes=64 * 1024,
            channel_timeout=bounds.idle_s,
            clear_untrusted_proxy_headers=True,
            expose_tracebacks=False,
            ident=None,
        )
        self._server.channel_class = _Channel
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.address[1]}", daemon=True)
        self._stopped = False

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, let running requests finish (`drain_s` at most), close every connection."""
        if self._stopped:
            return
        self._stopped = True
        if self._thread.is_alive():
            # Sockets are closed by the serving thread: one that is closed under `poll` leaves it waiting on a number.
            self._pull(self._refuse)
            self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=self._drain_s)
            self._pull(self._close)
            self._thread.join(_JOIN_S)
        else:
            self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=self._drain_s)
            self._close()

    def _serve(self) -> None:
        wasyncore.loop(timeout=1, map=self._map, use_poll=True)

    def _pull(self, thunk: Callable[[], None]) -> None:
        # The serving thread may run the thunk, and so close the trigger, before the trigger's own write.
        with contextlib.suppress(OSError):
            self._server.trigger.pull_trigger(thunk)

    def _refuse(self) -> None:
        wasyncore.dispatcher.close(self._server)

    def _close(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._server.close()
        self._map.clear()


def _bind(address: tuple[str, int]) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if host != "localhost" and ipaddress.ip_address(host).version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another address"
        ) from error
    return made
