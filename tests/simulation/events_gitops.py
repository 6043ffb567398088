"""What approvers, operators and CI's merges do to publishing: approvals, revocations, policies, pull requests."""

from __future__ import annotations

from state.approval import Approval, Revocation
from state.pin_plan import PinPlan
from tests.fixtures.approvals import sealed
from tests.publishing import repository
from tests.publishing.world import GitOpsPullRequest
from tests.simulation.gitops import BASE, POLICIES, Given
from tests.simulation.world import REPOSITORY_ID, World

PEOPLE = ("alice", "bob", "carol")


def plan_approved(world: World) -> str:
    """By one or two people, mostly of a plan that holds now; now and then for a short time."""
    gitops, rng = world.gitops, world.rng
    if not gitops.plans:
        return "-"
    newest = [gitops.plans[d] for _, d in sorted(gitops.newest.items())]
    holding = [p for p in newest if (pr := world.prs[p.pull_request]).open and pr.head == p.head]
    plan = rng.choice(holding if holding and rng.random() < 0.8 else list(gitops.plans.values()))
    people = tuple(sorted(rng.sample(PEOPLE, rng.choice((1, 2, 2)))))
    return approve(world, plan, people, life_s=rng.choice((600, 7200, 86_000)))


def approve(world: World, plan: PinPlan, people: tuple[str, ...], *, life_s: int) -> str:
    gitops, now = world.gitops, int(world.time.wall.timestamp())
    made = Approval.of(
        plan,
        marker_id=f"{len(gitops.given) + 1:032x}",
        base=world.prs[plan.pull_request].base,
        policy=gitops.policy.digest(),
        issued_at=now,
        not_after=now + life_s,
        approvers=people,
    )
    gitops.given[made.id] = Given(made.id, made.plan, frozenset(people), made.policy, made.base, made.not_after)
    gitops.markers = (*gitops.markers, sealed(made))
    return f"{plan.branch.short} by {', '.join(people)}"


def approval_revoked(world: World) -> str:
    gitops = world.gitops
    aim = world.aim.digest() if world.aim is not None else None
    pool = [given for given in gitops.given.values() if aim is None or given.plan == aim]
    if not pool:
        return "-"
    given = world.rng.choice(pool)
    by = min(given.people)
    now = int(world.time.wall.timestamp())
    gitops.markers = (*gitops.markers, sealed(Revocation(given.id, REPOSITORY_ID, now, (by,))))
    gitops.revoked.add(given.id)
    return given.id[-4:]


def approvers_changed(world: World) -> str:
    gitops = world.gitops
    gitops.policy = POLICIES[1] if gitops.policy is POLICIES[0] else POLICIES[0]
    return f"{gitops.policy.targets['dev'].threshold} needed"


def gitops_closed(world: World) -> str:
    """An operator says no."""
    if (one := _open(world)) is None:
        return "-"
    world.gitops.set_change(one.number, state="closed", ended_by="a person")
    return f"!{one.number}"


def gitops_merged(world: World) -> str:
    if (one := _open(world)) is None:
        return "-"
    gitops = world.gitops
    merge = repository.merged(gitops.branches[BASE], gitops.branches[one.branch])
    if merge is None:
        return "-"
    gitops.branches[BASE] = merge
    gitops.set_change(one.number, state="merged", ended_by="a person")
    return f"!{one.number}"


def gitops_taken_over(world: World) -> str:
    """A person commits to one of our branches; where it is aimed, perhaps before that has a pull request."""
    gitops, one = world.gitops, world.aim or _open(world)
    if one is None or one.branch not in gitops.branches:
        return "-"
    gitops.branches[one.branch] = repository.by_person(gitops.branches[one.branch], {"README.md": b"by hand\n"})
    gitops.took_over.add(one.branch)
    return one.branch.short


def gitops_base_moved(world: World) -> str:
    gitops, tip = world.gitops, world.gitops.branches[BASE]
    number = world.next_version()
    gitops.branches[BASE] = repository.by_person(tip, {"README.md": b"lanes, %d\n" % number})
    return gitops.branches[BASE].short


def _open(world: World) -> GitOpsPullRequest | None:
    branch = world.aim.branch if world.aim is not None else None
    pool = [one for one in world.gitops.changes.values() if one.state == "open" and branch in {None, one.branch}]
    return world.rng.choice(pool) if pool else None


GITOPS_EVENTS = {
    plan_approved: 14,
    approval_revoked: 2,
    approvers_changed: 1,
    gitops_closed: 1.5,
    gitops_merged: 1.5,
    gitops_taken_over: 1,
    gitops_base_moved: 1,
}
