"""What a delivery hints at: a repository, and perhaps one of its pull requests. Pure.

Only ids and numbers are read, and they only say where to look: order, repetition and age of deliveries mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from reconciler.webhooks.signatures import Sender
from state.canonical import Json
from state.errors import InvalidValue

_NUMBER_MAX: Final = 2**53 - 1
_REPOSITORY: Final[Mapping[Sender, str]] = {
    Sender.GITHUB: "repository",
    Sender.GITEA: "repository",
    Sender.GITLAB: "project",
}
_PULL_REQUEST: Final[Mapping[Sender, tuple[str, str]]] = {
    Sender.GITHUB: ("pull_request", "number"),
    Sender.GITEA: ("pull_request", "number"),
    Sender.GITLAB: ("object_attributes", "iid"),
}


class Hint(NamedTuple):
    """Where to look. None: the delivery does not say which one."""

    repository_id: int | None
    pull_request: int | None


def hint_of(sender: Sender, body: bytes) -> Hint:
    """Read a verified delivery. Raises InvalidValue if it is no JSON object."""
    try:
        found: Json = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidValue("expected JSON") from None
    if not isinstance(found, dict):
        raise InvalidValue("expected a JSON object")
    section, number = _PULL_REQUEST[sender]
    merge_request = sender is not Sender.GITLAB or found.get("object_kind") == "merge_request"
    return Hint(_within(found, _REPOSITORY[sender], "id"), _within(found, section, number) if merge_request else None)


def _within(found: Mapping[str, Json], section: str, key: str) -> int | None:
    inner = found.get(section)
    value = inner.get(key) if isinstance(inner, dict) else None
    right = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _NUMBER_MAX
    return value if right else None  # type: ignore[return-value]
