"""A `requests` transport adapter in place of sockets: each request is one step, and may meet any fault of the wire.

Everything above it is the product's: sessions, redirects, timeouts, bounds, retries, tokens, how answers are read.
"""

from __future__ import annotations

import base64
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Final
from urllib.parse import urlsplit

import pytest
import requests
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse
from urllib3.exceptions import NewConnectionError, ReadTimeoutError

from reconciler.adapters import http_transport
from tests.fixtures.registry_stub import Reply, Seen
from tests.simulation.faults import GET, SEND, Crash, Fault, Strike
from tests.simulation.ports import Steps

HTML: Final = b"<!DOCTYPE html><html><title>Sign in</title><body>Who are you?</body></html>"
LOGIN_HOST: Final = "login.example"
ENDLESS_BYTES: Final = 1 << 40


class Server(ABC):
    """One host, as one process reaches it."""

    @abstractmethod
    def answer(self, seen: Seen) -> Reply: ...

    def faults(self, seen: Seen) -> tuple[Fault, ...]:
        """What may befall this request."""
        return GET if seen.method in {"GET", "HEAD"} else SEND

    def altered(self, seen: Seen, reply: Reply | None, chance: Random) -> Reply:
        """The answer, wrong in a way of this host's own; `reply` is None where nothing was done yet."""
        del reply, chance
        raise AssertionError(f"{seen.method} {seen.path}: this host names no fault of its own")


class LoginPage(Server):
    """Where a proxy sends whoever it does not know."""

    def answer(self, seen: Seen) -> Reply:
        del seen
        return Reply(200, {"Content-Type": "text/html"}, HTML)


