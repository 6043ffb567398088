"""Debian's docker-registry (CNCF distribution) on a free port, its files on the disk under measurement."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from state.oci import Repository

PROGRAM: Final = "docker-registry"
_START_S: Final = 20
_CONFIG: Final = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}, maxthreads: 100}}
  cache: {{blobdescriptor: inmemory}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def missing(program: str) -> str:
    """What to do about a program that is not here; empty if it is."""
    return "" if shutil.which(program) else f"{program} is not here: apt-get install {program}"


@contextmanager
def distribution(folder: Path) -> Iterator[str]:
    """A running registry; its `host:port`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(root=folder / "storage", port=port))
    with (folder / "registry.log").open("wb") as output:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=output, stderr=output)
    try:
        _wait(process, port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def fill(storage: Path, repository: Repository, tags: Iterable[str]) -> None:
    """Tags as distribution keeps them on disk, all of the digest that `main` has; written faster than pushed."""
    folder = storage / "docker/registry/v2/repositories" / repository.path / "_manifests/tags"
    link = (folder / "main/current/link").read_bytes()
    for tag in tags:
        current = folder / tag / "current"
        current.mkdir(parents=True)
        (current / "link").write_bytes(link)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{PROGRAM} did not start within {_START_S} s")
