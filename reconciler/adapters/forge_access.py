"""Proving to a forge who we are: a token from a file, or a GitHub App that makes tokens of an hour.

Files are read anew whenever they changed, so that a rotated secret counts from the next request on. Tokens are never
part of a message.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import jwt
import requests

from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.ports import Clock
from state import canonical
from state.canonical import Json
from state.errors import ConfigError, Denied, InvalidValue, RateLimited, Terminal, Unavailable

_FILE_MAX_BYTES: Final = 64 * 1024
_TOKEN_MAX_CHARS: Final = 4096
_JWT_LIFE: Final = timedelta(minutes=9)
_JWT_BACK: Final = timedelta(seconds=60)
_REFRESH_BEFORE: Final = timedelta(minutes=10)


class SecretFile:
    """A text secret in a file, read again whenever the file is another one or has changed."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._text = ""

    def read(self) -> str:
        """Its content without surrounding blanks. Raises ConfigError naming the file, never its content."""
        where = f"{self._what} {self._path}"
        try:
            with self._lock:
                handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
                with os.fdopen(handle, "rb") as file:
                    seen = os.fstat(handle)
                    stamp = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_mode)
                    if stamp != self._stamp:
                        self._check(seen, where)
                        self._text = file.read(_FILE_MAX_BYTES + 1).decode("utf-8").strip()
                        self._stamp = stamp
                text = self._text
        except OSError as error:
            raise ConfigError(f"{where}: cannot be read ({error.strerror}); mount it, or name another") from error
        except UnicodeDecodeError:
            raise ConfigError(f"{where}: expected text") from None
        if not text or len(text) > _FILE_MAX_BYTES:
            raise ConfigError(f"{where}: expected a secret of at most {_FILE_MAX_BYTES} bytes, got {len(text)}")
        return text

    def lines(self) -> tuple[str, ...]:
        """One secret a line, without empty lines; raises as `read`."""
        return tuple(line.strip() for line in self.read().splitlines() if line.strip())

    @staticmethod
    def _check(seen: os.stat_result, where: str) -> None:
        mode = stat.S_IMODE(seen.st_mode)
        if not stat.S_ISREG(seen.st_mode) or mode & 0o022:
            raise ConfigError(f"{where}: expected a regular file that nobody else may write, got mode {mode:04o}")


class TokenFile:
    """A personal, project or bot token: one line in a file."""

    def __init__(self, path: Path) -> None:
        self._file = SecretFile(path, "token file")

    def token(self, *, fresh: bool = False) -> str:
        """The token as the file has it now."""
        del fresh  # every read is fresh
        text = self._file.read()
        if not text.isascii() or not text.isprintable() or " " in text or len(text) > _TOKEN_MAX_CHARS:
            raise ConfigError("token file: expected one token of printable ASCII on one line, got something else")
        return text


class GitHubAppToken:
    """Installation tokens of a GitHub App, for one repository and no more permissions than named.

    Source: docs.github.com, "Generating a JSON Web Token (JWT) for a GitHub App", "Generating an installation access
    token". The JWT begins 60 s in the past, since clocks differ; a token of an hour is replaced after 50 minutes.
    """

    def __init__(
        self,
        root: str,
        app_id: int,
        installation_id: int,
        private_key_file: Path,
        *,
        repository_name: str,
        permissions: Mapping[str, str],
        clock: Clock,
        limits: ForgeLimits | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._root = root.rstrip("/")
        self._app_id, self._installation_id = app_id, installation_id
        self._key = SecretFile(private_key_file, "private key file")
        self._repository_name = repository_name
        self._permissions = dict(permissions)
        self._clock = clock
        self._limits = limits or ForgeLimits()
        verify: bool | str = True if ca_file is None else ca_file
        self._transport = Transport(requests.Session(), Origin.of(self._root), self._limits, clock, verify)
        self._lock = threading.Lock()
        self._token = ""
        self._replace_at: datetime | None = None

    def token(self, *, fresh: bool = False) -> str:
        """The installation token, made anew shortly before it ends or after it was refused."""
        with self._lock:
            if fresh or self._replace_at is None or self._clock.now() >= self._replace_at:
                self._token, expires = self._exchange()
                self._replace_at = expires - _REFRESH_BEFORE
            return self._token

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()

    def app_jwt(self) -> str:
        """The App's own proof, for `GET /app`. Raises ConfigError if the key cannot be used."""
        now = self._clock.now()
        claims = {
            "iat": int((now - _JWT_BACK).timestamp()),
            "exp": int((now + _JWT_LIFE).timestamp()),
            "iss": str(self._app_id),
        }
        try:
            return jwt.encode(claims, self._key.read(), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise ConfigError("private key file: expected an RSA private key in PEM, as GitHub hands it out") from None

    def _exchange(self) -> tuple[str, datetime]:
        path = f"/app/installations/{self._installation_id}/access_tokens"
        where = f"GitHub App {self._app_id}: POST {path}"
        wanted: dict[str, Json] = {"permissions": dict(self._permissions), "repositories": [self._repository_name]}
        call = Call(
            "POST",
            self._root + path,
            where,
            {"Accept": "application/vnd.github+json", "Content-Type": "application/json"},
            canonical.dumps(wanted),
            max_bytes=1024 * 1024,
        )
        until = self._clock.monotonic_s() + self._limits.call_timeout_s
        response = self._transport.send(call, f"Bearer {self.app_jwt()}", until)
        status = response.status_code
        if status == 201:
            return _token_of(response.content, where)
        limited = response.headers.get("x-ratelimit-remaining") == "0" or "Retry-After" in response.headers
        if status == 429 or (status == 403 and limited):
            raise RateLimited(f"{where}: answered {status}", retry_after_s=self._limits.cooldown_s)
        if status in {401, 403}:
            raise Denied(
                f"{where}: answered {status}; check the App's id and key, this machine's clock, and that the "
                "installation is not suspended"
            )
        if status == 404:
            raise Denied(f"{where}: answered 404; there is no such installation of this App, or it was removed")
        if status == 422:
            raise Denied(
                f"{where}: answered 422; the installation lacks {self._repository_name} or one of the permissions "
                f"{', '.join(f'{k}: {v}' for k, v in sorted(self._permissions.items()))}"
            )
        if status == 408 or status >= 500:
            raise Unavailable(f"{where}: answered {status}")
        raise Terminal(f"{where}: answered {status}, expected 201")


def _token_of(raw: bytes, where: str) -> tuple[str, datetime]:
    try:
        body = canonical.loads(raw, what=where, max_bytes=1024 * 1024)
    except InvalidValue:
        raise Unavailable(f"{where}: answered with something that is no JSON") from None
    token: Json = body.get("token") if isinstance(body, dict) else None
    expires: Json = body.get("expires_at") if isinstance(body, dict) else None
    try:
        if not isinstance(token, str) or not token.isprintable() or not isinstance(expires, str):
            raise ValueError
        when = datetime.fromisoformat(expires)
        if when.tzinfo is None:
            raise ValueError
        return token, when
    except ValueError:
        raise Unavailable(f"{where}: expected token and expires_at in the answer") from None