class Wire:
    """One process's way to every host."""

    def __init__(self, steps: Steps, process: str, servers: Mapping[str, Server]) -> None:
        self._steps, self._process, self._servers = steps, process, servers

    def send(
        self, request: requests.PreparedRequest, *, timeout: tuple[float, float], **options: object
    ) -> requests.Response:
        """One request and its answer; `timeout` is (to connect, for each read) in seconds of simulated time."""
        parts = urlsplit(str(request.url))
        headers = {name.lower(): str(value) for name, value in request.headers.items()}
        body = request.body if isinstance(request.body, bytes) else b""
        seen = Seen(str(request.method), parts.path, parts.query, {**headers, "host": parts.netloc}, body)
        checks = self._steps.check.wire
        checks.sent(seen, timeout, options)
        server = self._servers[parts.netloc]
        strike = self._steps.before(
            self._process,
            f"{seen.method} {parts.netloc}",
            f"{parts.path}{'?' if parts.query else ''}{parts.query}",
            server.faults(seen),
        )
        reply = self._struck(server, seen, strike, timeout[1]) if strike is not None else server.answer(seen)
        return _response(request, reply, checks.answered(seen.path))

    def close(self) -> None:
        """There is nothing to close."""

    def _struck(self, server: Server, seen: Seen, strike: Strike, read_s: float) -> Reply:
        fault, chance = strike
        time = self._steps.world.time
        match fault:
            case Fault.CRASH_BEFORE:
                raise Crash(seen.path)
            case Fault.LOST:
                if chance.random() < 0.5:
                    raise requests.ConnectionError(NewConnectionError(None, "simulated: refused"))  # type: ignore[arg-type]
                raise requests.ConnectionError("simulated: reset")
            case Fault.SLOW:
                time.advance(chance.uniform(0, 0.9 * read_s))
            case Fault.HANGS if chance.random() < 0.5:
                time.advance(read_s)
                raise _timed_out()
            case Fault.FAILED if chance.random() < 0.5:
                return _refused(chance.choice((500, 502, 503, 504)), seen, chance)
            case _ if fault in _STATUS:
                return _refused(_STATUS[fault], seen, chance)
            case Fault.TWICE:
                server.answer(seen)
            case Fault.PARTWAY:
                return server.altered(seen, None, chance)
            case _:
                pass
        reply = server.answer(seen)
        match fault:
            case Fault.CRASH_AFTER:
                raise Crash(seen.path)
            case Fault.LATE:
                raise requests.ConnectionError("simulated: reset before the answer")
            case Fault.HANGS:
                time.advance(read_s)
                raise _timed_out()
            case Fault.FAILED:
                return _refused(chance.choice((500, 502, 503, 504)), seen, chance)
            case Fault.HTML:
                return Reply(200, {"Content-Type": "text/html"}, HTML)
            case Fault.CUT:
                return Reply(reply.status, reply.headers, reply.body[: len(reply.body) // 2], announce=len(reply.body))
            case Fault.ENDLESS:
                return Reply(reply.status, reply.headers, reply.body, chunks=(), announce=ENDLESS_BYTES)
            case Fault.PARTIAL | Fault.GARBLED:
                return server.altered(seen, reply, chance)
            case _:
                return reply


_STATUS: Final = {
    Fault.LIMITED: 429,
    Fault.UNAUTHORIZED: 401,
    Fault.DENIED: 403,
    Fault.MISSING: 404,
    Fault.CONFLICT: 409,
    Fault.REFUSED: 422,
    Fault.REDIRECT: 303,
}


def _refused(status: int, seen: Seen, chance: Random) -> Reply:
    """A refusal that echoes what proved us, as badly made servers and proxies do."""
    headers = {"Content-Type": "text/plain"}
    if status in {429, 503} and chance.random() < 0.7:
        headers["Retry-After"] = str(chance.choice((1, 5, 40, 600)))
    if status == 303:
        headers["Location"] = f"https://{LOGIN_HOST}/"
    told = f"no, {chance.choice(_spellings(seen))}: {chance.choice(('denied', 'conflict', 'try later'))}"
    if chance.random() < 0.5:
        return Reply(status, headers, told.encode())
    # As registries and as forges say it.
    raw = json.dumps({"errors": [{"code": "DENIED", "message": told}], "message": told}).encode()
    return Reply(status, {**headers, "Content-Type": "application/json"}, raw)


def _spellings(seen: Seen) -> tuple[str, ...]:
    """What proved us as it was sent, without its scheme, and the password in it."""
    proof = seen.headers.get("authorization", "")
    scheme, _, value = proof.partition(" ")
    return proof, value, base64.b64decode(value).decode().partition(":")[2] if scheme == "Basic" else value


def _timed_out() -> requests.ReadTimeout:
    return requests.ReadTimeout(ReadTimeoutError(None, "", "simulated: timed out"))  # type: ignore[arg-type]


class _Body(io.BytesIO):
    """Bytes, or without end; counts what is read."""

    def __init__(self, raw: bytes, count: Callable[[int], None], *, endless: bool) -> None:
        super().__init__(raw)
        self._count, self._endless = count, endless

    def read(self, size: int | None = -1) -> bytes:
        raw = super().read(size)
        if self._endless and size is not None and size > 0 and not raw:
            raw = b" " * min(size, 65536)
        self._count(len(raw))
        return raw

    read1 = read


def _response(request: requests.PreparedRequest, reply: Reply, count: Callable[[int], None]) -> requests.Response:
    endless = reply.chunks is not None
    headers = dict(reply.headers)
    if not endless:  # what has no end has no announced length, either
        headers["Content-Length"] = str(len(reply.body) if reply.announce is None else reply.announce)
    raw = HTTPResponse(
        body=_Body(b"" if request.method == "HEAD" else reply.body, count, endless=endless),
        headers=headers,
        status=reply.status,
        preload_content=False,
        enforce_content_length=True,
        request_method=request.method,
    )
    response = requests.Response()
    response.status_code = reply.status
    response.headers = CaseInsensitiveDict(headers)
    response.raw = raw
    response.url = str(request.url)
    response.request = request
    return response


@contextmanager
def wired(wire: Wire) -> Iterator[None]:
    """Clients that are made in the block send over `wire` for good."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_transport, "PooledAdapter", lambda **_: wire)
        yield
