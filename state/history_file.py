"""What the log's entries add up to, kept in a file, so that a start reads only the entries after it.

A cache and nothing else: a file that is missing, torn, of another program or of another log is passed over, and every
entry is read. It is bound to one entry by its id, and to the program by the bytes of all modules of `state`, so a
change of how entries are taken into account, or of a value's form, makes it void by itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from state import canonical
from state.canonical import Json, reading
from state.decision import Decision
from state.entry import Entry, Kind, Logged
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.history import Cell, History, Trace
from state.log_branch import LogName
from state.log_recovery import sync_directory
from state.observed import Recorded
from state.oci import Digest, Repository
from state.pin_plan import PinPlan
from state.publishing import LoggedMarker, People, Proposal, Standing
from state.quarantine import Quarantine
from state.typed_json import form
from state.writes import Evidence, Write

FILE_MAX_BYTES: Final = 2 * 1024**3
_HEAD_MAX_BYTES: Final = 4096
_ATTACHED: Final = tuple[Repository, Digest, str, Digest]

_HISTORY: Final[Mapping[str, Any]] = {
    "decisions": dict[CommitId, Decision],
    "recorded": dict[Cell, Recorded],
    "quarantined": dict[CommitId, Quarantine],
    "open_intents": dict[CommitId, tuple[Write, ...]],
    "open_evidence": dict[CommitId, Evidence],
    "attached": dict[_ATTACHED, Digest],  # type: ignore[valid-type]
    "released": dict[CommitId, Digest],
    "newest_recorded": dict[int, CommitId],
    "newest_released": dict[int, CommitId],
    "void": dict[CommitId, Digest],
    "unreleasable": set[CommitId],
    "versions": dict[CommitId, int],
    "recorded_at": dict[Cell, str],
    "decided_at": dict[CommitId, str],
    "written_at": dict[Cell, str],
    "ended": dict[CommitId, CommitId],
    "revived": set[CommitId],
    "traces": dict[CommitId, Trace],
    "seen_in": dict[int, CommitId],
    "parts": dict[str, str],
    "config": Digest | None,
    "last_holds": Digest | None,
    "_changes": int,
    "_writes": deque[tuple[str, int]],
    "_repositories": dict[CommitId, set[Repository]],
}
_PUBLISHING: Final[Mapping[str, Any]] = {
    "plans": dict[Digest, PinPlan],
    "newest_plan": dict[tuple[int, str], Digest],
    "plan_bases": dict[Digest, RefName],
    "markers": dict[str, LoggedMarker],
    "_approvals": dict[Digest, list[str]],
    "people": dict[tuple[int, CommitId], People],
    "marker_digests": set[Digest],
    "revoked": dict[str, CommitId],
    "consumed": dict[str, CommitId],
    "proposals": dict[RefName, Standing],
    "open_steps": dict[CommitId, tuple[Proposal, ...]],
}


class Folded:
    """The fold of the entries so far: the history, the newest entry and its number, and the newest observation."""

    def __init__(self, history: History | None = None) -> None:
        self.history = History() if history is None else history
        self.entry: CommitId | None = None
        self.sequence = -1
        self.observed: CommitId | None = None

    def apply(self, entry_id: CommitId, entry: Entry) -> None:
        """Take one more entry into account. Raises InvalidValue if its body is not of its kind."""
        self.history.apply(entry_id, entry)
        self.entry, self.sequence = entry_id, entry.sequence
        if entry.kind is Kind.OBSERVATION:
            self.observed = entry_id

    def extended(self, entries: Iterable[Logged]) -> Folded:
        """This value with all of `entries` taken into account, in order."""
        for logged in entries:
            self.apply(logged.id, logged.entry)
        return self


def to_json(history: History) -> Json:
    """Everything that a history is made of."""
    return [_values(history, _HISTORY), _values(history.publishing, _PUBLISHING)]


def from_json(value: Json) -> History:
    """Read `to_json` back. Raises InvalidValue."""
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidValue("history: expected its own values and those of publishing")
    made = History()
    _set(made, _HISTORY, value[0])
    _set(made.publishing, _PUBLISHING, value[1])
    return made


class HistoryFile:
    """The file of one log; replaced as a whole. To be trusted as the remembered tip beside it is, and no more."""

    def __init__(self, directory: Path, name: LogName, *, fsync: bool = True) -> None:
        self._fsync = fsync
        self.path = directory / f"{name.file_stem}.history"

    def load(self) -> Folded | None:
        """What is kept; None if there is no file. Raises InvalidValue if it cannot be used, saying why."""
        try:
            with self.path.open("rb") as file:
                head = file.readline(_HEAD_MAX_BYTES)
                body = file.read(FILE_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InvalidValue(f"{self.path}: cannot be read: {error}") from error
        read = reading(canonical.loads_object(head, what=str(self.path), max_bytes=_HEAD_MAX_BYTES), str(self.path))
        if read.text("program") != program_digest():
            raise InvalidValue(f"{self.path}: written by another version of the program")
        if read.text("body") != Digest.of(body):
            raise InvalidValue(f"{self.path}: torn or damaged")
        value = canonical.loads_object(body, what=str(self.path), max_bytes=FILE_MAX_BYTES)
        made = Folded(from_json(value.get("history")))
        read = reading(value, str(self.path))
        made.entry, made.sequence = CommitId(read.text("entry")), read.integer("sequence")
        observed = read.text_or_none("observed")
        made.observed = CommitId(observed) if observed is not None else None
        return made

    def save(self, folded: Folded) -> None:
        """Replace the file; a crash leaves the old one or the new one. Raises OSError."""
        body = canonical.dumps(
            {
                "entry": folded.entry,
                "history": to_json(folded.history),
                "observed": folded.observed,
                "sequence": folded.sequence,
            }
        )
        head = canonical.dumps({"body": Digest.of(body), "program": program_digest()})
        new = self.path.with_name(self.path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + b"\n" + body)
            file.flush()
            if self._fsync:
                os.fsync(file.fileno())
        new.replace(self.path)
        if self._fsync:
            sync_directory(self.path.parent)


@cache
def program_digest() -> Digest:
    """Of the modules that decide what a history is: all of this package, as they lie on the disk."""
    home = Path(__file__).parent
    return canonical.digest([[p.name, Digest.of(p.read_bytes())] for p in sorted(home.glob("*.py"))])


def _values(of: object, fields: Mapping[str, Any]) -> Json:
    return {name: form(type_).write(getattr(of, name)) for name, type_ in fields.items()}


def _set(of: object, fields: Mapping[str, Any], value: Json) -> None:
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise InvalidValue("history: expected exactly its own fields")
    for name, type_ in fields.items():
        setattr(of, name, form(type_).read(value[name]))
