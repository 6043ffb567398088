"""`git fetch` into a bare mirror, with its answers sorted into the error families.

git is used for fetching because it speaks protocol version 2: it names the one ref it wants, where libgit2 downloads
the whole list of refs. Source: gitprotocol-v2(5), git-fetch(1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reconciler.adapters.git_process import Finished, run
from reconciler.adapters.git_remote import Remote
from state.errors import ConfigError, Denied, RateLimited, Terminal, Unavailable
from state.git_url import safe

_IDS_MAX: Final = 200
"""How many object ids go on one command line."""


class NoSuchRef(Exception):
    """The remote answered, and has no ref of this name."""


class IdRefused(Exception):
    """The remote does not send this object by its id."""


class Locked(Exception):
    """A lock file is in the way: of another process, or left behind by one that was killed."""


def fetch(
    remote: Remote, mirror: Path, refspecs: Sequence[str], *, timeout_s: float, keep_open: Sequence[int] = ()
) -> None:
    """Fetch `refspecs` without the contents of files, which are fetched by id where they are needed.

    Raises:
        NoSuchRef, IdRefused, Locked: see there.
        Denied: the credential is missing, wrong, or not enough.
        RateLimited, Unavailable: no usable answer within `timeout_s` seconds.
        Terminal: the repository does not exist, or cannot be fetched from in this way.
    """
    arguments = [
        *remote.configuration(),
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-show-forced-updates",
        "--filter=blob:none",
        "--end-of-options",
        "origin",
        *refspecs,
    ]
    try:
        done = run(arguments, cwd=mirror, env=remote.environment(mirror), timeout_s=timeout_s, keep_open=keep_open)
    except Unavailable as error:
        raise Unavailable(f"{safe(remote.url)}: {error}") from None
    if done.code == 0:
        return
    why = refused(remote, done)
    if type(why) is Unavailable and re.search(_DAMAGED, done.errors):
        # git also says so of a pack that was damaged on the way, so it is tried again first.
        why = Unavailable(f"{why}; if it stays so, remove the mirror {mirror}: it is a cache")
    raise why


def fetch_objects(
    remote: Remote, mirror: Path, ids: Sequence[str], *, timeout_s: float, keep_open: Sequence[int] = ()
) -> None:
    """Fetch objects by id (contents of files). Raises Terminal where the server sends none by id, else as `fetch`."""
    for n in range(0, len(ids), _IDS_MAX):
        try:
            fetch(remote, mirror, ids[n : n + _IDS_MAX], timeout_s=timeout_s, keep_open=keep_open)
        except IdRefused as error:
            raise Terminal(
                f"{safe(remote.url)}: the server leaves out files but does not send them by id; let it speak"
                " git protocol version 2, or set uploadpack.allowAnySHA1InWant there"
            ) from error


def repack(remote: Remote, mirror: Path, *, timeout_s: float, keep_open: Sequence[int] = ()) -> None:
    """Make one pack of all packs; nothing is deleted that a ref leads to. Raises Unavailable if it did not work."""
    arguments = [*remote.configuration(), "repack", "-a", "-d", "-q", "--no-write-bitmap-index"]
    done = run(arguments, cwd=mirror, env=remote.environment(mirror), timeout_s=timeout_s, keep_open=keep_open)
    if done.code != 0:
        raise Unavailable(f"{mirror}: git repack failed: {safe(done.errors.strip())}")


_DAMAGED: Final = r"objects/pack|packfile|loose object|object file"
_DENIED: Final = (
    r"could not read (Username|Password)|Authentication failed|returned error: 40[13]|Permission denied"
    r"|Host key verification failed|unable to read askpass"
)
_MISSING: Final = (
    r"[Rr]epository .*not found|does not appear to be a git repository|does not exist|repository not exported"
    r"|returned error: (4|30)\d+|No such file or directory|unable to update url base from redirection"
)
_FAILURES: Final[tuple[tuple[str, type[Exception], str], ...]] = (
    (r"couldn't find remote ref", NoSuchRef, ""),
    (r"not our ref|Server does not allow request for unadvertised object", IdRefused, ""),
    (r"Unable to create '[^']*\.lock'|cannot lock ref|could not lock", Locked, ""),
    (_DENIED, Denied, "check the credential and what it may read"),
    (r"returned error: 429", RateLimited, "it is asked again later"),
    (r"dubious ownership", ConfigError, "let the repository and this process have one owner"),
    (r"not allowed|not supported|credentialsInUrl|shallow update", Terminal, "this URL cannot be fetched from"),
    (r"certificate|SSL_ERROR|CAfile", Terminal, "check the server's certificate"),
    (_MISSING, Terminal, "check the URL; a private repository looks missing to a credential that may not see it"),
)
"""In this order: what git says (in the C locale), the family, and the remedy. Anything else may pass: Unavailable."""


def refused(remote: Remote, done: Finished, verb: str = "fetch") -> Exception:
    """What a failed run says, in the error families."""
    said = "; ".join(line for line in done.errors.splitlines() if re.match(r"(fatal|error|remote|ssh):? ?", line))
    where = f"{safe(remote.url)}: git {verb} failed: {safe(said or done.errors.strip() or f'exit code {done.code}')}"
    for pattern, family, remedy in _FAILURES:
        if re.search(pattern, done.errors):
            return family(f"{where}; {remedy}") if remedy else family(where)
    return Unavailable(where)
