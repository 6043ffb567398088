"""Running a program with bounds: no shell, no input, its own process group, so much time and so much output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.05


class Ended(StrEnum):
    """How it came to an end."""

    BY_ITSELF = "ended by itself"
    TOO_LONG = "was ended: it took too long"
    TOO_MUCH = "was ended: it printed too much"


@dataclass(frozen=True, slots=True)
class Ran:
    ended: Ended
    code: int
    output: str
    """Both streams together, in the order in which they came."""


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float, output_max_bytes: int) -> Ran:
    """Run it to its end. Whatever it started in its process group ends with it. Raises OSError if it cannot start."""
    deadline = time.monotonic() + timeout_s
    with subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            ended, raw = _read(process, deadline, output_max_bytes)
        finally:
            if process.returncode is None:  # Not reaped yet, so the id is still its own.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return Ran(ended, code, raw.decode("utf-8", "replace"))


def _read(process: subprocess.Popen[bytes], deadline: float, most: int) -> tuple[Ended, bytes]:
    """Read until the program itself has ended, though others may still hold its output, or a bound is met."""
    assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
    fd = process.stdout.fileno()
    got = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.get_map():
                ready = bool(selector.select(min(left, _LOOK_S)))
            else:
                ready = False
                time.sleep(0 if _over(process) else min(left, _LOOK_S))
            if ready:
                chunk = os.read(fd, _READ_BYTES)
                got += chunk
                if len(got) > most:
                    return Ended.TOO_MUCH, bytes(got[:most])
                if not chunk:
                    selector.unregister(fd)
            elif _over(process):
                return Ended.BY_ITSELF, bytes(got)
    return Ended.TOO_LONG, bytes(got)


def _over(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended. It is not reaped where the system can tell without, so that its id stays its own."""
    if process.returncode is None and hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None
