"""What people and other programs do while a process works: each event is one change of the world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from state.oci import Digest
from tests.publishing import content, repository
from tests.publishing.content import HEAD, MOVED, NUMBER, TARGET, UNRELEASED, WANTED
from tests.publishing.world import World

Event = Callable[[World], None]


def head_moves(world: World) -> None:
    world.set_pull(head=MOVED)


def head_moves_to_one_that_is_not_released(world: World) -> None:
    world.set_pull(head=UNRELEASED)


def approval_is_revoked(world: World) -> None:
    world.post(content.REVOCATION)


def tag_is_moved(world: World) -> None:
    world.tags[content.ORDERS, HEAD] = Digest.of(b"pushed over")


def tag_is_removed(world: World) -> None:
    world.tags.pop((content.BILLING, HEAD), None)


def release_set_is_gone(world: World) -> None:
    world.signed -= {HEAD}


def pull_request_is_closed(world: World) -> None:
    world.set_pull(state="closed")


def pull_request_is_merged(world: World) -> None:
    world.set_pull(state="merged")


def pull_request_is_retargeted(world: World) -> None:
    world.set_pull(base=content.NEXT)


def hold_label_is_set(world: World) -> None:
    world.set_pull(labels=(content.HOLD,))


def approver_pushes_the_head_again(world: World) -> None:
    world.set_pull(pusher=content.ALICE_ID)


def pin_is_moved_in_the_inventory(world: World) -> None:
    world.inventory = content.INVENTORY_MOVED


def policy_of_the_approvers_changes(world: World) -> None:
    world.policy = content.POLICY_CHANGED


def approvals_end(world: World) -> None:
    world.now = max(world.now, content.FIRST.not_after + content.SKEW_S + 1)


def approvals_end_within_skew(world: World) -> None:
    world.now = max(world.now, content.FIRST.not_after + content.SKEW_S)


def base_moves(world: World) -> None:
    _commit_to_base(world, {"README.md": b"lanes, described\n"})


def base_moves_in_the_same_file(world: World) -> None:
    _edit_base(world, b"memory: 64Mi", b"memory: 128Mi")


def base_moves_in_conflict(world: World) -> None:
    _edit_base(world, b"pullPolicy: IfNotPresent", b"pullPolicy: Always")


def base_takes_the_pins(world: World) -> None:
    files = repository.tree(world.branches[TARGET.base])
    changed = dict(files)
    for (file, at), value in WANTED.values.items():
        old = f"{value.partition('@')[0]}@".encode()
        where = changed[file].index(old) if at == ("image", "ref") else changed[file].rindex(old)
        end = where + len(old) + len("sha256:") + 64
        changed[file] = changed[file][:where] + value.encode() + changed[file][end:]
    _commit_to_base(world, changed)


def person_commits_to_the_branch(world: World) -> None:
    """Where it is there."""
    if (tip := world.branches.get(WANTED.branch)) is not None:
        world.branches[WANTED.branch] = repository.by_person(tip, {"README.md": b"a person was here\n"})


def person_takes_the_branch_name(world: World) -> None:
    """A branch of this name with somebody's work, before ours is there."""
    if WANTED.branch not in world.branches:
        base = world.branches[TARGET.base]
        world.branches[WANTED.branch] = repository.by_person(base, {"README.md": b"mine\n"})


def person_closes_the_gitops_pull_request(world: World) -> None:
    for one in world.of_branch(WANTED.branch):
        if one.state == "open":
            world.set_change(one.number, state="closed", ended_by="a person")


def person_merges_the_gitops_pull_request(world: World) -> None:
    for one in world.of_branch(WANTED.branch):
        merge = repository.merged(world.branches[TARGET.base], world.branches[WANTED.branch])
        if one.state == "open" and merge is not None:
            world.branches[TARGET.base] = merge
            world.set_change(one.number, state="merged", ended_by="a person")


def _edit_base(world: World, old: bytes, new: bytes) -> None:
    file = repository.tree(world.branches[TARGET.base])["dev/orders.yaml"]
    _commit_to_base(world, {"dev/orders.yaml": file.replace(old, new)})


def _commit_to_base(world: World, changed: Mapping[str, bytes]) -> None:
    world.branches[TARGET.base] = repository.by_person(world.branches[TARGET.base], changed)


EVENTS: Final[Mapping[str, Event]] = {
    event.__name__.replace("_", " "): event
    for event in (
        head_moves,
        head_moves_to_one_that_is_not_released,
        approval_is_revoked,
        tag_is_moved,
        tag_is_removed,
        release_set_is_gone,
        pull_request_is_closed,
        pull_request_is_merged,
        pull_request_is_retargeted,
        hold_label_is_set,
        approver_pushes_the_head_again,
        pin_is_moved_in_the_inventory,
        policy_of_the_approvers_changes,
        approvals_end,
        approvals_end_within_skew,
        base_moves,
        base_moves_in_the_same_file,
        base_moves_in_conflict,
        base_takes_the_pins,
        person_commits_to_the_branch,
        person_takes_the_branch_name,
        person_closes_the_gitops_pull_request,
        person_merges_the_gitops_pull_request,
    )
}


def back(world: World) -> None:
    """Whatever moved of the facts is again as it was approved."""
    fresh = World()
    world.pulls[NUMBER] = fresh.pulls[NUMBER]
    world.tags = fresh.tags
    world.signed, world.inventory, world.policy = fresh.signed, fresh.inventory, fresh.policy


COMES_BACK: Final = (
    "head moves",
    "tag is moved",
    "release set is gone",
    "pull request is closed",
    "pull request is retargeted",
    "hold label is set",
    "pin is moved in the inventory",
    "policy of the approvers changes",
)
