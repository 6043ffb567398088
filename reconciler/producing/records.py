"""What a run did, image by image, as a file that a machine may read while it runs and after it was killed.

Nothing is decided by this file: the registry and git are asked anew by every run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from reconciler.producing.deciding import Channel
from state.canonical import Json
from state.errors import ConfigError, IntegrityError, ReconcilerError, Terminal
from state.git import CommitId
from state.oci import Digest, Repository


class State(StrEnum):
    """Where an image is."""

    WAITING = "waiting"
    UNCHANGED = "unchanged"
    """Nothing to build: on a pull request the reconciler retags it, on main `:main` stays."""
    BUILDING = "building"
    PUSHING = "pushing"
    PROVING = "proving"
    TAGGING = "tagging"
    PUBLISHED = "published"
    """By this run: the tag names `digest`, which is proven."""
    PRESENT = "present"
    """The same, by an earlier run."""
    REFUSED = "refused"
    """A person has to decide; `reason` says what."""
    FAILED = "failed"


DONE = frozenset({State.UNCHANGED, State.PUBLISHED, State.PRESENT})


class Row(NamedTuple):
    """One image of a run."""

    image: str
    repository: Repository
    state: State
    digest: Digest | None = None
    reason: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        return {
            "digest": self.digest,
            "image": self.image,
            "reason": self.reason or None,
            "repository": self.repository,
            "state": self.state.value,
            "why": self.why or None,
        }


def failed(row: Row, error: ReconcilerError) -> Row:
    """The row of an image that an error ended; `reason` is the error's family, by who has to act."""
    family = "terminal" if isinstance(error, Terminal) else "transient"
    if isinstance(error, IntegrityError):
        family = "integrity"
    return row._replace(state=State.FAILED, reason=family, why=str(error))


class Status:
    """The rows of one run, written to `file` whenever one changes. Thread-safe."""

    def __init__(self, file: Path, channel: Channel, base: CommitId, head: CommitId, rows: Iterable[Row]) -> None:
        self._file = file
        self._said: dict[str, Json] = {"base": base, "channel": channel.value, "head": head, "version": 1}
        self._rows = {row.image: row for row in rows}
        self._lock = Lock()

    def begin(self) -> None:
        """Write what is known before anything is done. Raises ConfigError if it cannot be written."""
        with self._lock:
            self._write()

    @property
    def rows(self) -> tuple[Row, ...]:
        """In order of the images' names."""
        with self._lock:
            return tuple(self._rows[name] for name in sorted(self._rows))

    def set(self, row: Row) -> None:
        """Raises ConfigError if the file cannot be written."""
        with self._lock:
            self._rows[row.image] = row
            self._write()

    def to_json(self) -> dict[str, Json]:
        """The whole, as the file has it."""
        rows: list[Json] = [self._rows[name].to_json() for name in sorted(self._rows)]
        return {**self._said, "images": rows}

    def _write(self) -> None:
        fresh = self._file.with_name(f".{self._file.name}.new")
        try:
            fresh.write_text(json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n")
            os.replace(fresh, self._file)  # noqa: PTH105  (replace is the point)
        except OSError as error:
            raise ConfigError(f"{self._file}: cannot be written: {error.strerror} (state_dir)") from error
