"""What others do, by malice or by mistake, keeps no approval from its pull request, and no proposal from its end."""

from __future__ import annotations

import secrets
from typing import Any

import pygit2
import pytest

from reconciler.approval import envelopes
from reconciler.approval.approvers import Signed
from reconciler.approval.served import ServedPlan
from reconciler.approval.signatures import Signers
from reconciler.publishing import intake, proposing, upkeep
from state import canonical
from state.entry import Kind
from state.git import RefName
from state.oci import Digest
from tests.fixtures.approving import Approving
from tests.fixtures.shop import Running, changes

INVENTORY = "ameide/inventory.yaml"


@pytest.fixture
def built(approving: Approving) -> tuple[Approving, int]:
    """A shop in which #1 changes the orders, and CI has built them; its plan is recorded."""
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
    return approving, number


def results(approving: Approving) -> list[str]:
    rows: list[Any] = []
    for logged in approving.shop.entries(Kind.OUTCOME):
        rows += logged.entry.body.get("proposals", [])  # type: ignore[operator, arg-type]
    return [row["result"] for row in rows]


def states(approving: Approving) -> list[str]:
    return [record.state.value for record in approving.opened()]


def begun(approving: Approving, running: Running, number: int) -> None:
    """An approval is consumed by an intent that could not be pushed."""
    away = approving.log_remote.with_name("away.git")
    approving.approves(number, "alice")
    approving.log_remote.rename(away)
    running.one_pass()
    away.rename(approving.log_remote)
    assert [e for e in approving.shop.entries(Kind.INTENT) if "proposals" in e.entry.body]
    assert results(approving) == []


def test_approvals_of_plans_that_do_not_exist_are_in_nobodys_way(built: tuple[Approving, int]) -> None:
    approving, number = built
    plan = approving.plan(number)
    with approving.shop.reconciler() as running:
        for _ in range(proposing.PER_PASS_MAX):
            approving.drops(approving.approval(plan, "bob")._replace(plan=Digest.of(secrets.token_bytes(8))))
        running.one_pass()
        approving.approves(number, "alice")
        running.one_pass()
    assert states(approving) == ["open"]


def test_approvals_that_are_refused_each_time_take_turns_with_those_that_are_not(
    approving: Approving, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, numbers = approving.shop, []
    for image, author in (("orders", 11), ("web", 21)):
        number, head = shop.opens(image, changes(image), author_id=author)
        shop.world.ci_builds(image, head)
        approving.proving.attests(image, head, head, ref=RefName.branch(image))
        numbers.append(number)
    monkeypatch.setattr(proposing, "PER_PASS_MAX", 1)
    with shop.reconciler() as running:
        running.until_quiet()
        approving.approves(numbers[0], "alice")  # she is its author
        running.one_pass()
        approving.approves(numbers[1], "alice")
        running.one_pass()
        running.one_pass()
        told = [e["reason"] for e in running.events("approval_refused")]
    assert states(approving) == ["open"]
    assert told == ["self-approval"]


def test_an_inventory_that_cannot_be_read_costs_no_approval(built: tuple[Approving, int]) -> None:
    approving, number = built
    gitops = pygit2.Repository(str(approving.gitops))
    good = bytes(gitops[f"{gitops.references['refs/heads/main'].target}"].peel(pygit2.Tree)[INVENTORY].data).decode()
    with approving.shop.reconciler() as running:
        begun(approving, running, number)
        approving.commits({INVENTORY: "components: ["})
        running.one_pass()
        assert results(approving) == []
        approving.commits({INVENTORY: good})
        running.one_pass()
    assert states(approving) == ["open"]
    assert results(approving) == ["open"]
    approving.shop.verified()


def test_what_the_gitops_repository_refuses_ends_with_its_approval(built: tuple[Approving, int]) -> None:
    approving, number = built
    hook = approving.gitops / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with approving.shop.reconciler() as running:
        approving.approves(number, "alice")
        running.one_pass()
        assert running.events("proposal_failed")
        assert results(approving) == []
        running.clock.skew_s += 4000
        running.one_pass()
        running.one_pass()
    assert states(approving) == []
    assert results(approving) == ["dropped"]
    approving.shop.verified()


def test_an_update_that_the_gitops_repository_refuses_is_tried_again_after_a_pause(
    built: tuple[Approving, int],
) -> None:
    approving, number = built
    edit = next(e for e in approving.plan(number).edits if e.component == "orders")
    with approving.shop.reconciler() as running:
        approving.approves(number, "alice")
        running.one_pass()
        conflicting = approving.file("dev", "orders").replace("image:", "image:  # ours")
        approving.commits({edit.file: conflicting.replace("@sha256:", "@sha256:" + "0" * 64 + "  # ")})
        hook = approving.gitops / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o755)
        running.one_pass()
        running.one_pass()
        grown = len(approving.shop.entries(Kind.INTENT))
        for _ in range(3):
            running.one_pass()
        assert len(approving.shop.entries(Kind.INTENT)) == grown
        assert running.events("proposal_updated") == []
        hook.unlink()
        running.clock.skew_s += upkeep.UPDATE_PAUSE_S
        running.one_pass()
        running.one_pass()
    assert results(approving)[-1] == "open"
    assert "# ours" in approving.file("dev", "orders", approving.plan(number).branch)
    approving.shop.verified()


