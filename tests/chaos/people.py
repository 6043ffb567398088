"""What developers, CI and approvers do in a run, and what has to come of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from state.entry import Kind, Logged
from state.errors import ReconcilerError
from state.git import CommitId, RefName
from state.log_read import LogReader
from state.oci import Digest
from state.pin_plan import PinPlan
from tests.chaos.proxy import Aim, Request
from tests.chaos.yard import Yard
from tests.fixtures.shop import DOCS, IMAGE_NAMES, LOG_REF, changes

OPEN_MAX: Final = 5
_BUILD: Final = RefName.branch("work")


@dataclass
class Head:
    """One head that was ever shown, and the digest that each of its tags may have."""

    commit: CommitId
    number: int
    tags: dict[str, Digest]
    unbuilt: set[str] = field(default_factory=set)
    spoiled: set[str] = field(default_factory=set)
    """Images that CI pushed without proof although they are unchanged: such a head is held for good."""
    approved: str | None = None
    """The marker."""
    plan: PinPlan | None = None
    revoked: bool = False
    declined: bool = False
    """A person closed its GitOps pull request."""


class Log:
    """The entries on the log's remote, each read once."""

    def __init__(self, yard: Yard) -> None:
        self._path = yard.log_remote
        self.entries: list[Logged] = []

    def update(self) -> list[Logged]:
        """What is new since the last time."""
        known = self.entries[-1].id if self.entries else None
        fresh: list[Logged] = []
        try:
            for logged in LogReader(self._path, LOG_REF).newest_first():
                if logged.id == known:
                    break
                fresh.append(logged)
        except ReconcilerError:  # before its first entry there is no branch
            if self.entries:
                raise
        fresh.reverse()
        self.entries += fresh
        return fresh

    def of(self, kind: Kind) -> list[Logged]:
        return [e for e in self.entries if e.entry.kind is kind]


