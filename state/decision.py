"""What the images of one head shall be (design invariant 4).

A decision is pinned by one log entry before the first write of its head. A later entry may only resolve an
`Unresolved`; nothing else about it ever changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from state.canonical import Json
from state.change import ChangeRecord
from state.errors import InvalidValue
from state.git import CommitId
from state.hold import Reason
from state.oci import Digest, Repository


class RetagFrom(NamedTuple):
    """The image is unchanged: its tag shall be exactly this baseline digest."""

    baseline: Digest


class AwaitBuild(NamedTuple):
    """The image is changed: only a build of this head may make its tag."""


class Unresolved(NamedTuple):
    """Not decided yet, and why. A later entry may resolve it."""

    reason: Reason


Wanted: TypeAlias = RetagFrom | AwaitBuild | Unresolved


@dataclass(frozen=True, slots=True)
class Decision:
    """The pinned decision of one head, for all open pull requests that share it; images in order of repository."""

    head: CommitId
    pull_requests: tuple[int, ...]
    changes: tuple[ChangeRecord, ...]
    policy: Digest
    images: tuple[tuple[Repository, Wanted], ...]

    def resolved(self, images: dict[Repository, RetagFrom]) -> Decision:
        """The decision with some of its unresolved images decided. Raises InvalidValue if one was decided before."""
        made: list[tuple[Repository, Wanted]] = []
        left = dict(images)
        for repository, wanted in self.images:
            new = left.pop(repository, None)
            if new is not None and not isinstance(wanted, Unresolved):
                raise InvalidValue(f"decision {self.head.short}: {repository} is decided already; it stays as it is")
            made.append((repository, new or wanted))
        if left:
            raise InvalidValue(f"decision {self.head.short}: does not name {', '.join(sorted(left))}")
        return replace(self, images=tuple(made))

    def to_json(self) -> dict[str, Json]:
        return {
            "changes": [c.to_json() for c in self.changes],
            "head": self.head,
            "images": [{"repository": r, **wanted_to_json(w)} for r, w in self.images],
            "policy": self.policy,
            "pull_requests": list(self.pull_requests),
        }


def wanted_to_json(wanted: Wanted) -> dict[str, Json]:
    match wanted:
        case RetagFrom(baseline):
            return {"do": "retag", "digest": baseline}
        case AwaitBuild():
            return {"do": "await-build"}
        case Unresolved(reason):
            return {"do": "unresolved", "reason": reason.value}
