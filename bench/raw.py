"""The fastest plain clients we know how to write: keep-alive connections, nothing checked but status and digest.

They set the mark for `retag`. One is http.client on threads; the other formats every request beforehand and drives
all its connections from one thread.
"""

from __future__ import annotations

import http.client
import itertools
import re
import selectors
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_READ_BYTES: Final = 65_536


class Step(NamedTuple):
    """One request and the answer it must get; `digest` is looked for in the answer's headers."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    digest: str = ""


class RawClient(Protocol):
    """Keeps its connections between runs."""

    def ready(self, steps: Sequence[Step]) -> Callable[[], None]:
        """What sends these when it is called, each once; all that can be done beforehand is done here."""

    def close(self) -> None: ...


class ThreadClient:
    """http.client, one connection a thread."""

    def __init__(self, host: str, connections: int) -> None:
        self._connections = [http.client.HTTPConnection(host) for _ in range(connections)]
        self._pool = ThreadPoolExecutor(connections)

    def ready(self, steps: Sequence[Step]) -> Callable[[], None]:
        waiting = iter(steps)  # next() of a list's iterator is atomic

        def run() -> None:
            for done in [self._pool.submit(self._work, connection, waiting) for connection in self._connections]:
                done.result()

        return run

    @staticmethod
    def _work(connection: http.client.HTTPConnection, waiting: Iterator[Step]) -> None:
        for step in waiting:
            connection.request(step.method, step.path, step.body or None, step.headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != step.status or answer.headers.get("Docker-Content-Digest", "") != step.digest:
                raise RuntimeError(f"{step.method} {step.path}: expected {step.status}, got {answer.status}")

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._connections:
            connection.close()


class _Lane:
    """One connection of the single-threaded client, and what it is at."""

    def __init__(self, host: str) -> None:
        name, port = host.rsplit(":", 1)
        self.socket = socket.create_connection((name, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.step: Step | None = None


class SelectClient:
    """All connections from one thread; requests are formatted beforehand."""

    def __init__(self, host: str, connections: int) -> None:
        self._host = host
        self._lanes = [_Lane(host) for _ in range(connections)]

    def ready(self, steps: Sequence[Step]) -> Callable[[], None]:
        formatted = [(self._format(step), step) for step in steps]
        return lambda: self._run(iter(formatted))

    def _run(self, waiting: Iterator[tuple[bytes, Step]]) -> None:
        with selectors.DefaultSelector() as selector:
            busy = 0
            for lane in self._lanes:
                if _send_next(lane, waiting):
                    selector.register(lane.socket, selectors.EVENT_READ, lane)
                    busy += 1
            while busy:
                for key, _ in selector.select():
                    lane = key.data
                    lane.received += lane.socket.recv(_READ_BYTES)
                    if _answered(lane) and not _send_next(lane, waiting):
                        selector.unregister(lane.socket)
                        busy -= 1

    def _format(self, step: Step) -> bytes:
        headers = {"Host": self._host, **step.headers}
        if step.body or step.method == "PUT":
            headers["Content-Length"] = str(len(step.body))
        lines = (f"{step.method} {step.path} HTTP/1.1", *itertools.starmap("{}: {}".format, headers.items()))
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + step.body

    def close(self) -> None:
        for lane in self._lanes:
            lane.socket.close()


def _send_next(lane: _Lane, waiting: Iterator[tuple[bytes, Step]]) -> bool:
    """Send the next request that waits; False if there is none."""
    following = next(waiting, None)
    if following is None:
        return False
    request, lane.step = following
    lane.socket.sendall(request)
    return True


def _answered(lane: _Lane) -> bool:
    """Whether the whole answer is there; then it is checked and taken away."""
    head, gap, body = lane.received.partition(b"\r\n\r\n")
    step = lane.step
    if not gap or step is None:
        return False
    length = _LENGTH.search(head)
    expected = int(length[1]) if length and step.method != "HEAD" else 0
    if len(body) < expected:
        return False
    if int(head[9:12]) != step.status or step.digest.encode() not in head:
        raise RuntimeError(f"{step.method} {step.path}: expected {step.status}, got {head[:200]!r}")
    lane.received = body[expected:]
    return True
