"""A TCP proxy on loopback that holds back every byte for a while, each way, and lets any number through.

Run as a process of its own: `python -m bench.delay TARGET_PORT DELAY_MS` prints its port and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_READ_BYTES = 256 * 1024


@contextmanager
def delayed(host: str, one_way_ms: float) -> Iterator[str]:
    """The same server behind a proxy that adds `one_way_ms` in each direction; its `host:port`."""
    name, port = host.rsplit(":", 1)
    command = [sys.executable, "-m", "bench.delay", port, str(one_way_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"{name}:{int(process.stdout.readline())}"
        finally:
            process.terminate()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Reading goes on while earlier bytes wait, so the delay costs no throughput."""
    loop = asyncio.get_running_loop()
    held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def release() -> None:
        while True:
            due, chunk = await held.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                writer.close()
                return
            writer.write(chunk)

    releasing = asyncio.create_task(release())
    while chunk := await reader.read(_READ_BYTES):
        held.put_nowait((loop.time() + delay_s, chunk))
    held.put_nowait((loop.time() + delay_s, b""))
    await releasing


async def _serve(target_port: int, delay_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target_port)
        both = _pump(reader, there_writer, delay_s), _pump(there_reader, writer, delay_s)
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
