"""Runs the console script in forks of one warm process and kills it at a chosen boundary (see stopped_calls).

Reads one order a line, as JSON: `arguments`, `root` (paths are told relative to it), and where to kill: `at` (the n-th
boundary), or `kind` and `nth` (the n-th of that kind); `family` also kills the child process that came to it. Prints
`pid N`, and when all its processes have ended, `ended` with the exit code, every boundary it came to and the last one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from reconciler import daemon, wiring
from reconciler.cli import main, tables
from reconciler.cli import reconciler as command
from tests.faults.stopped_calls import Call, attend, stop_me

THINGS = (
    ("log.git/objects", "log object"),
    ("log.git/refs/heads/log-orphan", "orphan"),
    ("log.git/refs/heads/log/", "log branch"),
    ("log.git/refs/ameide", "log tracking ref"),
    ("log.git/ameide-", "writer lock"),
    ("log.git", "log repository"),
    ("state/tips", "remembered tip"),
    ("state/mirrors/1001-gitops", "GitOps mirror"),
    ("state/mirrors/1001", "code mirror"),
    ("shop.git/objects", "status object"),
    ("shop.git/refs/ameide/status", "status ref"),
    ("shop.git", "forge"),
)
"""Beginning of a path below the root → what it is."""
SENT = (
    (r"(GET|HEAD|PUT) /v2/.*/manifests/[0-9a-f]{40} ", r"\1 head tag"),
    (r"(GET|HEAD|PUT) /v2/.*/manifests/sha256(:|%3A)", r"\1 manifest"),
    (r"(GET|HEAD|PUT) /v2/.*/manifests/main ", r"\1 baseline tag"),
    (r"(GET|HEAD) /v2/", r"\1 registry"),
    (r"DELETE /v2/.*/manifests/", "DELETE tag"),
    (r"(GET|POST|DELETE) /apis?/", r"\1 Kubernetes API"),
    (r"GET .*service=git-(\w+)-pack", r"ask log remote for \1"),
    (r"POST .*/git-(\w+)-pack", r"\1 to log remote"),
)


def kind_of(call: Call, root: str) -> str | None:
    """The kind of a boundary: `<call> <thing>`; None for what is none, such as the rest of a request."""
    if call.name == "send":
        for pattern, named in SENT:
            if found := re.match(pattern, call.what):
                return "send " + found.expand(named)
        return None
    if call.what.startswith(root):
        path = str(PurePosixPath(call.what).relative_to(root))
        lock = " lock" if path.endswith(".lock") else ""
        return f"{call.name} {next((thing for begin, thing in THINGS if path.startswith(begin)), 'other')}{lock}"
    return None


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def run(order: Mapping[str, Any], to: socket.socket) -> int:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    stop_me(to)
    to.close()
    try:
        main(order["arguments"])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def supervise(order: Mapping[str, Any], pid: int, listener: int) -> dict[str, Any]:
    came_to: list[str] = []
    killed: list[str] = []
    wanted = (order.get("kind"), order.get("nth"))

    dead: set[int] = set()

    def goes_on(call: Call) -> bool:
        kind = kind_of(call, order["root"])
        if killed or kind is None:
            return call.pid not in dead
        came_to.append(kind)
        seen = Counter(came_to)
        if len(came_to) == order.get("at") or (kind, seen[kind]) == wanted:
            killed.append(f"{kind} ({call.what})")
            for each in {pid, call.pid} if order.get("family") else {pid}:
                dead.add(each)
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        return call.pid not in dead

    attend(listener, goes_on)
    os.close(listener)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"code": code, "came_to": came_to, "killed": killed[0] if killed else None}


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            os._exit(run(order, theirs))
        theirs.close()
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        ours.close()
        say(f"pid {pid}")
        say("ended " + json.dumps(supervise(order, pid, listener)))


if __name__ == "__main__":
    assert daemon
    assert command
    assert wiring
    assert tables
    serve()
