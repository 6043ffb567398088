"""Acceptances of quarantined heads, handed over as files in a directory of the daemon's own user.

Whoever may write there is that user, who also holds the log's signing key: the file system is the authority, and what
was accepted, by whom and why is in the signed log afterwards. A file is one acceptance; it appears whole or not at all.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from state import canonical
from state.errors import ConfigError, InvalidValue, Terminal
from state.quarantine import Acceptance

_MAX_BYTES: Final = 16 * 1024
_FILES_MAX: Final = 1000


class AcceptanceFiles:
    """The acceptances of one repository (`ports.Acceptances`)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, acceptance: Acceptance) -> Path:
        """Hand one over; an earlier one of the same head that was not taken up yet is replaced.

        Raises ConfigError where this user may not write there.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(acceptance)
            fresh = path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(canonical.dumps(acceptance.to_json()))
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(path)
        except OSError as error:
            raise ConfigError(
                f"{self._directory}: cannot be written ({error.strerror}); run this as the user of the reconciler"
            ) from error
        return path

    def pending(self) -> tuple[Acceptance, ...]:
        """What was handed over, in order of head. Raises Terminal naming a file that is not as `put` makes it."""
        try:
            names = sorted(entry.name for entry in self._directory.iterdir() if entry.suffix == ".json")
        except FileNotFoundError:
            return ()
        if len(names) > _FILES_MAX:
            raise Terminal(f"{self._directory}: expected at most {_FILES_MAX} files, got {len(names)}; remove them")
        try:
            return tuple(_read(self._directory / name) for name in names)
        except OSError as error:
            raise Terminal(f"{self._directory}: cannot be read ({error}); remove what is wrong there") from error

    def done(self, acceptance: Acceptance) -> None:
        """Forget one that was taken up or refused."""
        self._path(acceptance).unlink(missing_ok=True)

    def _path(self, acceptance: Acceptance) -> Path:
        return self._directory / f"{acceptance.head}.json"


def _read(path: Path) -> Acceptance:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Terminal(f"{path}: expected a file of this user that nobody else may write; remove it")
        raw = file.read(_MAX_BYTES + 1)
    try:
        acceptance = Acceptance.from_json(canonical.loads_object(raw, what=str(path), max_bytes=_MAX_BYTES))
    except InvalidValue as error:
        raise Terminal(f"{path}: not an acceptance ({error}); remove it and run `ameide head accept` again") from error
    if path.name != f"{acceptance.head}.json":
        raise Terminal(f"{path}: names head {acceptance.head}, so it is not where it belongs; remove it")
    return acceptance
