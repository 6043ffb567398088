"""Heads whose recorded facts no longer hold, and what a person makes of them (design §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from state.canonical import Json, reading
from state.errors import InvalidValue
from state.git import CommitId
from state.oci import Digest, Repository

REASON_MAX: Final = 500


class Breach(NamedTuple):
    """A recorded tag that reads otherwise now; `found` is None where it is gone."""

    repository: Repository
    recorded: Digest
    found: Digest | None

    def to_json(self) -> dict[str, Json]:
        return {"found": self.found, "recorded": self.recorded, "repository": self.repository}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Breach:
        """Read `to_json` back. Raises InvalidValue on anything else."""
        read = reading(value, "breach")
        found = read.text_or_none("found")
        return cls(
            Repository(read.text("repository")),
            Digest(read.text("recorded")),
            Digest(found) if found is not None else None,
        )

    def __str__(self) -> str:
        return f"recorded {self.recorded}, found {self.found or 'no tag'}"


class Quarantine(NamedTuple):
    """A head in quarantine. `entry` is the newest log entry about it: accepting names it, so it names what was seen."""

    entry: CommitId
    breaches: tuple[Breach, ...]


class Acceptance(NamedTuple):
    """A person's word that a quarantined head shall go on with what is there now.

    `quarantine` is the log entry that was shown to them; `by` is who they said they are, `reason` why.
    """

    head: CommitId
    quarantine: CommitId
    by: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        return {"by": self.by, "head": self.head, "quarantine": self.quarantine, "reason": self.reason}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Acceptance:
        """Read `to_json` back. Raises InvalidValue on anything else, and on text that is not one line to print."""
        read = reading(value, "acceptance")
        return cls(
            CommitId(read.text("head")),
            CommitId(read.text("quarantine")),
            printable("by", read.text("by")),
            printable("reason", read.text("reason")),
        )


def printable(what: str, text: str) -> str:
    """One line of at most `REASON_MAX` printable characters. Raises InvalidValue."""
    if not text.strip() or len(text) > REASON_MAX or not text.isprintable():
        raise InvalidValue(f"{what}: expected one line of 1 to {REASON_MAX} printable characters, got {text[:60]!r}")
    return text
