"""Which URLs of git repositories are accepted, and by which transport each is reached. Pure.

One rule for the configuration and for whoever opens the URL, so that what `ameide config check` accepts can be used.
Source: git-fetch(1), GIT URLS. No form carries a password, and `helper::address` is none of them.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from state.errors import InvalidValue

URL_MAX_CHARS: Final = 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_SCP: Final = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!/?/)[A-Za-z0-9._~/][^:]*")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:]+")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Transport(StrEnum):
    """How to get there, as git's `protocol.<name>.allow` names it."""

    FILE = "file"
    HTTP = "http"
    HTTPS = "https"
    SSH = "ssh"


def transport(url: str) -> Transport:
    """The transport of an absolute path, file://, https://, ssh://, user@host:path, or http:// to this machine itself.

    Only a local path may hold spaces, only ssh a user. Raises InvalidValue on every other form, without showing a
    password.
    """
    refused = InvalidValue(
        f"git URL {safe(url)!r}: expected an absolute path without .., https://host/path, ssh://host/path or"
        " user@host:path, without a password"
    )
    if not url.isprintable() or len(url) > URL_MAX_CHARS or url.startswith("-"):
        raise refused
    if url.startswith("/"):
        if ".." in url.split("/"):
            raise refused
        return Transport.FILE
    if " " in url:
        raise refused
    if "://" not in url:
        if not _SCP.fullmatch(url):  # Also `ext::command` and every other `helper::address`.
            raise refused
        return Transport.SSH
    try:
        parts = urlsplit(url)
        host, user, password, _ = parts.hostname or "", parts.username, parts.password, parts.port
    except ValueError:
        raise refused from None
    if parts.query or parts.fragment or password is not None:
        raise refused
    if user is not None and (parts.scheme != "ssh" or not _USER.fullmatch(user)):
        raise refused
    match parts.scheme:
        case "file" if not parts.netloc and parts.path.startswith("/") and ".." not in parts.path.split("/"):
            return Transport.FILE
        case "https" if _HOST.fullmatch(host):
            return Transport.HTTPS
        case "http" if host in _LOOPBACK:
            return Transport.HTTP
        case "http":
            raise InvalidValue(f"git URL {safe(url)!r}: plain http is only for this machine itself; use https")
        case "ssh" if _HOST.fullmatch(host):
            return Transport.SSH
        case _:
            raise refused


def log_transport(url: str) -> Transport:
    """The same for a log's remote, which libgit2 pushes to: it speaks no ssh here. Raises InvalidValue."""
    found = transport(url)
    if found is Transport.SSH:
        raise InvalidValue(
            f"log remote {safe(url)!r}: the log is not pushed over ssh; expected https://host/path or an absolute path"
        )
    return found


def safe(text: str) -> str:
    """`text` without the user part of any URL in it, on one line, printable, at most 400 characters."""
    cut = re.sub(r"(://)[^/\s@'\"]*@", r"\1", text)
    shown = "".join(c if c.isprintable() else " " for c in cut)
    return shown if len(shown) <= 400 else shown[:399] + "…"
