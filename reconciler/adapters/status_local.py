"""Statuses of the forge `local`: one blob per head behind `refs/ameide/status/<head>`, replaced in place."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from reconciler.adapters.local_repository import LocalRepository, blob, target
from reconciler.ports import StatusState
from state import canonical
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.log_recovery import remove_dead_locks

SUMMARY_MAX_BYTES: Final = 64 * 1024
FIRST_LINE_MAX_CHARS: Final = 140
STATUS_MAX_BYTES: Final = 8 * SUMMARY_MAX_BYTES
_FORMAT_VERSION: Final = 1


class Status(NamedTuple):
    """What was last reported of a head."""

    state: StatusState
    summary: str


class LocalStatusReporter:
    """A `StatusReporter` over a bare repository."""

    def __init__(self, path: Path) -> None:
        self._repository = LocalRepository(path)

    def recover(self) -> None:
        """Remove the locks that a killed reporter left; call it only where no other one can be running."""
        home = self._repository.path / "refs" / "ameide" / "status"
        refs = [f"refs/ameide/status/{lock.stem}" for lock in sorted(home.glob("*.lock"))]
        remove_dead_locks(self._repository.path, refs)

    def report(self, head: CommitId, state: StatusState, summary: str) -> None:
        """Set the status of `head`; the last report stands, and an equal one writes nothing.

        Raises InvalidValue if the summary's first line or the whole is too long, Unavailable or Denied if the
        repository cannot be written.
        """
        first_line = summary.split("\n", 1)[0]
        if len(first_line) > FIRST_LINE_MAX_CHARS or len(summary.encode(errors="replace")) > SUMMARY_MAX_BYTES:
            raise InvalidValue(
                f"status of {head.short}: expected a first line of at most {FIRST_LINE_MAX_CHARS} characters and "
                f"{SUMMARY_MAX_BYTES} bytes in all, got {len(first_line)} characters in the first line"
            )
        raw = canonical.dumps({"head": head, "state": state.value, "summary": summary, "v": _FORMAT_VERSION})
        new = self._repository.add(raw)
        opened = self._repository.open()
        while True:
            before = target(opened, _ref(head))
            if before == new or self._repository.swap(_ref(head), before, new):
                return

    def status_of(self, head: CommitId) -> Status | None:
        """What was last reported of `head`; None if nothing was. Raises Terminal if it cannot be read."""
        opened = self._repository.open()
        oid = target(opened, _ref(head))
        if oid is None:
            return None
        what = f"status of {head.short}"
        value = canonical.loads(blob(opened, oid, what, STATUS_MAX_BYTES), what=what, max_bytes=STATUS_MAX_BYTES)
        if (
            not isinstance(value, dict)
            or set(value) != {"head", "state", "summary", "v"}
            or value["v"] != _FORMAT_VERSION
            or value["head"] != head
            or value["state"] not in list(StatusState)
            or not isinstance(value["summary"], str)
        ):
            raise InvalidValue(f"{what}: not a status of format version {_FORMAT_VERSION} for this head")
        return Status(StatusState(str(value["state"])), value["summary"])


def _ref(head: CommitId) -> RefName:
    return RefName(f"refs/ameide/status/{head}")
