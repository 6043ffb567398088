"""What the process says of itself: whether it may be relied on, what it still may do, and what is held and why."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.matrix import State
from reconciler.shown import Shown
from reconciler.web.status.matrix import Index, remedy_of
from reconciler.web.status.site import Condition, Process, Quota, Site
from state.canonical import Json, texts


class Budget(NamedTuple):
    """Something that runs out and comes back."""

    name: str
    left: int
    of: int
    meaning: str


class Health(NamedTuple):
    """One repository."""

    site: Site
    condition: Condition
    shown: Shown | None
    matrix: Index | None
    budgets: tuple[Budget, ...]

    def reasons(self) -> list[tuple[str, int, str | None]]:
        """(reason, cells, remedy) of what asks for something, most frequent first."""
        counted = sorted((self.matrix.reasons if self.matrix else {}).items(), key=lambda item: (-item[1], item[0]))
        return [(reason, count, remedy_of(reason)) for reason, count in counted]

    def to_json(self) -> dict[str, Json]:
        condition, shown = self.condition, self.shown
        return {
            "budgets": [{"left": b.left, "name": b.name, "of": b.of} for b in self.budgets],
            "complete_at": None if shown is None or shown.complete_at is None else shown.complete_at.isoformat(),
            "condition": condition.condition,
            "log_sequence": None if shown is None else shown.log_sequence,
            "name": self.site.name,
            "pass": None if shown is None else shown.pass_id,
            "pass_at": None if shown is None else shown.at.isoformat(),
            "problems": texts(()) if shown is None else texts(shown.problems),
            "pull_requests": None if self.matrix is None else len(self.matrix.rows),
            "reasons": {reason: count for reason, count, _ in self.reasons()},
            "states": {s.value: 0 if self.matrix is None else self.matrix.states.get(s, 0) for s in State},
            "unread": condition.unread,
            "why": condition.why,
        }


def health_of(site: Site, process: Process) -> Health:
    """From memory alone."""
    shown = site.shown()
    index = None if shown is None else site.index(shown)
    return Health(site, process.condition(site.name), shown, index, tuple(_budgets(shown, process.quota(site.name))))


def _budgets(shown: Shown | None, quota: Quota | None) -> list[Budget]:
    found = []
    if shown is not None:
        meaning = "tag writes that this hour still allows (max_writes_per_hour)"
        found.append(Budget("tag writes", shown.writes_left, shown.max_writes_per_hour, meaning))
    if quota is not None:
        found.append(Budget("forge requests", quota.remaining, quota.limit, "what the forge said last of its window"))
    return found
