"""What a rule is, and what a check finds."""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.sarif import Level

APPSET: Final = "argo-cd docs/operator-manual/applicationset"


class Rule(NamedTuple):
    """One rule. Its id never changes and is never used again for another."""

    id: str
    level: Level
    holds: str
    """What must hold, in one sentence."""
    why: str
    violated: str
    """How it is broken in practice."""
    remedy: str
    source: str


class Finding(NamedTuple):
    """One place where a rule does not hold."""

    rule: str
    level: Level
    message: str
    file: str
    line: int
