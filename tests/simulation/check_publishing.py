"""The invariants of a publish (design §2: 5, 6, 7 and 9), told from what the world has and what the log says.

* A branch is pushed and a pull request opened only behind an intent that consumes enough good approvals of exactly that
  plan, each of them once.
* What a branch changes are the plan's values, every one `repository@sha256:…`, and no byte more.
* Nothing is opened for what had an obstacle when the last look began and has had it ever since. The last look is
  everything from this process's first call after its last outside write.
* What a person closed, merged or committed to is left alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from state.canonical import Json
from state.entry import Kind, Logged
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.pin_plan import PinPlan
from tests.publishing import repository
from tests.publishing.check import Violation as Broken
from tests.publishing.check import exact
from tests.publishing.content import SKEW_S, Wanted
from tests.publishing.world import GitOpsPullRequest
from tests.simulation.content import RELEASES
from tests.simulation.gitops import BASE, POLICIES, GitOps
from tests.simulation.told import Violation
from tests.simulation.world import HOLD, World

PINNED: Final = re.compile(r"[a-z0-9.:/-]+@sha256:[0-9a-f]{64}")
BRANCH: Final = re.compile(r"refs/heads/ameide/dev/pr-[1-9][0-9]*/[0-9a-f]{12}-[0-9a-f]{12}")
_THRESHOLD: Final = {policy.digest(): policy.targets["dev"].threshold for policy in POLICIES}


class PublishChecks:
    """`judge` of the GitOps ports, and listens to the log."""

    def __init__(self, world: World, recorded: Mapping[tuple[Repository, CommitId], tuple[Digest, str]]) -> None:
        self._world, self._recorded = world, recorded
        self.rows: list[tuple[dict[str, Any], CommitId]] = []
        """Every proposal of every intent, with its entry."""
        self.consumed: dict[str, CommitId] = {}
        self.look: dict[str, frozenset[str] | None] = defaultdict(lambda: None)
        """By process: what has stood in the way of which approvals ever since its last look began."""
        self.tips: dict[str, CommitId | None] = {}
        """By process: what it was told last of one of our branches since its last outside write."""
        self.logged: set[str] = set()
        self.opened_count = 0

    # --- the log

    def appended(self, process: str, logged: Logged) -> None:
        body = logged.entry.body
        match logged.entry.kind:
            case Kind.PLAN:
                self._planned(body)
            case Kind.MARKER:
                self.logged.add(str(body["id"]))
            case Kind.INTENT if "proposals" in body:
                self.look[process] = None
                for row in _rows(body, "proposals"):
                    self.rows.append((row, logged.id))
                    if row["step"] == "open":
                        self._world.gitops.begun[logged.id] = RefName(row["branch"])
                        self._consumed(row, logged.id)
            case Kind.OUTCOME if body["intent"] is not None:
                self._world.gitops.begun.pop(CommitId(str(body["intent"])), None)

    def _planned(self, body: Mapping[str, Json]) -> None:
        value = body["plan"]
        assert isinstance(value, dict)
        plan = PinPlan.from_json(value)
        for edit in plan.edits:
            recorded = self._recorded.get((edit.repository, plan.head))
            if recorded is None or recorded[0] != edit.digest:
                self._broken(9, f"a plan of {plan.head.short} pins {edit.image}, recorded is {recorded}")
        gitops = self._world.gitops
        gitops.plans[plan.digest()] = plan
        gitops.newest[plan.pull_request] = plan.digest()

    def _consumed(self, row: Mapping[str, Any], intent: CommitId) -> None:
        for marker in row["approvals"]:
            if marker in self.consumed:
                self._broken(6, f"approval {marker[-4:]} is consumed twice")
            self.consumed[marker] = intent

    # --- what a process does

    def pushed(self, world: GitOps, branch: RefName, before: CommitId | None, commit: CommitId) -> None:
        plan = self._plan(branch)
        if before is not None and branch in world.took_over:
            self._broken(6, f"{branch.short}: pushed over a person's commit")
        intents = [row for row, _ in self._intents(branch, "open", "update") if row["commit"] == commit]
        if not intents:
            self._broken(7, f"{branch.short}: pushed {commit.short} without an intent in the log")
        if intents[-1]["step"] == "open":
            self._approved(plan, intents[-1])
        values = {(e.file, tuple(e.key.split("."))): e.image for e in plan.edits}
        if bad := [value for value in values.values() if not PINNED.fullmatch(value)]:
            self._broken(9, f"{branch.short}: {bad} is not pinned by digest")
        wanted = Wanted(plan.digest(), branch, plan.pull_request, plan.head, values)
        try:
            exact(wanted, repository.merge_base(world.branches[BASE], commit), commit)
        except Broken as broken:
            raise Violation(9, str(broken)) from broken
        if "evil" in repository.COMMITS[commit].message:
            self._broken(5, f"{branch.short}: its commit says {repository.COMMITS[commit].message!r}")

    def opened(self, process: str, world: GitOps, branch: RefName, text: str) -> None:
        plan, intents = self._plan(branch), list(self._intents(branch, "open"))
        if not BRANCH.fullmatch(branch):
            self._broken(5, f"{branch} is not made of a number, a commit and a plan")
        if "evil" in text:
            self._broken(5, f"{branch.short}: its pull request says {text!r}")
        if not intents:
            self._broken(6, f"{branch.short}: opened without an intent in the log")
        row, intent = intents[-1]
        self._approved(plan, row)
        if row["commit"] not in repository.history(world.branches[branch]):
            self._broken(6, f"{branch.short}: opened without the commit that its intent names")
        told = self.tips.get(process)
        if told is not None and told != row["commit"] and row["commit"] in repository.history(told):
            self._broken(6, f"{branch.short}: opened although it was seen to be at {told.short}, a person's commit")
        for one in world.of_branch(branch):
            if one.ended_by == "a person" or one.state == "merged":
                self._broken(6, f"{branch.short}: opened again after a person's answer to !{one.number}")
            if one.state == "open":
                self._broken(6, f"{branch.short}: a second pull request beside !{one.number}")
        stale = (self.look[process] or frozenset()) & self.obstacles() & _about(plan, row)
        if stale:
            self._broken(6, f"{branch.short}: opened although {', '.join(sorted(stale))} (intent {intent.short})")
        self.opened_count += 1

    def closed(self, world: GitOps, one: GitOpsPullRequest) -> None:
        del world
        if not any(row["change"] == one.number for row, _ in self._intents(one.branch, "close")):
            self._broken(7, f"!{one.number} was closed without an intent in the log")

    def _approved(self, plan: PinPlan, row: Mapping[str, Any]) -> None:
        given = [self._world.gitops.given[m] for m in row["approvals"]]
        people = frozenset[str]().union(*(g.people for g in given))
        needed = max((_THRESHOLD[g.policy] for g in given), default=1)
        if len(people) < needed:
            self._broken(6, f"{plan.branch.short}: by {sorted(people)} alone, {needed} are needed")
        for one in given:
            if one.plan != plan.digest() or one.id not in self.logged:
                self._broken(6, f"{plan.branch.short}: by approval {one.id[-4:]} of another plan, or not in the log")

    def _plan(self, branch: RefName) -> PinPlan:
        plan = self._world.gitops.plan_of(branch)
        if plan is None:
            self._broken(6, f"{branch.short} is the branch of no plan in the log")
        return plan

    def _intents(self, branch: RefName, *steps: str) -> Iterator[tuple[dict[str, Any], CommitId]]:
        return ((row, entry) for row, entry in self.rows if row["branch"] == branch and row["step"] in steps)

    # --- obstacles

    def step_begins(self, process: str) -> None:
        """The world is as this process's next call will find it."""
        if self._world.gitops.given and self.look[process] is None:
            self.look[process] = self.obstacles()

    def tip_read(self, process: str, tip: CommitId | None) -> None:
        self.tips[process] = tip

    def wrote(self, process: str) -> None:
        self.look[process] = self.tips[process] = None

    def world_moved(self) -> None:
        if not self._world.gitops.given:
            return
        now = self.obstacles()
        for process, seen in self.look.items():
            self.look[process] = seen & now if seen is not None else None

    def obstacles(self) -> frozenset[str]:
        """What stands in the way of each plan and of each approval now, by the truth of the world."""
        world, gitops, found = self._world, self._world.gitops, set[str]()
        now, policy = int(world.time.wall.timestamp()), gitops.policy.digest()
        for given in gitops.given.values():
            wrong = {
                "revoked": given.id in gitops.revoked,
                "policy": given.policy != policy,
                "expired": now > given.not_after + SKEW_S,
                "base": world.prs[gitops.plans[given.plan].pull_request].base != given.base,
            }
            found |= {f"{name} {given.id}" for name, holds in wrong.items() if holds}
        for digest in {given.plan for given in gitops.given.values()}:
            plan = gitops.plans[digest]
            pr = world.prs[plan.pull_request]
            wrong = {
                "closed": not pr.open,
                "head": pr.head != plan.head,
                "held": HOLD in pr.labels,
                "taken": plan.branch in gitops.took_over,
                "tag": any(world.registry.now(r, plan.head) != d for r, d in plan.images().items()),
            }
            found |= {f"{name} {digest}" for name, holds in wrong.items() if holds}
        return frozenset(found)

    # --- at rest

    def waited_for(self) -> set[Repository]:
        """Where the facts of approvals lie that were not used up: they are judged anew in every pass."""
        gitops = self._world.gitops
        left = [gitops.plans[g.plan] for g in gitops.given.values() if g.id not in self.consumed]
        return {repository for plan in left for repository in (RELEASES, *plan.images())}

    def differences(self) -> list[str]:
        """Open pull requests that nothing allows any more, and approvals that were consumed for nothing."""
        gitops, against, wrong = self._world.gitops, self.obstacles(), list[str]()
        for one in gitops.changes.values():
            if one.state != "open" or one.branch in gitops.took_over:
                continue
            plan = self._plan(one.branch)
            row = list(self._intents(one.branch, "open"))[-1][0]
            pr = self._world.prs[plan.pull_request]
            ends = {n for n in against & _about(plan, row) if n.split()[0] in {"head", "revoked", "expired", "base"}}
            if not pr.open and not pr.merged:
                ends.add("closed")
            if ends:
                wrong.append(f"!{one.number} is open although {sorted(ends)}")
        return wrong

    def missing(self) -> list[str]:
        """Plans that everything allows, and that have no pull request."""
        gitops, against = self._world.gitops, self.obstacles()
        wrong = []
        for number, digest in sorted(gitops.newest.items()):
            plan, pr = gitops.plans[digest], self._world.prs[number]
            if not pr.open or any(n.endswith(digest) for n in against) or gitops.holds_pins(plan):
                continue
            if plan.head in self._world.quarantined:
                continue  # until somebody accepts it, also where the tag that was moved is back
            if any(HOLD in other.labels for other in self._world.open_prs() if other.head == pr.head):
                continue  # a label on any of them holds the head, and so its plans
            changes = gitops.of_branch(plan.branch)
            over = plan.branch in gitops.took_over or any(c.ended_by == "a person" for c in changes)
            if not over and not any(c.state == "open" for c in changes):
                wrong.append(f"#{number}: approved, and {plan.branch.short} has no open pull request")
        return wrong

    def _broken(self, invariant: int, what: str) -> NoReturn:
        raise Violation(invariant, what)


def _about(plan: PinPlan, row: Mapping[str, Any]) -> frozenset[str]:
    """The names of obstacles that concern this plan and these approvals."""
    of = {n: plan.digest() for n in ("closed", "head", "held", "taken", "tag")}
    mine = {f"{name} {digest}" for name, digest in of.items()}
    return frozenset(mine | {f"{n} {m}" for n in ("revoked", "policy", "expired", "base") for m in row["approvals"]})


def _rows(body: Mapping[str, Json], key: str) -> list[dict[str, Any]]:
    rows = body[key]
    assert isinstance(rows, list)
    return [row for row in rows if isinstance(row, dict)]