def test_revocations_of_markers_that_never_come_are_in_nobodys_way_and_count_when_they_come(
    built: tuple[Approving, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    approving, number = built
    monkeypatch.setattr(intake, "PER_PASS_MAX", 2)
    first, second = (approving.approval(approving.plan(number), "alice") for _ in range(2))
    with approving.shop.reconciler() as running:
        approving.revokes(first.id, "alice")
        approving.revokes(secrets.token_hex(16), "bob")
        running.one_pass()
        approving.drops(first)
        running.one_pass()
        assert len(approving.shop.entries(Kind.MARKER)) == len(approving.shop.entries(Kind.REVOCATION)) == 1
        approving.drops(second)
        running.one_pass()
    assert states(approving) == ["open"]
    approving.shop.verified()


def test_a_policy_that_cannot_be_read_stops_approvals_alone(built: tuple[Approving, int]) -> None:
    approving, number = built
    policy = approving.policy_file.read_text()
    with approving.shop.reconciler() as running:
        approving.approves(number, "alice")
        running.one_pass()
        approving.drops(approving.approval(approving.plan(number), "bob"))
        running.one_pass()
        approving.policy_file.write_text("version: 2")
        approving.shop.pulls.close(number)
        running.until_quiet()  # as every pass does, with its statuses and the push of its log
        assert any("approvals: " in e["error"] for e in running.events("pass_problem"))
        assert states(approving) == ["closed"]
        approving.policy_file.write_text(policy)
    approving.shop.verified()


def test_what_has_ended_is_not_verified_again_in_every_pass(
    built: tuple[Approving, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    approving, number = built
    shop, plan = approving.shop, approving.plan(number)
    with shop.reconciler() as running:
        for _ in range(3):
            approving.drops(approving.approval(plan, "bob")._replace(plan=Digest.of(secrets.token_bytes(8))))
        approving.admits(number, plan.head, 4242, "bob")
        running.one_pass()
    assert len(shop.entries(Kind.MARKER)) == 4
    verified: list[bytes] = []

    def counted(raw: bytes, signers: Signers) -> Signed:
        verified.append(raw)
        return envelopes.verify(raw, signers)

    monkeypatch.setattr(intake, "verify", counted)
    with shop.reconciler() as running:
        running.one_pass()
        assert len(verified) == 4
    with shop.reconciler() as running:
        verified.clear()
        running.clock.skew_s += 4000
        running.one_pass()
        assert verified == []


def test_who_approved_is_told_what_their_approval_was_used_up_for(built: tuple[Approving, int]) -> None:
    approving, number = built
    shop, plan = approving.shop, approving.plan(number)
    with shop.reconciler() as running:
        begun(approving, running, number)
        shop.pulls.close(number)
        running.one_pass()
        assert results(approving) == ["dropped"]
        shop.pulls.reopen(number)
        running.one_pass()
        assert running.repository.publisher is not None
        served = running.repository.publisher.board.by_digest(plan.digest())
    assert served is not None
    (judged,) = served.approvals
    assert judged.code == "already-consumed"
    assert "pr-closed" in judged.text


@pytest.mark.parametrize("name", ["ameide", "ameide/dev"])
def test_a_branch_that_leaves_no_room_for_ours_is_no_hand_on_it(built: tuple[Approving, int], name: str) -> None:
    approving, number = built
    gitops = pygit2.Repository(str(approving.gitops))
    with approving.shop.reconciler() as running:
        approving.commits({"NOTES.md": "mine\n"}, RefName.branch(name))
        approving.approves(number, "alice")
        running.one_pass()
        assert running.events("proposal_failed")
        assert results(approving) == []
        gitops.references.delete(RefName.branch(name))
        running.one_pass()
    assert states(approving) == results(approving) == ["open"]
    approving.shop.verified()


@pytest.mark.parametrize("value", ["x" * 5000, "\\ud800"])
def test_what_stands_in_a_pin_now_keeps_no_plan_from_being_served(built: tuple[Approving, int], value: str) -> None:
    approving, number = built
    plan = approving.plan(number)
    approving.commits({plan.edits[0].file: f'image: {{ref: "{value}"}}\n'})
    with approving.shop.reconciler() as running:
        running.one_pass()
        assert running.repository.publisher is not None
        served = running.repository.publisher.board.newest(number, "dev")
    assert isinstance(served, ServedPlan)
    raw = canonical.dumps(served.to_json())
    assert ServedPlan.from_json(canonical.loads_object(raw, what="plan", max_bytes=len(raw))) == served
