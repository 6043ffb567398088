"""What may happen in the world between two steps: people, CI, operators and time."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from state.git import CommitId
from state.observed import Mode
from state.pin_plan import PinPlan
from state.quarantine import Acceptance
from tests.simulation.content import COMPONENTS, IMAGES, RELEASES, repository
from tests.simulation.events_gitops import (
    GITOPS_EVENTS,
    approval_revoked,
    approvers_changed,
    gitops_closed,
    gitops_merged,
    gitops_taken_over,
)
from tests.simulation.world import GHOST, HOLD, MAIN, RELEASE, REPOSITORY_ID, TOPIC, Pr, World

MAX_OPEN = 6


class Events:
    """What may happen in one run, and how often: as in `_TABLE`, or with some of it often and some of it never."""

    def __init__(self, rng: Random, world: World) -> None:
        self._world = world
        table = _PUBLISHING if world.releasing else _TABLE
        plain = rng.random() < 0.4
        self._table = dict(table) if plain else {e: often * rng.choice((0, 0.5, 1, 1, 6)) for e, often in table.items()}
        for event in (pr_opened, _built):  # without these there is nothing to look at
            self._table[event] = max(self._table[event], table[event])

    def happens(self, rather: Callable[[World], str] | None = None) -> str:
        """One event, drawn from the world's chance, mostly the one of `rather`; says what it was."""
        rng = self._world.rng
        event = rng.choices(list(self._table), list(self._table.values()))[0]
        if rather is not None and rng.random() < 0.6:
            event = rather
        return f"{event.__name__.strip('_')} {event(self._world)}"

    def aimed(self, step: str) -> str:
        """One of the events that this step has to bear; where that is none, any one."""
        world = self._world
        aim = aim_at(step, world)
        if aim is None:
            return self.happens()
        world.aim = world.rng.choice(aim.plans(world)) if aim.plans is not None else None
        event = world.rng.choice(aim.events)
        try:
            return f"{event.__name__.strip('_')} {event(world)}"
        finally:
            world.aim = None


class Aim(NamedTuple):
    """At which steps ("call subject") which events are aimed, and at which plans, if it has to be one of those."""

    step: re.Pattern[str]
    events: tuple[Callable[[World], str], ...]
    plans: Callable[[World], list[PinPlan]] | None = None


def aim_at(step: str, world: World) -> Aim | None:
    """What may make wrong what a process has just seen, as it takes this step."""
    return next((a for a in _AIMS if a.step.search(step) and (a.plans is None or a.plans(world))), None)


def settle(world: World) -> None:
    """The world comes to rest: nothing is hidden or lags any more, and the operators want everything filled."""
    world.mode, world.suspended, world.max_writes_per_hour = world.busy, False, 100_000
    world.resting = True
    # Own writes are waited for by wall time, which is all that a restart leaves: a clock set back only delays that.
    world.time.wall = max(world.time.wall, world.time.latest)
    world.time.advance(8000)  # what was approved for a short time ends now, and not while everybody looks on
    world.registry.hidden.clear()
    world.registry.stale_until.clear()
    for pr in world.prs.values():
        pr.shown = None
    for branch, tip in list(world.tips.items()):
        commit = world.code.commits[tip]
        if not commit.catalogue_valid:
            world.move(branch, world.code.commit((tip,), commit.versions, commit.images))


def meddling(world: World) -> tuple[Callable[[World], str], ...]:
    """What happens to a world that has come to rest, each after it has come to rest again."""
    if world.gitops.open_now() and world.rng.random() < 0.5:
        return (outdated,)
    return tampered, accepted


def _some(world: World, pool: list[Pr]) -> Pr | None:
    return world.rng.choice(pool) if pool else None


def _open(world: World) -> list[Pr]:
    aim = world.aim
    return [pr for pr in world.open_prs() if aim is None or pr.number == aim.pull_request]


# --- people


def pr_opened(world: World) -> str:
    rng = world.rng
    if len(_open(world)) >= MAX_OPEN:
        return "-"
    base = rng.choices((MAIN, RELEASE, TOPIC), (10, 4, 1))[0]
    fork = rng.choice((9001, None)) if rng.random() < 0.1 else REPOSITORY_ID
    number = len(world.prs) + 1
    start = rng.choice(world.tips_ever[base][-3:])
    head = _changed_commit(world, (), start) if rng.random() < 0.05 else _changed_commit(world, (start,), start)
    pr = world.prs[number] = Pr(number, head, base, fork)
    world.pushed(pr, head)
    pr.shown = None
    return f"#{number} {head.short} onto {base.short}"


def _changed_commit(world: World, parents: tuple[CommitId, ...], like: CommitId) -> CommitId:
    commit = world.code.commits[like]
    versions = dict(commit.versions)
    for image in IMAGES:
        if world.rng.random() < 0.3:
            versions[image] = world.next_version()
    return world.code.commit(parents, versions, commit.images)


def _pr_pushed(world: World) -> str:
    if (pr := _some(world, _open(world))) is None:
        return "-"
    world.pushed(pr, _changed_commit(world, (pr.head,), pr.head))
    return f"#{pr.number} {pr.head.short}"


