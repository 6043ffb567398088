"""What one pass will do: actions, holds, and their canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from state import canonical
from state.canonical import Json
from state.change import ChangeRecord
from state.decision import Decision, Wanted, images_to_json
from state.git import CommitId
from state.hold import Reason
from state.observed import How
from state.oci import Digest, Repository
from state.quarantine import Breach

PLANNER_VERSION = 5
"""Raised whenever equal snapshots may give another plan than before (design invariant 12)."""


class PinDecision(NamedTuple):
    """Append the decision of a head to the log, before anything is written for it."""

    decision: Decision


class ResolveDecision(NamedTuple):
    """Append what became of images that the pinned decision left unresolved, or that it could not know."""

    head: CommitId
    pull_requests: tuple[int, ...]
    images: Mapping[Repository, Wanted]
    changes: tuple[ChangeRecord, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return {
            "changes": [c.to_json() for c in self.changes],
            "head": self.head,
            "images": images_to_json(self.images),
            "pull_requests": list(self.pull_requests),
        }


class Retag(NamedTuple):
    """Write the baseline's exact bytes under the head's tag."""

    repository: Repository
    head: CommitId
    baseline: Digest
    pull_requests: tuple[int, ...]


class Adopt(NamedTuple):
    """Record a tag that was found in place and counts: CI's build, an own write whose answer was lost,

    or an own write that the registry has not shown until now.
    """

    repository: Repository
    head: CommitId
    digest: Digest
    how: How
    pull_requests: tuple[int, ...]
    proven: bool = False
    replaces: Digest | None = None
    """What was recorded before, where CI has built the head again."""


class QuarantineHead(NamedTuple):
    """Record that tags of a head read otherwise than the log says: nothing more is written for it."""

    head: CommitId
    breaches: tuple[Breach, ...]
    pull_requests: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        return {
            "breaches": [b.to_json() for b in self.breaches],
            "head": self.head,
            "pull_requests": list(self.pull_requests),
        }


class Release(NamedTuple):
    """Publish the release set of a head: every tag is recorded and its evidence counts now."""

    head: CommitId
    pull_requests: tuple[int, ...]


class EndHead(NamedTuple):
    """Record that no open pull request has this head any more: our custody of its tags ends."""

    head: CommitId
    pull_requests: tuple[int, ...]


Action: TypeAlias = PinDecision | ResolveDecision | Retag | Adopt | QuarantineHead | Release | EndHead


class Hold(NamedTuple):
    """Not done, and why. `repository` is None where the whole head is held; `detail` is for people."""

    head: CommitId
    repository: Repository | None
    reason: Reason
    pull_requests: tuple[int, ...]
    detail: str = ""


class Plan(NamedTuple):
    """The actions in the order they are to be carried out, and the holds, in order of pull request number."""

    actions: tuple[Action, ...]
    holds: tuple[Hold, ...]

    @property
    def is_noop(self) -> bool:
        return not self.actions

    def to_json(self) -> dict[str, Json]:
        return {
            "actions": [_action_to_json(a) for a in self.actions],
            "holds": [
                {
                    "detail": h.detail,
                    "head": h.head,
                    "pull_requests": list(h.pull_requests),
                    "reason": h.reason.value,
                    "repository": h.repository,
                }
                for h in self.holds
            ],
            "planner_version": PLANNER_VERSION,
        }

    def digest(self) -> Digest:
        """The digest of the plan's canonical JSON: equal plans, equal digests."""
        return canonical.digest(self.to_json())


def _action_to_json(action: Action) -> dict[str, Json]:
    match action:
        case PinDecision(decision):
            return {"action": "pin-decision", "decision": decision.to_json()}
        case ResolveDecision():
            return {"action": "resolve-decision", **action.to_json()}
        case Retag(repository, head, baseline, prs):
            return {
                "action": "retag",
                "digest": baseline,
                "head": head,
                "pull_requests": list(prs),
                "repository": repository,
            }
        case Adopt(repository, head, digest, how, prs, proven, replaces):
            return {
                "action": "adopt",
                "digest": digest,
                "head": head,
                "how": how.value,
                "proven": proven,
                "pull_requests": list(prs),
                "replaces": replaces,
                "repository": repository,
            }
        case QuarantineHead():
            return {"action": "quarantine-head", **action.to_json()}
        case Release(head, prs):
            return {"action": "release", "head": head, "pull_requests": list(prs)}
        case EndHead(head, prs):
            return {"action": "end-head", "head": head, "pull_requests": list(prs)}
