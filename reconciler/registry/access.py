"""Who may read and write: everybody, or the users of a credentials file (HTTP Basic, RFC 7617).

With anonymous pull, reads need no credentials. The API root still asks for them: clients look for the challenge there
before they push, and those that pull without an account then send empty credentials, which count as none.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from werkzeug.wrappers import Request

from reconciler.registry.errors import Code, WireError
from state.errors import ConfigError

_FILE_MAX_BYTES: Final = 64 * 1024
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="ameide", charset="UTF-8"'}


class Credentials:
    """User names with the digests of their passwords; the passwords themselves are not kept."""

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._digests = {user: _digest(password) for user, password in passwords.items()}
        # An unknown user is compared too, with a digest of nothing anybody knows.
        self._nobody = _digest(secrets.token_hex(32))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of `user:password` lines; blank lines and lines that start with `#` are skipped.

        Raises ConfigError, which never shows a line's content, if others may read the file or a line is malformed.
        """
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                raw = file.read(_FILE_MAX_BYTES + 1)
            text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigError(f"credentials {path}: cannot be read: {reason}") from None
        if mode & 0o077:
            raise ConfigError(f"credentials {path}: others may read it (mode {mode:04o}); run: chmod 600 {path}")
        if len(raw) > _FILE_MAX_BYTES:
            raise ConfigError(f"credentials {path}: expected at most {_FILE_MAX_BYTES} bytes")
        passwords: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, password = line.partition(":")
            if not (user and colon and password) or user in passwords:
                raise ConfigError(f"credentials {path}, line {number}: expected user:password, each user once")
            passwords[user] = password
        if not passwords:
            raise ConfigError(f"credentials {path}: expected at least one line user:password")
        return cls(passwords)

    def accept(self, user: str, password: str) -> bool:
        """Whether this is the user's password; takes the same time for an unknown user."""
        known = self._digests.get(user)
        matches = hmac.compare_digest(_digest(password), self._nobody if known is None else known)
        return matches and known is not None


class Access:
    """Decides on a request before it is routed."""

    def __init__(self, credentials: Credentials | None, *, anonymous_pull: bool) -> None:
        """Without credentials everybody may read and write."""
        self._credentials = credentials
        self._anonymous_pull = anonymous_pull

    def check(self, request: Request) -> None:
        """Raises WireError UNAUTHORIZED with the challenge."""
        if self._credentials is None:
            return
        given = request.authorization
        if given is None or given.type != "basic":
            user, password, present = "", "", "Authorization" in request.headers
        else:
            user, password = given.username or "", given.password or ""
            present = bool(user or password)
        if present and self._credentials.accept(user, password):
            return
        is_read = request.method in ("GET", "HEAD") and "/blobs/uploads/" not in request.path
        if not present and is_read and self._anonymous_pull and request.path not in ("/v2", "/v2/"):
            return
        raise WireError(Code.UNAUTHORIZED, "authentication required", headers=_CHALLENGE)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
