"""`git push` of one commit to one branch, never by force, judged by what the server says of the ref.

git, not libgit2: it speaks ssh, takes the credential of each command from its environment, and tells a rejection by the
server from one that it made up itself. Source: git-push(1), "--porcelain" and "OUTPUT".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from reconciler.adapters.git_fetch import refused
from reconciler.adapters.git_process import run
from reconciler.adapters.git_remote import Remote
from state.errors import Unavailable
from state.git import CommitId, RefName
from state.git_url import safe

_REPORT: Final = re.compile(r"([ +\-*!=])\t[^\t]*:(\S+)\t(.*)")
_DONE: Final = frozenset({" ", "*", "="})
_ELSEWHERE: Final = re.compile(
    r"fetch first|non-fast-forward|already exists|stale info|failed to update ref|cannot lock|incorrect old value"
    r"|needs force|atomic"
)


class Elsewhere(Exception):
    """The branch is, or was at that moment, at another commit than the push expected."""


class Refused(Exception):
    """The server has a rule against this update. `args[0]` is its reason."""


def push(
    remote: Remote,
    mirror: Path,
    branch: RefName,
    commit: CommitId,
    *,
    timeout_s: float,
    confirm: Callable[[], None],
    keep_open: Sequence[int] = (),
) -> None:
    """Have `commit` as the tip of the remote's `branch`; returns only where the server says so.

    Raises:
        Elsewhere, Refused: see there.
        Denied: the credential is missing, wrong, or not enough.
        RateLimited, Unavailable: no usable answer. The branch may or may not have moved.
        Terminal: the repository does not exist, or cannot be pushed to in this way.
    """
    arguments = [
        *remote.configuration(),
        "-c",
        "push.negotiate=true",  # else a history that moved on meanwhile would be sent as if none of it were there
        "push",
        "--porcelain",
        "--no-verify",
        "--no-follow-tags",
        "--recurse-submodules=no",
        "--end-of-options",
        "origin",
        f"{commit}:{branch}",
    ]
    environment = remote.environment(mirror)  # which may ask for a token
    confirm()
    try:
        done = run(arguments, cwd=mirror, env=environment, timeout_s=timeout_s, keep_open=keep_open, output=True)
    except Unavailable as error:
        raise Unavailable(f"{safe(remote.url)}: {error}") from None
    reports = [found for line in done.output.splitlines() if (found := _REPORT.fullmatch(line)) and found[2] == branch]
    if len(reports) == 1 and reports[0][1] in _DONE and done.code == 0:
        return
    if len(reports) == 1 and reports[0][1] == "!":
        told = safe(reports[0][3])
        if _ELSEWHERE.search(told):
            raise Elsewhere(told)
        if "[remote rejected]" in told:
            said = "; ".join(line for line in done.errors.splitlines() if line.startswith("remote:"))
            raise Refused(f"{told} {safe(said)}".strip())
    if done.code == 0:
        raise Unavailable(f"{safe(remote.url)}: git push of {branch} ended without a word on the branch")
    raise refused(remote, done, "push")
