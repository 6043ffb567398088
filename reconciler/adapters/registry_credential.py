"""The login for one registry host, from a file that is named explicitly and nowhere else.

The file has the form of docker's `config.json` with `auths`. The well-known places (`~/.docker`, `DOCKER_CONFIG`,
`~/.netrc`) are never looked at, and a credential helper is never run. Only the group or world *writing* the file is
refused: a mounted Kubernetes Secret is world-readable inside its container and cannot be otherwise.
"""

from __future__ import annotations

import base64
import os
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from state import canonical
from state.canonical import Json
from state.errors import ConfigError, InvalidValue

_FILE_MAX_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and password, or an identity token (OAuth2 refresh token). Never printed."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """The value of an `Authorization` header. Source: RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class Credential:
    """The login of `host` in the file `path`, read again whenever the file is another one or has changed."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._login: Login | None = None

    def login(self) -> Login:
        """The login as the file has it now. Raises ConfigError naming the file and what to mend."""
        try:
            seen = self._path.stat()
            if self._login is not None and _stamp(seen) == self._stamp:
                return self._login
            with self._lock:
                raw, stamp = _read(self._path)
                self._login, self._stamp = _parse(raw, self._path, self._host), stamp
                return self._login
        except OSError as error:
            raise ConfigError(
                f"credential file {self._path}: cannot be read ({error.strerror}); mount it, or configure no credential"
            ) from error


def _stamp(seen: os.stat_result) -> tuple[int, ...]:
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_mode)


def _read(path: Path) -> tuple[bytes, tuple[int, ...]]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
    with os.fdopen(handle, "rb") as file:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode):
            raise ConfigError(f"credential file {path}: expected a regular file")
        if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigError(
                f"credential file {path}: group or others may write it (mode {stat.S_IMODE(seen.st_mode):04o}); "
                "chmod go-w it"
            )
        return file.read(_FILE_MAX_BYTES + 1), _stamp(seen)


def _parse(raw: bytes, path: Path, host: str) -> Login:
    where = f"credential file {path}"
    try:
        config = canonical.loads(raw, what=where, max_bytes=_FILE_MAX_BYTES)
    except InvalidValue as error:
        raise ConfigError(str(error)) from None  # the cause holds the text of the file
    if not isinstance(config, dict):
        raise ConfigError(f"{where}: expected a JSON object with `auths`")
    if config.get("credHelpers") or config.get("credsStore"):
        raise ConfigError(
            f"{where}: credential helpers (credHelpers, credsStore) are not run; write the login under `auths`"
        )
    auths = config.get("auths")
    if not isinstance(auths, dict):
        raise ConfigError(f"{where}: expected an object `auths` with an entry for {host}")
    found = [entry for key, entry in auths.items() if _host_of(key) == host]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise ConfigError(f"{where}: expected exactly one entry for {host} under `auths`, found {len(found)}")
    return _login(found[0], f"{where}, entry {host}")


def _host_of(key: str) -> str:
    """The host a key stands for: `host`, or docker's spelling `https://host/v1/`; a path-scoped key is none."""
    bare = key.removeprefix("https://").removeprefix("http://")
    host, _, path = bare.partition("/")
    return host if path.strip("/") in {"", "v1", "v2"} else ""


def _login(entry: dict[str, Json], where: str) -> Login:
    def text(key: str) -> str:
        value = entry.get(key, "")
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigError(f"{where}: {key} is a printable string")
        return value

    if entry.get("registrytoken"):
        raise ConfigError(f"{where}: a registrytoken expires unseen; write `auth`, or username and password")
    username, password, token = text("username"), text("password"), text("identitytoken")
    if packed := text("auth"):
        try:
            username, colon, password = base64.b64decode(packed, validate=True).decode().partition(":")
        except ValueError:  # no base64, not ASCII, or not UTF-8 in it
            colon = ""
        if not colon or not f"{username}{password}".isprintable():
            raise ConfigError(f"{where}: auth is the base64 of user:password") from None
    if not token and not (username and password):
        raise ConfigError(f"{where}: expected `auth`, username and password, or an identitytoken")
    if ":" in username:
        raise ConfigError(f"{where}: a user name has no colon (RFC 7617)")
    return Login(username, password, token)
