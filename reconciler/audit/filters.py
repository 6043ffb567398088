"""Which entries of a log are asked for (pure over the entries and their blobs)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from state import canonical
from state.canonical import Json
from state.entry import Entry, Kind, Logged, subject
from state.errors import InvalidValue
from state.git import CommitId
from state.parts import PART_MAX_BYTES

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_PEOPLE: Final = ("approved_by", "approvers", "by", "principals")


@dataclass(frozen=True, slots=True)
class Filter:
    """What an entry has to be or to name; None asks for nothing. All that is given has to fit."""

    kind: Kind | None = None
    pull_request: int | None = None
    head: str | None = None
    """The beginning of a head's commit id."""
    repository: str | None = None
    """An image repository, `host/path`."""
    component: str | None = None
    since: str | None = None
    """`at` is not before this (UTC, as in entries)."""
    until: str | None = None
    by: str | None = None
    """The entry's writer, or a person that it names."""
    key: str | None = None
    """Fingerprint of the key that signed the entry, `SHA256:…`."""
    text: str | None = None
    """Somewhere in the entry, whatever the case of its letters."""


class Selection:
    """Applies a filter to entries. To know which image a component is, it has to be asked oldest entry first."""

    def __init__(
        self, asked: Filter, blob: Callable[[str], bytes], signer: Callable[[CommitId], str] | None = None
    ) -> None:
        """`blob` gives the bytes of a blob of the log, `signer` the fingerprint of an entry's key."""
        self._asked = asked
        self._blob = blob
        self._signer = signer
        self._images: set[str] = set()

    @property
    def needs_order(self) -> bool:
        """Whether every entry has to be asked about, oldest first."""
        return self._asked.component is not None

    def wanted(self, logged: Logged) -> bool:
        """Whether this entry is asked for."""
        entry, asked = logged.entry, self._asked
        if asked.component is not None and entry.kind is Kind.OBSERVATION:
            self._learn(entry, asked.component)
        return (
            (asked.kind is None or entry.kind is asked.kind)
            and (asked.since is None or entry.at >= asked.since)
            and (asked.until is None or entry.at <= asked.until)
            and (asked.by is None or entry.writer == asked.by or asked.by in _people(entry.body))
            and (asked.head is None or _names_head(entry.body, asked.head))
            and (asked.pull_request is None or asked.pull_request in _pull_requests(entry))
            and (asked.repository is None or any(_is_of(t, asked.repository) for t in _texts(entry.body)))
            and (asked.component is None or self._about(entry, asked.component))
            and (asked.text is None or asked.text.casefold() in _whole(entry))
            # Last, since it reads the entry's commit once more.
            and (asked.key is None or (self._signer is not None and self._signer(logged.id) == asked.key))
        )

    def _learn(self, entry: Entry, component: str) -> None:
        """Which images the component is or was, by the catalogues that observations recorded."""
        for name, oid in entry.blobs.items():
            if not name.startswith("catalogue."):
                continue
            value = canonical.loads(self._blob(oid), what=name, max_bytes=PART_MAX_BYTES)
            if not isinstance(value, dict):
                continue  # the catalogue could not be read then
            components, images = value.get("components"), value.get("images")
            image = components.get(component) if isinstance(components, dict) else None
            for row in images if isinstance(images, list) else ():
                if (
                    isinstance(row, dict)
                    and row.get("name") == image
                    and isinstance(found := row.get("repository"), str)
                ):
                    self._images.add(found)

    def _about(self, entry: Entry, component: str) -> bool:
        named = {*named_values(entry.body, "component"), *_listed(entry.body, "components")}
        return component in named or any(_is_of(t, image) for t in _texts(entry.body) for image in self._images)


def moment(text: str, *, end: bool = False) -> str:
    """A day or a moment in UTC, as entries write it; a day is its first second, or with `end` its last.

    Raises InvalidValue.
    """
    if _DAY.fullmatch(text):
        return f"{text}T23:59:59Z" if end else f"{text}T00:00:00Z"
    if _MOMENT.fullmatch(text):
        return text
    raise InvalidValue(
        f"expected a day or a moment in UTC, such as 2026-01-31 or 2026-01-31T23:59:59Z, got {text[:80]!r}"
    )


def named_values(value: Json | Mapping[str, Json], key: str) -> Iterator[Json]:
    """Every value under `key`, at any depth; values that cannot be looked up in a set are left out."""
    for found in _named(value, key):
        if not isinstance(found, dict | list):
            yield found


def _named(value: Json | Mapping[str, Json], key: str) -> Iterator[Json]:
    match value:
        case Mapping():
            if key in value:
                yield value[key]
            for inner in value.values():
                yield from _named(inner, key)
        case list():
            for inner in value:
                yield from _named(inner, key)
        case _:
            pass


def _listed(value: Mapping[str, Json], key: str) -> Iterator[Json]:
    for found in _named(value, key):
        yield from (v for v in (found if isinstance(found, list) else ()) if not isinstance(v, dict | list))


def _texts(value: Json | Mapping[str, Json]) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            yield from value
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
        case _:
            pass


def _is_of(text: str, repository: str) -> bool:
    """Whether the text is this image repository, or a reference into it."""
    return text.startswith(repository) and text[len(repository) : len(repository) + 1] in {"", "@", ":"}


def _names_head(body: Mapping[str, Json], head: str) -> bool:
    return any(isinstance(h, str) and h.startswith(head) for h in named_values(body, "head"))


def _pull_requests(entry: Entry) -> set[Json]:
    seen = {int(name[3:]) for name in entry.blobs if name.startswith("pr.") and name[3:].isdecimal()}
    return {*_listed(entry.body, "pull_requests"), *named_values(entry.body, "pull_request"), *seen}


def _people(body: Mapping[str, Json]) -> set[Json]:
    return {name for key in _PEOPLE for name in (*named_values(body, key), *_listed(body, key))}


def _whole(entry: Entry) -> str:
    return f"{subject(entry)}\n{canonical.dumps(dict(entry.body)).decode()}".casefold()
