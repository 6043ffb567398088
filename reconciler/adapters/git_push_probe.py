"""Whether a credential may push to a repository, found out without pushing anything.

A dry run asks the server for what it would send to somebody who pushes; a server that knows no finer rules refuses
right there whoever may not. Source: git-push(1) `--dry-run`; gitprotocol-http(5), `service=git-receive-pack`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import pygit2

from reconciler.adapters.git_fetch import refused
from reconciler.adapters.git_process import run
from reconciler.adapters.git_remote import Remote, write_askpass
from state.errors import Denied, Terminal, Unavailable
from state.git_url import Transport, safe

_BRANCH: Final = "refs/heads/ameide-doctor"
_NOBODY: Final = pygit2.Signature("ameide doctor", "ameide@localhost", 0, 0)


def may_push(remote: Remote, directory: Path, *, timeout_s: float) -> bool:
    """Whether the server lets this credential begin a push.

    Args:
        directory: where a repository for the question is made, and removed again; the system's, where it is not there
            yet.

    Raises Unavailable if it does not answer, Terminal if there is no such repository or `remote` is a local path.
    """
    if remote.transport is Transport.FILE:
        raise Terminal(f"{safe(remote.url)}: a local path has no credential that could be asked about")
    with tempfile.TemporaryDirectory(prefix=".ameide-doctor-", dir=directory if directory.is_dir() else None) as made:
        home = Path(made)
        repository = pygit2.init_repository(home, bare=True)
        try:
            tree = repository.TreeBuilder().write()
            commit = repository.create_commit(None, _NOBODY, _NOBODY, "asked, never sent\n", tree, [])
        finally:
            repository.free()
        write_askpass(home)
        arguments = [*remote.configuration(), "push", "--dry-run", "--quiet", "origin", f"{commit}:{_BRANCH}"]
        try:
            done = run(arguments, cwd=home, env=remote.environment(home), timeout_s=timeout_s)
        except Unavailable as error:
            raise Unavailable(f"{safe(remote.url)}: {error}") from None
    if done.code == 0:
        return True
    problem = refused(remote, done, "push --dry-run")
    if isinstance(problem, Denied):
        return False
    raise problem