class People:
    """Everybody outside. Each deed returns what was done, or None where there was nothing to do."""

    def __init__(self, yard: Yard, chance: random.Random) -> None:
        self.yard, self.log = yard, Log(yard)
        self.heads: dict[CommitId, Head] = {}
        self.open: dict[int, Head] = {}
        """Code pull request → its head now."""
        self.markers = 0
        self.revocations = 0
        self._chance = chance
        self._branches: dict[int, tuple[str, set[str]]] = {}
        self._count = 0
        self._plans: dict[CommitId, PinPlan] = {}
        with yard.proxies["registry"]:
            self.mains = {image: yard.people.shop.main(image) for image in IMAGE_NAMES}

    def up(self, *servers: str) -> bool:
        return all(self.yard.servers[name].runs for name in servers)

    # --- developers

    def opens(self) -> str | None:
        if not self.up("code", "registry") or len(self.open) >= OPEN_MAX:
            return None
        self._count += 1
        changed = {i for i in IMAGE_NAMES if self._chance.random() < 0.4}
        branch = f"pr-{self._count}"
        head = self._commit(branch, changed)
        # A head is spoiled before anybody can look at it.
        made = Head(head, 0, dict(self.mains), set(changed))
        self._spoils(made)
        number = made.number = int(self.yard.hands("code", "open", head=head, branch=branch, author=21))
        self._branches[number] = branch, changed
        self._shown(made)
        return f"opens #{number} {head[:8]}, changes {', '.join(sorted(changed)) or 'nothing'}{self._builds_now(made)}"

    def pushes(self) -> str | None:
        if not self.up("code", "registry") or not self.open:
            return None
        self._count += 1
        number = self._chance.choice(sorted(self.open))
        branch, changed = self._branches[number]
        changed.add(self._chance.choice(IMAGE_NAMES))
        head = self._commit(branch, changed)
        made = Head(head, number, dict(self.mains), set(changed))
        self._spoils(made)
        self.yard.hands("code", "push", number=number, head=head, by=21)
        self._shown(made)
        return f"pushes {head[:8]} to #{number}{self._builds_now(made)}"

    def closes(self) -> str | None:
        if not self.up("code") or not self.open:
            return None
        number = self._chance.choice(sorted(self.open))
        return self.closes_one(number)

    def closes_one(self, number: int) -> str:
        self.yard.hands("code", "close", number=number)
        del self.open[number]
        return f"closes #{number}"

    def _commit(self, branch: str, changed: set[str]) -> CommitId:
        files = dict(DOCS)
        for image in changed:
            files |= changes(image, f"{self._count}\n")
        files["n"] = f"{self._count}\n"
        return self.yard.people.shop.world.branch(branch, files, "Work")

    def _shown(self, head: Head) -> None:
        self.heads[head.commit] = self.open[head.number] = head

    # --- CI

    def builds(self) -> str | None:
        """What is still to be built of one head that is open."""
        waiting = [head for head in self.open.values() if head.unbuilt]
        if not self.up("registry") or not waiting:
            return None
        head = self._chance.choice(waiting)
        return f"builds {head.commit[:8]}{self._builds(head)}"

    def _builds_now(self, head: Head) -> str:
        return self._builds(head) if head.unbuilt and self._chance.random() < 0.6 else ""

    def _builds(self, head: Head) -> str:
        shop, proving = self.yard.people.shop, self.yard.people.proving
        built = sorted(head.unbuilt)
        with self.yard.proxies["registry"]:
            for image in built:
                head.tags[image] = shop.world.ci_builds(image, head.commit)
                proving.attests(image, head.commit, head.commit, ref=_BUILD)
        head.unbuilt.clear()
        return f", built {', '.join(built)}"

    def _spoils(self, head: Head) -> None:
        """Now and then CI builds an unchanged image too, right after somebody has looked for its tag."""
        unchanged = sorted(set(IMAGE_NAMES) - head.unbuilt)
        if not unchanged or self._chance.random() >= 0.15:
            return
        image = self._chance.choice(unchanged)
        path = f"/v2/shop/{image}/manifests/{head.commit}"

        def deed() -> None:
            if not self.up("registry"):
                return
            with self.yard.proxies["registry"]:
                head.tags[image] = self.yard.people.shop.world.ci_builds(image, head.commit)
            head.spoiled.add(image)

        self.yard.proxies["registry"].aim(Aim(_reads(path), 1, deed, after=True, loses=False, status=404))

    # --- approvers

    def plan_of(self, head: Head) -> PinPlan | None:
        for logged in self.log.update():
            if logged.entry.kind is Kind.PLAN:
                plan = PinPlan.from_json(logged.entry.body["plan"])  # type: ignore[arg-type]
                self._plans[plan.head] = plan
        return self._plans.get(head.commit)

    def approves(self) -> str | None:
        """By two, since a Gitea does not tell who pushed last."""
        for head in self.open.values():
            if head.approved is None and (plan := self.plan_of(head)) is not None:
                names = self._chance.sample(["alice", "bob", "carol"], 2)
                head.plan = plan
                head.approved = self.yard.people.drops(self.yard.people.approval(plan, *names))
                self.markers += 1
                return f"approves #{head.number} {head.commit[:8]} as {plan.branch.short}"
        return None

    def revokes(self) -> str | None:
        found = [h for h in self.open.values() if h.approved is not None and not h.revoked]
        if not found:
            return None
        head = self._chance.choice(found)
        assert head.approved is not None
        self.yard.people.revokes(head.approved, "carol")
        head.revoked = True
        self.revocations += 1
        return f"revokes the approval of #{head.number} {head.commit[:8]}"

    def declines(self) -> str | None:
        """Close an open GitOps pull request by hand."""
        if not self.up("gitops"):
            return None
        for pull in self.yard.hands("gitops", "see")["pulls"]:
            for head in self.open.values():
                if pull["state"] == "open" and head.plan is not None and head.plan.branch.short == pull["branch"]:
                    self.yard.hands("gitops", "close", number=pull["number"])
                    head.declined = True
                    return f"declines GitOps #{pull['number']} of {head.commit[:8]}"
        return None

    # --- what has to come of it

    def wanted_branches(self) -> set[str]:
        """The branches whose GitOps pull requests are to be open; what the base holds already opens none."""
        return {
            head.plan.branch.short
            for head in self.open.values()
            if head.plan is not None and not (head.revoked or head.declined) and head.tags != self.mains
        }

    def deeds(self) -> list[tuple[int, Callable[[], str | None]]]:
        """With how often each comes."""
        return [
            (5, self.opens),
            (4, self.pushes),
            (2, self.closes),
            (5, self.builds),
            (6, self.approves),
            (2, self.revokes),
            (1, self.declines),
        ]


def _reads(path: str) -> Callable[[Request], bool]:
    return lambda request: request.method in {"GET", "HEAD"} and request.path == path
