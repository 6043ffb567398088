"""What was told already, in one file per log: a place in the log, and the conditions that stood."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.conditions import Condition
from state import canonical
from state.canonical import reading
from state.errors import IntegrityError, InvalidValue, Unavailable
from state.git import CommitId

_MAX_BYTES: Final = 16 * 1024 * 1024
_VERSION: Final = 1


class Told(NamedTuple):
    """Everything up to `entry` is told, and that these conditions stand. None and empty where nothing was told yet."""

    entry: CommitId | None = None
    conditions: frozenset[Condition] = frozenset()


class Memory:
    """The file. It is a cache of what receivers know: without it they are told again what is young enough."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Told:
        """What was saved last; nothing where there is no file. Raises IntegrityError if it is not as `save` made it."""
        try:
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                raw = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return Told()
        except OSError as error:
            raise IntegrityError(f"{self.path}: cannot be read ({error.strerror})") from error
        try:
            read = reading(canonical.loads_object(raw, what=str(self.path), max_bytes=_MAX_BYTES), str(self.path))
            if read.integer("v") != _VERSION:
                raise InvalidValue(f"expected version {_VERSION}")
            entry = read.text_or_none("entry")
            stood = frozenset(Condition.from_json(row) for row in read.objects("conditions"))
            return Told(None if entry is None else CommitId(entry), stood)
        except InvalidValue as error:
            raise IntegrityError(f"{self.path}: not what was saved there: {error}") from error

    def save(self, told: Told) -> None:
        """Remember it, by a rename, so that a crash leaves the old one or the new one. Raises Unavailable."""
        fresh = self.path.with_suffix(".new")
        raw = canonical.dumps(
            {
                "conditions": [c.to_json() for c in sorted(told.conditions)],
                "entry": told.entry,
                "v": _VERSION,
            }
        )
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self.path)
        except OSError as error:
            raise Unavailable(f"{self.path}: cannot be written ({error.strerror})") from error