def outdated(world: World) -> str:
    """A pull request whose plan is open for GitOps gets a head that CI does not build."""
    world.aim = world.rng.choice(world.gitops.open_now() or [None])
    pr = _some(world, _open(world))
    world.aim = None
    if pr is None:
        return "-"
    commit = world.code.commits[pr.head]
    world.pushed(pr, world.code.commit((pr.head,), {i: world.next_version() for i in IMAGES}, commit.images))
    pr.shown = None
    return f"#{pr.number} {pr.head.short}"


def _pr_caught_up(world: World) -> str:
    """The base branch is merged into the pull request's branch."""
    if (pr := _some(world, _open(world))) is None:
        return "-"
    tip = world.tips[pr.base]
    mine, theirs = world.code.commits[pr.head].versions, world.code.commits[tip].versions
    versions = {i: max(mine.get(i, 0), theirs.get(i, 0)) for i in IMAGES}
    world.pushed(pr, world.code.commit((pr.head, tip), versions, world.code.commits[tip].images))
    return f"#{pr.number} {pr.head.short}"


def _pr_pushed_back(world: World) -> str:
    if (pr := _some(world, [p for p in _open(world) if len(set(p.heads)) > 1])) is None:
        return "-"
    world.pushed(pr, world.rng.choice([h for h in pr.heads if h != pr.head]))
    return f"#{pr.number} {pr.head.short}"


def _pr_closed(world: World) -> str:
    if (pr := _some(world, _open(world))) is None:
        return "-"
    pr.open = False
    return f"#{pr.number}"


def _pr_reopened(world: World) -> str:
    if (pr := _some(world, [p for p in world.prs.values() if not p.open and not p.merged])) is None or len(
        _open(world)
    ) > MAX_OPEN:
        return "-"
    pr.open = True
    return f"#{pr.number}"


def _pr_merged(world: World) -> str:
    pool = [p for p in _open(world) if p.base in (MAIN, RELEASE) and world.code.merge_bases(world.tips[p.base], p.head)]
    if (pr := _some(world, pool)) is None:
        return "-"
    tip = world.tips[pr.base]
    commit, head = world.code.commits[tip], world.code.commits[pr.head]
    versions = {i: max(commit.versions.get(i, 0), head.versions.get(i, 0)) for i in IMAGES}
    made = world.code.commit((tip, pr.head), versions, commit.images, catalogue_valid=commit.catalogue_valid)
    world.move(pr.base, made)
    pr.open, pr.merged = False, True
    return f"#{pr.number} {made.short}"


def _twin_opened(world: World) -> str:
    """A second pull request at the same head, perhaps onto another base."""
    if (pr := _some(world, _open(world))) is None or len(_open(world)) > MAX_OPEN:
        return "-"
    number = len(world.prs) + 1
    base = world.rng.choice((MAIN, RELEASE))
    twin = world.prs[number] = Pr(number, pr.head, base, pr.fork)
    world.pushed(twin, pr.head)
    twin.shown = None
    return f"#{number} at {pr.head.short} onto {base.short}"


def _label_toggled(world: World) -> str:
    if (pr := _some(world, _open(world))) is None:
        return "-"
    pr.labels = () if pr.labels else (HOLD,)
    return f"#{pr.number} {pr.labels}"


def _base_moved(world: World) -> str:
    rng = world.rng
    branch = rng.choice((MAIN, MAIN, RELEASE))
    tip = world.tips[branch]
    commit = world.code.commits[tip]
    versions = {i: world.next_version() if rng.random() < 0.4 else v for i, v in commit.versions.items()}
    images = IMAGES if rng.random() < 0.3 else commit.images
    made = world.code.commit((tip,), versions, images, catalogue_valid=rng.random() > 0.08)
    world.move(branch, made)
    return f"{branch.short} {made.short}"


def _somebody_tagged(world: World) -> str:
    """A tag of an open head is made by neither CI nor us, or by a CI that builds everything."""
    rng = world.rng
    heads = sorted(world.open_heads())
    if not heads:
        return "-"
    head, image = rng.choice(heads), rng.choice(IMAGES)
    at = repository(image)
    if world.registry.now(at, head) is not None or world.is_watched((at, head)):
        return "-"
    main = world.registry.now(at, "main")
    same = main is not None and rng.random() < 0.3
    made = world.registry.manifests[at, main] if same and main else world.built(image, f"somebody {head}")
    world.registry.put(at, head, made)
    return f"{image}:{head.short}"


