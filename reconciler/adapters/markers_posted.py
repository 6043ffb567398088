"""Markers that came over HTTP, kept as files in the state directory: what was answered with 202 outlives a restart."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from reconciler.adapters.marker_files import FILES_MAX, newest
from reconciler.approval.policy import LIFE_MAX_S
from state.errors import ConfigError, Unavailable
from state.oci import Digest

_KEPT_S: Final = LIFE_MAX_S + 24 * 3600
"""No marker is valid for longer."""
_SUFFIX: Final = ".json"


class PostedMarkers:
    """Implements `ports.Markers`; `put` and `pending` may be called from several threads, by one process."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory. Raises ConfigError where this user cannot."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{directory}: cannot be made ({error.strerror}); see state_dir") from error
        self._directory = directory
        self._lock = threading.Lock()

    def put(self, raw: bytes) -> Digest:
        """Keep a marker, once; when this returns it is on disk. Raises Unavailable while too many wait."""
        digest = Digest.of(raw)
        path = self._path(digest)
        with self._lock:
            if path.exists():
                return digest
            if len(self._names()) >= FILES_MAX:
                self._forget_old()
            if len(self._names()) >= FILES_MAX:
                raise Unavailable(f"{FILES_MAX} markers wait already; try again once they were looked at")
            fresh = path.with_name(f".{path.name}")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(handle)
            fresh.rename(path)
            self._sync()
        return digest

    def pending(self) -> Sequence[bytes]:
        """What came and was not `done`, oldest first."""
        return tuple(file.raw for file in newest(self._directory, _is_marker))

    def done(self, markers: Iterable[Digest]) -> None:
        """Forget these: they are in the log, or will never count."""
        with self._lock:
            for digest in markers:
                self._path(digest).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self._directory) if _is_marker(name)]  # noqa: PTH208 - names alone

    def _forget_old(self) -> None:
        for name in self._names():
            path = self._directory / name
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink(missing_ok=True)

    def _path(self, digest: Digest) -> Path:
        return self._directory / f"{digest.hex}{_SUFFIX}"

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_marker(name: str) -> bool:
    return not name.startswith(".") and name.endswith(_SUFFIX)
