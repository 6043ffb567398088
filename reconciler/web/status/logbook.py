"""The log, read for a page: a bounded number of entries, for a bounded time, from a place that the page names.

Each request opens the log's repository for itself, so that it shares nothing with the writer but the disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from reconciler.web.status.params import Params
from state.canonical import Json
from state.entry import Entry, Kind, Logged, subject
from state.git import CommitId
from state.log_branch import LogName, Role
from state.log_read import LogReader, branches, open_repository

ENTRIES_PER_PAGE: Final = 50
SCAN_MAX_ENTRIES: Final = 2000
SCAN_MAX_S: Final = 0.5
"""A search ends here and says how far it came; the page's link goes on from there."""
BODY_MAX_CHARS: Final = 256 * 1024
"""Of one entry that are shown."""
HEAD_MIN_DIGITS: Final = 7
PARAMETERS: Final = ("role", "kind", "pr", "head", "q", "start")


class Wanted(NamedTuple):
    """Which entries are looked for; None means any."""

    kind: Kind | None = None
    pr: int | None = None
    head: str | None = None
    """The first digits of a head."""
    text: str | None = None

    @classmethod
    def of(cls, params: Params) -> Wanted:
        """Raises BadParameter."""
        kind = params.choice("kind", [k.value for k in Kind])
        head = params.digits("head", HEAD_MIN_DIGITS)
        return cls(None if kind is None else Kind(kind), params.number("pr"), head, params.text("q"))

    def match(self, entry: Entry) -> bool:
        if self.kind is not None and entry.kind is not self.kind:
            return False
        if self.pr is not None and self.pr not in _numbers(entry.body):
            return False
        if self.head is not None and not any(str(h).startswith(self.head) for h in _named(entry.body, "head")):
            return False
        return self.text is None or self.text.casefold() in entry.encode().decode().casefold()


class LogPage(NamedTuple):
    """Matching entries, newest first, and where to go on."""

    entries: tuple[Logged, ...]
    further: CommitId | None
    """The next entry that was not looked at; None at the beginning of the log."""
    looked_at: int
    oldest_at: str | None
    """The time of the oldest entry that was looked at."""

    def to_json(self) -> dict[str, Json]:
        return {
            "entries": [entry_json(logged) for logged in self.entries],
            "looked_at": self.looked_at,
            "next": self.further,
        }


class LogBook:
    """The log of one repository and role. Raises Terminal if there is none, IntegrityError if it is damaged."""

    def __init__(
        self, path: Path, repository_id: int, role: Role, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = LogReader(path, LogName(repository_id, role).ref)
        self._monotonic_s = monotonic_s

    def tip(self) -> CommitId | None:
        return self._reader.tip()

    def read(self, entry: CommitId) -> Entry:
        """One entry by id. Raises IntegrityError if it is none."""
        return self._reader.read(entry).entry

    def page(self, wanted: Wanted, start: CommitId | None = None) -> LogPage:
        """The matching entries from `start` on, by default from the newest. Raises IntegrityError."""
        deadline = self._monotonic_s() + SCAN_MAX_S
        found: list[Logged] = []
        looked_at, oldest = 0, None
        for logged in self._reader.newest_first(start):
            full = len(found) == ENTRIES_PER_PAGE or looked_at == SCAN_MAX_ENTRIES
            # At least one is looked at, however slow the disk is: the next page would else begin where this one did.
            if full or (looked_at and self._monotonic_s() > deadline):
                return LogPage(tuple(found), logged.id, looked_at, oldest)
            looked_at, oldest = looked_at + 1, logged.entry.at
            if wanted.match(logged.entry):
                found.append(logged)
        return LogPage(tuple(found), None, looked_at, oldest)


def roles(path: Path, repository_id: int) -> tuple[Role, ...]:
    """The roles that have written a log of this repository here; none where there is no log at all. Raises Terminal if
    what is there is no log repository."""
    if not path.exists():
        return ()
    known = branches(open_repository(path))
    return tuple(role for role in Role if LogName(repository_id, role).ref in known)


def entry_json(logged: Logged) -> dict[str, Json]:
    """One entry in the form of `ameide log show --json`, with its line for people."""
    return {**logged.to_json(), "subject": subject(logged.entry)}


def body_text(entry: Entry) -> tuple[str, bool]:
    """The body as indented JSON, in ASCII so that nothing in it steers a screen; and whether it was cut."""
    text = json.dumps(dict(entry.body), indent=2, sort_keys=True)
    return text[:BODY_MAX_CHARS], len(text) > BODY_MAX_CHARS


def _numbers(body: object) -> Iterator[object]:
    for found in _named(body, "pull_requests"):
        yield from found if isinstance(found, list) else ()
    yield from _named(body, "pull_request")


def _named(value: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for inner in value.values():
            yield from _named(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, key)
