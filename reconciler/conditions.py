"""What stands after a pass and is told when it begins and when it ends (pure).

A hold of a head is one condition, however many of its images it is about: a thousand images that wait for one build are
one piece of news. Nothing in it is text of a pull request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.approval.codes import Code
from state.canonical import Json, reading
from state.errors import IntegrityError, ReconcilerError
from state.git import CommitId
from state.plan import Hold


class About(StrEnum):
    """What kind of condition it is."""

    COMPLETE = "complete"
    """Of a head, where no release set says so."""
    HOLD = "hold"
    APPROVAL = "approval"
    INTEGRITY = "integrity"


class Condition(NamedTuple):
    """One condition. Those with one `key` are the same, so what begins and ends is the difference of two sets."""

    about: About
    subject: str
    """A head commit, the id of a marker, or empty where it is the whole repository."""
    reason: str
    """A member of a closed enum: a hold's reason, a code of an approval; empty for integrity."""
    pull_requests: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[About, str, str]:
        return self.about, self.subject, self.reason

    def to_json(self) -> dict[str, Json]:
        return {
            "about": self.about.value,
            "pull_requests": list(self.pull_requests),
            "reason": self.reason,
            "subject": self.subject,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Condition:
        """Read `to_json` back. Raises InvalidValue."""
        read = reading(value, "condition")
        about = read.one_of("about", About)
        return cls(about, read.text("subject"), read.text("reason"), tuple(read.integers("pull_requests")))


VIOLATED: Final = Condition(About.INTEGRITY, "", "")
"""Bytes, signatures or history are not what they claim."""


def conditions(
    holds: Iterable[Hold],
    refused: Iterable[tuple[str, Code]],
    problems: Sequence[ReconcilerError],
    complete: Mapping[CommitId, tuple[int, ...]],
) -> frozenset[Condition]:
    """What stands after a pass. `complete`: heads whose completeness no log entry tells, with their pull requests."""
    numbers: dict[tuple[CommitId, str], set[int]] = {}
    for hold in holds:
        numbers.setdefault((hold.head, hold.reason.value), set()).update(hold.pull_requests)
    found = {Condition(About.HOLD, head, reason, tuple(sorted(n))) for (head, reason), n in numbers.items()}
    found |= {Condition(About.COMPLETE, head, "", numbered) for head, numbered in complete.items()}
    found |= {Condition(About.APPROVAL, marker, code.value) for marker, code in refused}
    if any(isinstance(problem, IntegrityError) for problem in problems):
        found.add(VIOLATED)
    return frozenset(found)
