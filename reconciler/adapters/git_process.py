"""Running the git program: an argument vector, an environment made from nothing, bounded output, a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters import bounded_process
from reconciler.tracing import span
from state.errors import Terminal, Unavailable

_KEPT_BYTES: Final = 16 * 1024


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
    try:
        with span("git", client=True, git_command=_verb(arguments)):
            code, told, errors = bounded_process.run(
                ["git", *arguments],
                cwd=cwd,
                env=env,
                until_s=time.monotonic() + timeout_s,
                output_max_bytes=_KEPT_BYTES if output else None,
                keep_open=keep_open,
            )
    except FileNotFoundError as error:
        raise Terminal(f"the git program could not be started in {cwd}: {error.strerror}; install git") from error
    except TimeoutError:
        raise Unavailable(f"git {_verb(arguments)}: not done within {timeout_s:g} s") from None
    if len(told) > _KEPT_BYTES:
        raise Terminal(f"git {_verb(arguments)}: more than {_KEPT_BYTES} bytes of output, no more are read")
    return Finished(code, errors.decode(errors="replace"), told.decode(errors="replace"))


def own_environment(home: Path) -> dict[str, str]:
    """An environment in which nothing of the user's or the machine's git configuration takes part."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }


def _verb(arguments: Sequence[str]) -> str:
    return next((a for a in arguments if a.isalpha() and a.islower()), "")
