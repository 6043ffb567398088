"""One ref of a remote, asked for by the git protocol: the second witness of a pull request's head.

A forge's API may lag behind its git by minutes, and the other way round. Source: facts of forges; gitprotocol-v2(5),
`ls-refs` with a prefix, so that not all refs are listed.
"""

from __future__ import annotations

import threading
from pathlib import Path

from reconciler.adapters.git_fetch import refused
from reconciler.adapters.git_process import run
from reconciler.adapters.git_remote import Remote, write_askpass
from state.errors import Terminal, Unavailable
from state.git import CommitId, RefName
from state.git_url import safe


class RemoteRefs:
    """Reads refs of one remote.

    Args:
        home: a directory of ours, for the helper that hands git the credential; made if it is not there.
    """

    def __init__(self, remote: Remote, home: Path, *, timeout_s: float) -> None:
        self._remote = remote
        self._home = home
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._ready = False

    def read(self, ref: RefName) -> CommitId | None:
        """The commit behind `ref` now; None if the remote answers that it has none.

        Raises Denied, RateLimited, Unavailable, Terminal.
        """
        self._prepare()
        arguments = [*self._remote.configuration(), "ls-remote", "--quiet", "--refs", "origin", ref]
        try:
            done = run(
                arguments,
                cwd=self._home,
                env=self._remote.environment(self._home),
                timeout_s=self._timeout_s,
                output=True,
            )
        except Unavailable as error:
            raise Unavailable(f"{safe(self._remote.url)}: {error}") from None
        if done.code != 0:
            raise refused(self._remote, done, "ls-remote")
        found = [line.split("\t") for line in done.output.splitlines()]
        exact = [parts[0] for parts in found if len(parts) == 2 and parts[1] == ref]
        if len(exact) > 1:
            raise Terminal(f"{safe(self._remote.url)}: {ref} is listed {len(exact)} times")
        return CommitId(exact[0]) if exact else None

    def _prepare(self) -> None:
        with self._lock:
            if not self._ready:
                self._home.mkdir(parents=True, exist_ok=True)
                write_askpass(self._home)
                self._ready = True
