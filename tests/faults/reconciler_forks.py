"""Runs the console script in forks of one warm process, so that a test can kill many of them without long starts.

Reads the arguments of a run as one JSON array a line; prints `pid N`, and `exit N` when that one has ended.
"""

from __future__ import annotations

import json
import os
import sys

from reconciler import daemon
from reconciler.cli import main
from reconciler.cli import reconciler as command


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(null, 1)
            try:
                main(json.loads(line))
            except SystemExit as ended:
                os._exit(ended.code if isinstance(ended.code, int) else 1)
        say(f"pid {child}")
        say(f"exit {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


if __name__ == "__main__":
    assert daemon
    assert command
    serve()
