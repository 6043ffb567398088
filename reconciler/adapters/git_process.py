"""Running the git program: an argument vector, an environment made from nothing, bounded output, a deadline."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from state.errors import Terminal, Unavailable

_KEPT_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 64 * 1024


class Finished(NamedTuple):
    """How a run ended: the exit code, the last 16 KiB of standard error, and standard output where it was asked for."""

    code: int
    errors: str
    output: str = ""


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    keep_open: Sequence[int] = (),
    output: bool = False,
) -> Finished:
    """Run `git` with these arguments, without input.

    It gets a session of its own, so that at the deadline, or when this call is interrupted, its helpers end with it.

    Args:
        output: keep standard output, of which at most 16 KiB may come; otherwise it is thrown away.
        keep_open: file descriptors that it inherits, so that a lock behind them outlives us while it still runs.

    Raises:
        Unavailable: it did not end within `timeout_s` seconds.
        Terminal: there is no git program.
    """
    deadline = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(keep_open),
        )
    except FileNotFoundError as error:
        raise Terminal(f"the git program could not be started in {cwd}: {error.strerror}; install git") from error
    with process:
        try:
            errors, told = _read(process, deadline)
            code = process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            _kill(process)
            raise Unavailable(f"git {_verb(arguments)}: not done within {timeout_s:g} s") from None
        except BaseException:
            _kill(process)
            raise
    if len(told) > _KEPT_BYTES:
        raise Terminal(f"git {_verb(arguments)}: more than {_KEPT_BYTES} bytes of output, no more are read")
    return Finished(code, errors.decode(errors="replace"), told.decode(errors="replace"))


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """The end of standard error, and the beginning of standard output. Raises TimeoutError at the deadline."""
    assert process.stderr is not None  # noqa: S101 - it was asked for as a pipe
    errors = told = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        if process.stdout is not None:
            selector.register(process.stdout, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                got = os.read(key.fd, _READ_BYTES)
                if not got:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors = (errors + got)[-_KEPT_BYTES:]
                else:
                    told = (told + got)[: _KEPT_BYTES + 1]
    return errors, told


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the whole session. The process was not reaped yet, so its id is still its own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _verb(arguments: Sequence[str]) -> str:
    return next((a for a in arguments if a.isalpha() and a.islower()), "")
