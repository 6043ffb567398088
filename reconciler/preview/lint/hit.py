"""What a check yields: where, and what is wrong there."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.preview.manifests import Manifest
from reconciler.sarif import Level


class Hit(NamedTuple):
    file: str
    line: int
    message: str
    level: Level | None = None
    """None for the rule's own."""


def hit(m: Manifest, path: tuple[str | int, ...], message: str, level: Level | None = None) -> Hit:
    """A hit at that value, named by the object it is in."""
    where = f"{m.kind} {m.name}: " if m.name else ""
    return Hit(m.file, m.line(*path), f"{where}{message}", level)
