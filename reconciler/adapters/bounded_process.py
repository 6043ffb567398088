"""Running a program that is not ours: an argument vector, no input, a session of its own, a deadline, bounds."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ERRORS_KEPT_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 64 * 1024


class Ended(NamedTuple):
    """How a run ended by itself."""

    code: int
    output: bytes
    """The beginning of standard output: one byte more than was asked for where there was more."""
    errors: bytes
    """The last 16 KiB of standard error."""


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    until_s: float,
    output_max_bytes: int | None = None,
    keep_open: Sequence[int] = (),
) -> Ended:
    """Run it to its end; at the deadline, or when this call is interrupted, its whole session ends with it.

    Args:
        until_s: the deadline, on the monotonic clock.
        output_max_bytes: of standard output that is kept; None throws it away.
        keep_open: file descriptors that it inherits.

    Raises OSError if it cannot be started, TimeoutError at the deadline.
    """
    with subprocess.Popen(
        list(arguments),
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output_max_bytes is None else subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(keep_open),
    ) as process:
        try:
            output, errors = _read(process, until_s, output_max_bytes or 0)
            code = process.wait(timeout=max(0.0, until_s - time.monotonic()))
        except BaseException as error:
            # The process was not reaped yet, so its id is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError from None
            raise
    return Ended(code, output, errors)


def _read(process: subprocess.Popen[bytes], until_s: float, most: int) -> tuple[bytes, bytes]:
    parts: list[bytes] = []
    size, errors = 0, b""
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until_s - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                got = os.read(key.fd, _READ_BYTES)
                if not got:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors = (errors + got)[-ERRORS_KEPT_BYTES:]
                elif size <= most:
                    parts.append(got)
                    size += len(got)
    return b"".join(parts)[: most + 1], errors