def tampered(world: World) -> str:
    """Somebody moves a tag of an open head, removes it, or puts back what it was."""
    rng = world.rng
    heads = world.open_heads() if world.aim is None else {world.aim.head}
    cells = [
        (at, tag)
        for (at, tag), was in world.registry.tags.items()
        if at != RELEASES and tag in heads and not world.is_watched((at, CommitId(tag)))
    ]
    if not cells:
        return "-"
    at, tag = rng.choice(sorted(cells))
    was = [digest for digest in world.registry.tags[at, tag] if digest is not None]
    choice = rng.random()
    if choice < 0.4:
        world.registry.remove(at, tag)
    elif choice < 0.6 and was:
        world.registry.put(at, tag, world.registry.manifests[at, rng.choice(was)])
    else:
        image = next(i for i in IMAGES if repository(i) == at)
        what = f"head {tag}" if rng.random() < 0.5 else "tampered"
        world.registry.put(at, tag, world.built(image, f"{what} again {world.next_version()}"))
    return f"{at.path}:{tag[:12]} is {world.registry.now(at, tag)}"


def accepted(world: World) -> str:
    """An operator accepts what the log says of a quarantined head, perhaps an older word of it."""
    heads = sorted(world.quarantined)
    if not heads:
        return "-"
    head = world.rng.choice(heads)
    world.acceptances.append(Acceptance(head, world.quarantined[head], "operator", "seen"))
    return head.short


# --- CI


def _built(world: World) -> str:
    if not world.builds:
        return "-"
    made = world.rng.choice(world.builds)
    return f"{made.at.path} {made.tags[-1][:12]}" if world.finish(made) else "-"


# --- operators, credentials and time


def _preview_toggled(world: World) -> str:
    component = world.rng.choice((*COMPONENTS, *(() if world.sound else (GHOST,))))
    if component in world.previewed:
        world.previewed.remove(component)
    else:
        world.previewed.append(component)
    return component


def _mode_flipped(world: World) -> str:
    world.mode = world.rng.choice([mode for mode in (Mode.OBSERVE, Mode.FILL, world.busy) if mode is not world.mode])
    return world.mode.value


def _suspend_flipped(world: World) -> str:
    world.suspended = not world.suspended
    return str(world.suspended)


def _budget_changed(world: World) -> str:
    world.max_writes_per_hour = world.rng.choice((0, 2, 5, 1000))
    return str(world.max_writes_per_hour)


def _visibility_flipped(world: World) -> str:
    at = repository(world.rng.choice(IMAGES))
    hidden = world.registry.hidden
    if at not in hidden:
        hidden.add(at)
    elif not any(where == at for cells in world.watched.values() for where, _ in cells):
        hidden.discard(at)
    return f"{at.path} {at in hidden}"


def _listing_caught_up(world: World) -> str:
    for pr in world.prs.values():
        pr.shown = None
    return ""


def _time_passed(world: World) -> str:
    seconds = world.rng.choice((1, 5, 20, 45, 120, 900))
    world.time.advance(seconds)
    return f"{seconds} s"


def _clock_set(world: World) -> str:
    seconds = world.rng.choice((-4000, -90, -3, 3, 90, 4000))
    world.time.set_clock(seconds)
    return f"{seconds} s"


_TABLE: dict[Callable[[World], str], float] = {
    pr_opened: 8,
    _pr_pushed: 4,
    _pr_caught_up: 2,
    _pr_pushed_back: 4,
    _pr_closed: 3,
    _pr_reopened: 4,
    _pr_merged: 1.5,
    _twin_opened: 3,
    _label_toggled: 4,
    _base_moved: 5,
    _somebody_tagged: 5,
    tampered: 3,
    accepted: 8,
    _built: 16,
    _preview_toggled: 3,
    _mode_flipped: 1.5,
    _suspend_flipped: 1,
    _budget_changed: 1,
    _visibility_flipped: 3,
    _listing_caught_up: 8,
    _time_passed: 6,
    _clock_set: 0.5,
}
_PUBLISHING = {**_TABLE, **GITOPS_EVENTS}

_AIMS = (
    # Between two pages, and between two readings of them.
    Aim(re.compile(r"/(pulls|merge_requests)\?.*page="), (_pr_closed, _pr_merged, pr_opened, _pr_reopened)),
    # Between a decision and the last look before its writes.
    Aim(re.compile(r"^log.append (observation|decision)"), (_label_toggled, _pr_closed, _pr_pushed, _somebody_tagged)),
    # Between the intent of a publish and the last look before its pull request.
    Aim(
        re.compile(r"^(log.push|gitops.push)"),
        (
            _label_toggled, _pr_pushed, _pr_closed, tampered, tampered, tampered, approval_revoked, approvers_changed,
            gitops_taken_over, gitops_closed, gitops_merged,
        ),
        lambda world: world.gitops.being_opened(),
    ),
    # When its pull request is there already, and the answer was lost; or its branch alone.
    Aim(
        re.compile(r"^(policy|markers.pending)"),
        (gitops_closed,),
        lambda world: [plan for plan in world.gitops.being_opened() if plan in world.gitops.open_now()],
    ),
    Aim(
        re.compile(r"^(policy|markers.pending)"),
        (gitops_taken_over, gitops_closed, gitops_merged),
        lambda world: world.gitops.being_opened(),
    ),
    # While it is open.
    Aim(
        re.compile(r"^markers.pending"),
        (_pr_pushed, _pr_closed, approval_revoked),
        lambda world: world.gitops.open_now(),
    ),
)  # fmt: skip
