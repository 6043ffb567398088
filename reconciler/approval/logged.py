"""What the log says of markers: which came, who signed them, and what became of each. Pure over the entries.

Bodies: `marker` {digest, envelope (base64), id, kind: approval | admission, principals}; `revocation` {digest,
envelope, id (of the marker that is taken back), principals}; an `intent` that consumes approvals names their ids.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from reconciler.approval.codes import RefusedMarker
from reconciler.approval.envelopes import inspect
from state.approval import Admission, Approval, Marker
from state.canonical import Json, reading
from state.entry import Kind, Logged
from state.errors import InvalidValue


class Standing(StrEnum):
    """What became of a marker."""

    OPEN = "open"
    """It may still count; for an admission until it expires."""
    EXPIRED = "expired"
    CONSUMED = "consumed"
    REVOKED = "revoked"
    REVOKED_AFTER = "revoked-after"
    """It was consumed, and taken back afterwards."""


class Story(NamedTuple):
    """One marker and every entry that is about it, oldest first."""

    id: str
    entry: Logged
    marker: Marker
    principals: tuple[str, ...]
    envelope: bytes
    revocation: Logged | None
    intents: tuple[Logged, ...]
    others: tuple[Logged, ...]
    """Entries of other kinds that name it, or one of its intents."""

    def standing(self, now: int) -> Standing:
        """What became of it by the time `now`."""
        if self.intents:
            return Standing.CONSUMED if self.revocation is None else Standing.REVOKED_AFTER
        if self.revocation is not None:
            return Standing.REVOKED
        if isinstance(self.marker, Approval | Admission) and now > self.marker.not_after:
            return Standing.EXPIRED
        return Standing.OPEN


def stories(entries: Iterable[Logged]) -> Mapping[str, Story]:
    """Id → story, in the order in which the markers were logged. Raises InvalidValue for a body of another form."""
    found: dict[str, Story] = {}
    intents: dict[str, str] = {}
    for logged in entries:
        kind, body = logged.entry.kind, logged.entry.body
        if kind is Kind.MARKER:
            story = _story(logged)
            found.setdefault(story.id, story)
            continue
        about = {text for text in _texts(body) if text in found or text in intents}
        for text in sorted(about):
            marker_id = intents.get(text, text)
            story = found[marker_id]
            match kind:
                case Kind.REVOCATION if text == marker_id:
                    story = story._replace(revocation=story.revocation or logged)
                case Kind.INTENT if text == marker_id:
                    story = story._replace(intents=(*story.intents, logged))
                    intents[logged.id] = marker_id
                case _ if logged not in story.others:
                    story = story._replace(others=(*story.others, logged))
            found[marker_id] = story
    return found


def _story(logged: Logged) -> Story:
    read = reading(logged.entry.body, f"entry {logged.id}")
    try:
        envelope = base64.b64decode(read.text("envelope"), validate=True)
        marker = inspect(envelope)
    except (binascii.Error, ValueError, RefusedMarker) as error:
        raise InvalidValue(f"entry {logged.id}: holds no marker: {str(error)[:200]}") from error
    principals = tuple(read.texts("principals"))
    if marker.id != read.text("id") or marker.approvers != principals:
        raise InvalidValue(f"entry {logged.id}: says another id or other principals than the marker in it")
    return Story(marker.id, logged, marker, principals, envelope, None, (), ())


def _texts(value: Json | Mapping[str, Json]) -> Iterator[str]:
    """Every text in it, at any depth."""
    match value:
        case str():
            yield value
        case list():
            for inner in value:
                yield from _texts(inner)
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case _:
            pass
