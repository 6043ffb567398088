"""What is to be done with the pull request of a rendered lane (pure; design invariants 6 to 8, §7)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from reconciler.lane.records import Standing, State
from reconciler.ports import Change
from state.git import CommitId


class Act(StrEnum):
    """What a run does, or why it does nothing."""

    NONE = "in-place"
    """The branch that Argo CD reads holds the lane as it is rendered."""
    KEEP = "open"
    """A pull request with this lane is open, and merges."""
    UPDATE = "update"
    """It is open, and does not merge any more: its branch is brought up to the base."""
    OPEN = "propose"
    HANDS_OFF = "hands-off"
    """A commit that is not ours is on the branch: it is a person's now."""
    DECLINED = "declined"
    """A person closed it, or took it back after it was merged; only who asks again gets another."""


class Seen(NamedTuple):
    """What one look shows of the branch of a rendered lane."""

    differs: bool
    """Whether the base holds anything else than the lane as it is rendered."""
    tip: CommitId | None
    changes: Sequence[Change]
    """Every pull request from the branch to the base, by number."""
    clean: bool
    """Whether the tip merges into the base; true where there is no branch."""


class Ruling(NamedTuple):
    act: Act
    why: str
    change: int | None = None


def decide(standing: Standing | None, seen: Seen, *, again: bool) -> Ruling:
    """What is to be done. `again`: a person asks for it although it was declined.

    Not even then is a branch touched that has a commit of somebody else.
    """
    if not seen.differs:
        return Ruling(Act.NONE, "the branch holds the lane as it is rendered")
    if seen.tip is not None and (standing is None or seen.tip not in standing.commits):
        why = f"the branch is at {seen.tip.short}, which is no commit of ours: merge it, or delete the branch"
        return Ruling(Act.HANDS_OFF, why, _number(seen.changes))
    if (opened := next((c for c in seen.changes if c.open), None)) is not None:
        if seen.clean:
            return Ruling(Act.KEEP, f"#{opened.number} is open", opened.number)
        return Ruling(Act.UPDATE, f"#{opened.number} does not merge into the base as it is now", opened.number)
    if not seen.changes or again or _closed_by_us(standing, seen.changes[-1]):
        return Ruling(Act.OPEN, "the branch that Argo CD reads holds another lane")
    last = seen.changes[-1]
    what = "was merged, and taken back since" if last.merged else "was closed by a person"
    return Ruling(Act.DECLINED, f"#{last.number} {what}; --again proposes it once more", last.number)


def ended(standing: Standing, tip: CommitId | None, changes: Sequence[Change]) -> State | None:
    """What the forge and the branch say became of a pull request that was open; None while it is."""
    last = next((c for c in reversed(changes) if c.number == standing.change), changes[-1] if changes else None)
    if last is None:
        return State.DROPPED
    if not last.open:
        if last.merged:
            return State.MERGED
        return State.CLOSED if _closed_by_us(standing, last) else State.DECLINED
    return State.HANDS_OFF if tip is not None and tip not in standing.commits else None


def _closed_by_us(standing: Standing | None, change: Change) -> bool:
    return standing is not None and standing.closed_by_us and change.number == standing.change


def _number(changes: Sequence[Change]) -> int | None:
    return next((c.number for c in changes if c.open), None)
