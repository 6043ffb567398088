"""An HTTP proxy that does harm: it stands before one server, and its faults are drawn from the seed.

It reads a request whole, and the answer whole, so that it is known of each fault whether the request had its effect.
What was asked of a registry's tags is written down.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import parse_qs

T = TypeVar("T")
_HEAD_MAX_BYTES: Final = 64 * 1024
_BODY_MAX_BYTES: Final = 64 * 1024 * 1024
_UPSTREAM_S: Final = 60.0
_MANIFEST: Final = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/?]+)(?:\?(?P<query>.*))?")


class Fault(StrEnum):
    """What happens to a request. After `RESET_AFTER`, `LOST_5XX` and `CUT` it has had its effect all the same."""

    REFUSE = "refused"
    RESET_BEFORE = "reset before"
    RESET_AFTER = "reset after"
    ANSWER_5XX = "5xx"
    LOST_5XX = "5xx after"
    DELAY = "delayed"
    STALL = "stalled"
    THROTTLE = "throttled"
    CUT = "cut"


class TagWrite(NamedTuple):
    """One PUT of a tag. `status` is None where the registry did not answer; `delivered`: the client got the answer."""

    repository: str
    tag: str
    digest: str
    status: int | None
    delivered: bool
    hands: bool
    """By people and CI, not by the reconciler."""


class Request(NamedTuple):
    """One request as it arrived; `raw` is all of its bytes."""

    method: str
    path: str
    raw: bytes
    body: bytes
    close: bool


class Answer(NamedTuple):
    status: int
    raw: bytes


@dataclass(eq=False)
class Aim:
    """A deed at the `nth` request that `fits`: before it is forwarded, or once it has had its effect.

    The deed runs in a thread of its own, and the request waits for it. With `loses` the connection is reset then.
    """

    fits: Callable[[Request], bool]
    nth: int
    deed: Callable[[], None]
    after: bool = False
    loses: bool = True
    status: int | None = None
    """Only an answer with this status counts; where it is None, any."""


class Loop:
    """The event loop of every proxy, in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        async def ended() -> None:
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(ended())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class FaultProxy:
    """Before one server of this machine. `rate` is the chance of a fault for each request; 0 is calm."""

    def __init__(self, loop: Loop, name: str, upstream: int, seed: int) -> None:
        self.name = name
        self.rate = 0.0
        self.drawn_from: tuple[Fault, ...] = (*Fault,)
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.tag_writes: list[TagWrite] = []
        self._upstream = upstream
        self._seed = seed
        self._lock = threading.Lock()
        self._hands = 0
        self._aims: list[Aim] = []
        self._loop = loop
        self._server = loop.run(asyncio.start_server(self._client, "127.0.0.1", 0, limit=_HEAD_MAX_BYTES))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        async def ended() -> None:
            self._server.close()

        self._loop.run(ended())

    # --- said by the driver, from its own thread

    def __enter__(self) -> Self:
        """Inside the block people and CI are at work, who meet no faults."""
        with self._lock:
            self._hands += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._hands -= 1

    def aim(self, aim: Aim) -> None:
        with self._lock:
            self._aims.append(aim)

    def forget(self, aim: Aim) -> None:
        with self._lock:
            if aim in self._aims:
                self._aims.remove(aim)

    def forget_aims(self) -> None:
        with self._lock:
            self._aims.clear()

    # --- one connection

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            while (request := await _request(reader)) is not None:
                if not await self._serve(request, writer):
                    break
                if request.close:
                    break
        writer.close()

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        with self._lock:
            self.requests += 1
            hands = self._hands > 0
            chance = random.Random(f"{self._seed} {self.name} {self.requests}")
            fault = None if hands or chance.random() >= self.rate else chance.choice(self.drawn_from)
            if fault is not None:
                self.faults[fault.value] += 1
        if not hands and (aim := self._hit(request, None)) is not None:
            await _in_thread(aim.deed)
            if aim.loses:
                return _reset(writer)
        if fault in {Fault.REFUSE, Fault.RESET_BEFORE}:
            return _reset(writer)
        if fault is Fault.ANSWER_5XX:
            return await _say_5xx(writer, chance)
        if fault is Fault.DELAY:
            await asyncio.sleep(chance.uniform(0.05, 0.8))
        answer = await _forwarded(self._upstream, request)
        delivered = False
        try:
            delivered = answer is not None and await self._answers(request, answer, fault, chance, writer, hands=hands)
        finally:
            self._note(request, answer, delivered=delivered, hands=hands)
        return delivered or _reset(writer)

    async def _answers(
        self,
        request: Request,
        answer: Answer,
        fault: Fault | None,
        chance: random.Random,
        writer: asyncio.StreamWriter,
        *,
        hands: bool,
    ) -> bool:
        """Whether the client has got the whole answer."""
        if not hands and (aim := self._hit(request, answer)) is not None:
            await _in_thread(aim.deed)
            if aim.loses:
                return False
        match fault:
            case Fault.RESET_AFTER:
                return False
            case Fault.LOST_5XX:
                await _say_5xx(writer, chance)
                return False
            case Fault.CUT:
                writer.write(answer.raw[: len(answer.raw) // 2])
                await writer.drain()
                return False
            case Fault.STALL:
                await asyncio.sleep(chance.uniform(0.5, 7))
                if chance.random() < 0.5:
                    return False
            case Fault.THROTTLE:
                step = max(1, len(answer.raw) // 8)
                for start in range(0, len(answer.raw), step):
                    writer.write(answer.raw[start : start + step])
                    await writer.drain()
                    await asyncio.sleep(0.1)
                return True
        writer.write(answer.raw)
        await writer.drain()
        return True

    def _hit(self, request: Request, answer: Answer | None) -> Aim | None:
        with self._lock:
            for aim in self._aims:
                if aim.after is (answer is None) or not aim.fits(request):
                    continue
                if answer is not None and aim.status not in {None, answer.status}:
                    continue
                aim.nth -= 1
                if aim.nth <= 0:
                    self._aims.remove(aim)
                    return aim
        return None

    def _note(self, request: Request, answer: Answer | None, *, delivered: bool, hands: bool) -> None:
        if request.method != "PUT" or (found := _MANIFEST.fullmatch(request.path)) is None:
            return
        digest = f"sha256:{hashlib.sha256(request.body).hexdigest()}"
        status = None if answer is None else answer.status
        tags = [found["reference"]]
        if tags[0].startswith("sha256:"):  # several tags in one request, which not every registry knows
            asked = parse_qs(found["query"] or "").get("tag", [])
            tags = asked if answer is None or b"oci-tag:" in answer.raw[:_HEAD_MAX_BYTES].lower() else []
        with self._lock:
            self.tag_writes += [TagWrite(found["repository"], tag, digest, status, delivered, hands) for tag in tags]


async def _in_thread(deed: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, deed)


def _reset(writer: asyncio.StreamWriter) -> bool:
    """RST instead of FIN; always False."""
    with suppress(OSError):
        found: socket.socket | None = writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _say_5xx(writer: asyncio.StreamWriter, chance: random.Random) -> bool:
    status = chance.choice(["502 Bad Gateway", "503 Service Unavailable"])
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n".encode())
    await writer.drain()
    return True


# --- HTTP, as much as it takes to know where a message ends


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The next one; None once the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, fields = _fields(head)
    method, path, _ = first.split(" ", 2)
    framed, body = await _body(reader, fields)
    return Request(method, path, head + framed, body, fields.get("connection", "").lower() == "close")


async def _forwarded(upstream: int, request: Request) -> Answer | None:
    """What the server answers; None where it is not there, or ends in the middle."""
    try:
        async with asyncio.timeout(_UPSTREAM_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", upstream, limit=_HEAD_MAX_BYTES)
            try:
                writer.write(request.raw)
                await writer.drain()
                return await _answer(reader, request.method)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return None


async def _answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, fields = _fields(head)
    status = int(first.split(" ", 2)[1])
    if method == "HEAD" or status in {204, 304}:
        return Answer(status, head)
    if "content-length" not in fields and fields.get("transfer-encoding", "").lower() != "chunked":
        rest = await reader.read(_BODY_MAX_BYTES)
        return Answer(status, head + rest)
    framed, _ = await _body(reader, fields)
    return Answer(status, head + framed)


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> tuple[bytes, bytes]:
    """As it is framed, and what is in it."""
    if fields.get("transfer-encoding", "").lower() != "chunked":
        raw = await _exactly(reader, int(fields.get("content-length", "0")))
        return raw, raw
    framed, body = b"", b""
    while True:
        line = await reader.readuntil(b"\r\n")
        chunk = await _exactly(reader, int(line.split(b";")[0], 16) + 2)
        framed += line + chunk
        if len(chunk) == 2:
            return framed, body
        body += chunk[:-2]


def _exactly(reader: asyncio.StreamReader, size: int) -> Awaitable[bytes]:
    if size > _BODY_MAX_BYTES:
        raise ValueError(f"a body of {size} bytes, more than {_BODY_MAX_BYTES}")
    return reader.readexactly(size)


def _fields(head: bytes) -> tuple[str, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    return first, {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in rest if line)}
