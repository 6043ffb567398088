"""Which tokens were used: each counts once, also after a restart."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Final

from state.errors import ConfigError, Unavailable

TOKENS_MAX: Final = 20_000


class UsedTokens:
    """One empty file for each token, named by its hash and expiry, until it is over. For one process."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory. Raises ConfigError where this user cannot."""
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = [entry.name for entry in directory.iterdir()]
        except OSError as error:
            raise ConfigError(f"{directory}: cannot be made or read ({error.strerror}); see state_dir") from error
        parted = [name.partition(".") for name in names]
        self._used = {key: int(expiry) for key, _, expiry in parted if expiry.isascii() and expiry.isdecimal()}
        self._lock = threading.Lock()

    def use(self, issuer: str, token_id: str, expires_at: int, now: int) -> bool:
        """Whether this is the first use; it is on disk then. Raises Unavailable while too many are not over yet.

        `expires_at` is the time from which on the token is refused anyway.
        """
        key = hashlib.sha256(f"{issuer}\0{token_id}".encode(errors="surrogatepass")).hexdigest()
        with self._lock:
            if key in self._used:
                return False
            if len(self._used) >= TOKENS_MAX:
                self._forget(now)
            if len(self._used) >= TOKENS_MAX:
                raise Unavailable("too many tokens were used; try again later")
            os.close(os.open(self._path(key, expires_at), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            self._used[key] = expires_at
            return True

    def _forget(self, now: int) -> None:
        for key, expiry in [*self._used.items()]:
            if expiry < now:
                self._path(key, expiry).unlink(missing_ok=True)
                del self._used[key]

    def _path(self, key: str, expires_at: int) -> Path:
        return self._directory / f"{key}.{expires_at}"
