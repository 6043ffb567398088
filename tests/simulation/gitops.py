"""The GitOps side of the world: a repository in memory, its pull requests, and what approvers hand in.

Branches, commits and merges are those of `tests.publishing`; what people do to them is in `events_gitops`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from reconciler.approval.approvers import ApproversPolicy
from state.git import CommitId, RefName
from state.observed import Inventory, Pin
from state.oci import Digest
from state.pin_plan import PinPlan, Target
from tests.publishing import content, repository
from tests.publishing.world import GitOpsPullRequest
from tests.simulation.content import COMPONENTS
from tests.simulation.content import repository as image_repository

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE: Final = RefName.branch("main")
TARGET: Final = Target("dev", 99, BASE, "dev")
POLICIES: Final = (content.policy(1), content.policy(2))
"""Of the approvers: how many of them it takes."""


def _file(component: str) -> str:
    old = f"{image_repository(COMPONENTS[component])}@{Digest.of(b'old')}"
    return f"# values of {component}; edited by people\nreplicas: 2\nimage:\n  ref: {old}  # pinned\n"


FILES: Final = {f"dev/{name}.yaml": _file(name).encode() for name in COMPONENTS} | {"README.md": b"lanes\n"}
_START: Final = repository.make((), FILES, "start", 0, "a person")


class Given(NamedTuple):
    """An approval as its signers know it."""

    id: str
    plan: Digest
    people: frozenset[str]
    policy: Digest
    base: RefName
    not_after: int


@dataclass(slots=True)
class GitOps:
    """Implements what the ports of `tests.publishing` need of a world, and the approvers' side."""

    branches: dict[RefName, CommitId] = field(default_factory=lambda: {BASE: _START})
    changes: dict[int, GitOpsPullRequest] = field(default_factory=dict)
    fetched: dict[str, frozenset[CommitId]] = field(default_factory=dict)
    markers: tuple[bytes, ...] = ()
    """What lies in the channel."""
    policy: ApproversPolicy = POLICIES[0]
    plans: dict[Digest, PinPlan] = field(default_factory=dict)
    """What the log offers to approvers."""
    newest: dict[int, Digest] = field(default_factory=dict)
    """Pull request → its newest plan."""
    begun: dict[CommitId, RefName] = field(default_factory=dict)
    """Intent that has no outcome yet → the branch whose pull request it opens."""
    given: dict[str, Given] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    took_over: set[RefName] = field(default_factory=set)
    """Branches that had a person's commit."""

    def of_branch(self, branch: RefName) -> list[GitOpsPullRequest]:
        return [one for _, one in sorted(self.changes.items()) if one.branch == branch]

    def set_change(self, number: int, **changed: object) -> None:
        self.changes[number] = self.changes[number]._replace(**changed)

    def plan_of(self, branch: RefName) -> PinPlan | None:
        return next((plan for plan in self.plans.values() if plan.branch == branch), None)

    def being_opened(self) -> list[PinPlan]:
        """What is on its way to a pull request, or may have got there unknown to the log."""
        return [plan for branch in self.begun.values() if (plan := self.plan_of(branch)) is not None]

    def open_now(self) -> list[PinPlan]:
        """What has an open pull request."""
        branches = [one.branch for one in self.changes.values() if one.state == "open"]
        return [plan for branch in branches if (plan := self.plan_of(branch)) is not None]

    def holds_pins(self, plan: PinPlan) -> bool:
        files = repository.tree(self.branches[BASE])
        return all(e.image.encode() in files[e.file] for e in plan.edits)


def inventory(previewed: Iterable[str]) -> Inventory:
    names = tuple(sorted(previewed))
    pins = {name: (Pin(f"dev/{name}.yaml", "image.ref", "dev"),) for name in names if name in COMPONENTS}
    return Inventory(CommitId("1" * 40), names, pins)
