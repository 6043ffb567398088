"""Kubernetes' JSON into the janitor's values: everything that is used is checked, nothing else is kept (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from reconciler.janitor.cluster import Application, Condition, Namespace
from state.errors import Unavailable

FINALIZERS_MAX: Final = 50
_TEXT_MAX_CHARS: Final = 500
_TIME: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?Z")


class Page(NamedTuple):
    """One chunk of a list: its items, the token that leads to the next ("" at the end), and its resourceVersion."""

    items: tuple[Mapping[str, Any], ...]
    token: str
    resource_version: str


def page(body: object, where: str) -> Page:
    """Raises Unavailable if this is no list of Kubernetes'."""
    metadata = _mapping(_mapping(body, where).get("metadata"), where)
    items = _mapping(body, where).get("items")
    # An empty list may be null: it is a nil slice in Go.
    if not isinstance(items, list | None) or not str(_mapping(body, where).get("kind", "")).endswith("List"):
        raise Unavailable(f"{where}: the answer is no list of Kubernetes'; check the API server's address")
    version = metadata.get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise Unavailable(f"{where}: the list has no resourceVersion")
    return Page(tuple(_mapping(i, where) for i in items or ()), str(metadata.get("continue") or ""), version)


def namespace(value: object, where: str) -> Namespace:
    """Raises Unavailable if what a deletion stands on is missing."""
    body = _mapping(value, where)
    metadata, status = _mapping(body.get("metadata"), where), _mapping(body.get("status") or {}, where)
    spec = _mapping(body.get("spec") or {}, where)
    deleted = metadata.get("deletionTimestamp")
    finalizers = (*_texts(metadata.get("finalizers")), *_texts(spec.get("finalizers")))
    return Namespace(
        name=_text(metadata, "name", where),
        uid=_text(metadata, "uid", where),
        resource_version=_text(metadata, "resourceVersion", where),
        created_at=_time(metadata.get("creationTimestamp"), where),
        labels={k: v for k, v in _mapping(metadata.get("labels") or {}, where).items() if isinstance(v, str)},
        phase=str(status.get("phase") or "Active"),
        deleting_since=None if deleted is None else _time(deleted, where),
        finalizers=finalizers[:FINALIZERS_MAX],
        conditions=tuple(_conditions(status.get("conditions"))),
    )


def application(value: object, where: str) -> Application:
    """Raises Unavailable if it has no name; whatever else is missing is empty, and refers to nothing."""
    body = _mapping(value, where)
    metadata, spec = _mapping(body.get("metadata"), where), _mapping(body.get("spec") or {}, where)
    destination = _mapping(spec.get("destination") or {}, where)
    status = _mapping(body.get("status") or {}, where)
    deleted = metadata.get("deletionTimestamp")
    return Application(
        namespace=_text(metadata, "namespace", where),
        name=_text(metadata, "name", where),
        server=str(destination.get("server") or "")[:_TEXT_MAX_CHARS],
        cluster=str(destination.get("name") or "")[:_TEXT_MAX_CHARS],
        target=str(destination.get("namespace") or ""),
        resource_namespaces=frozenset(_held(status.get("resources"))),
        deleting_since=None if deleted is None else _time(deleted, where),
    )


def _held(rows: object) -> Iterator[str]:
    """The namespaces that a status names: objects inside them, and Namespaces themselves."""
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        if isinstance(inside := row.get("namespace"), str) and inside:
            yield inside
        if row.get("kind") == "Namespace" and not row.get("group") and isinstance(name := row.get("name"), str):
            yield name


def _conditions(rows: object) -> Iterator[Condition]:
    for row in rows[:FINALIZERS_MAX] if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("status") == "True":
            yield Condition(str(row.get("type"))[:_TEXT_MAX_CHARS], str(row.get("message") or "")[:_TEXT_MAX_CHARS])


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Unavailable(f"{where}: expected an object of Kubernetes', got {type(value).__name__}")
    return value


def _text(value: Mapping[str, Any], key: str, where: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found or len(found) > _TEXT_MAX_CHARS:
        raise Unavailable(f"{where}: an object without {key}")
    return found


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(v)[:_TEXT_MAX_CHARS] for v in value) if isinstance(value, list) else ()


def _time(value: object, where: str) -> datetime:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Unavailable(f"{where}: expected a time such as 2026-01-31T23:59:59Z, got {str(value)[:40]!r}")
    try:
        return datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Unavailable(f"{where}: {found[0]} is no time of the calendar") from None
