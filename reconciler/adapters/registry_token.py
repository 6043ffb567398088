"""What a registry's bearer token says that it grants, where it is a JWT as distribution's specification has them.

A token is opaque to its client and is meant for the registry: nothing here verifies it, and nothing is decided by it
but what `ameide doctor` reports. Source: distribution's docs/spec/auth/jwt.md and scope.md (`access`); RFC 7519.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Final, NamedTuple

_PART: Final = re.compile(r"[A-Za-z0-9_-]{1,16384}")
_WORD: Final = re.compile(r"[A-Za-z0-9._/:*()-]{1,255}")
_GRANTS_MAX: Final = 100
_ACTIONS_MAX: Final = 20


class Grant(NamedTuple):
    """One entry: actions on one resource, such as `pull` and `push` on the repository acme/orders."""

    kind: str
    name: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


def grants_of(token: str) -> tuple[Grant, ...] | None:
    """The entries of its `access`; None where it is no JWT, has none, or has anything else there."""
    parts = token.split(".")
    if len(parts) != 3 or not _PART.fullmatch(parts[1]):
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    entries = claims.get("access") if isinstance(claims, dict) else None
    if not isinstance(entries, list) or len(entries) > _GRANTS_MAX:
        return None
    found = [_grant(entry) for entry in entries]
    told = tuple(one for one in found if one is not None)
    return told if len(told) == len(found) else None


def _grant(entry: object) -> Grant | None:
    if not isinstance(entry, dict):
        return None
    actions = entry.get("actions")
    if not isinstance(actions, list) or len(actions) > _ACTIONS_MAX:
        return None
    words = (entry.get("type"), entry.get("name"), *actions)
    if not all(isinstance(word, str) and _WORD.fullmatch(word) for word in words):
        return None
    return Grant(entry["type"], entry["name"], frozenset(actions))
