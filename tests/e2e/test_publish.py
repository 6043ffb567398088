"""From an approval to a GitOps pull request, on real parts: policy, markers, log and its remote, git, local forges."""

from __future__ import annotations

import json
from typing import Any

import pygit2
import pytest

from reconciler.demo.world import MAIN, pin_file
from reconciler.gitops import difference
from state.entry import Kind
from state.git import RefName
from state.pin_plan import Edit
from state.publishing import ProposalState
from tests.fixtures.approving import Approving
from tests.fixtures.shop import DOCS, Running, Shop, changes


def opens(approving: Approving, **options: Any) -> tuple[int, Any]:
    """A pull request by somebody who approves nothing; its pusher is told."""
    return approving.shop.opens("docs", DOCS, author_id=21, **options)


def outcomes(shop: Shop) -> list[dict[str, Any]]:
    """What every step came to, in order."""
    rows = []
    for logged in shop.entries(Kind.OUTCOME):
        rows += logged.entry.body.get("proposals", [])  # type: ignore[operator]
    return rows


def refusals(running: Running) -> list[str]:
    return [e["reason"] for e in running.events("approval_refused")]


def test_a_plan_waits_for_its_approval_and_then_there_is_one_pull_request_that_changes_the_pins_alone(
    approving: Approving,
) -> None:
    shop = approving.shop
    number, head = opens(approving)
    with shop.reconciler() as running:
        running.until_quiet()
        assert approving.opened() == []
        plan = approving.plan(number)
        assert {e.component for e in plan.edits} == {"orders", "orders-dispatcher", "billing", "catalog", "web"}
        # What is pinned is what the head runs: here the baselines, which dev runs already.
        assert plan.images() == {shop.world.repository(i): d for i, d in shop.tags(head).items()}
        approving.approves(number, "alice")
        running.one_pass()
        assert refusals(running)[-1:] == ["nothing-to-do"]
    assert approving.opened() == []
    assert shop.entries(Kind.MARKER)
    shop.verified()


def test_an_approved_build_is_proposed_once_with_its_digest(approving: Approving) -> None:
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    digest = shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
        plan = approving.plan(number)
        marker = approving.approves(number, "alice")
        running.one_pass()
        (record,) = approving.opened()
        assert (record.state.value, record.base, record.head_branch) == ("open", MAIN, plan.branch)
        assert str(plan.digest()) in record.body
        assert "alice" in record.body
        assert approving.file("dev", "orders", plan.branch) == approving.file("dev", "orders").replace(
            str(shop.main("orders")), str(digest)
        )
        before, after = (
            {pin_file("dev", c): approving.file("dev", c, at).encode() for c in ("orders", "orders-dispatcher", "web")}
            for at in (MAIN, plan.branch)
        )
        changed = difference.difference(before, after)
        assert {(d.file, d.new.text) for d in changed if d.new is not None} == {
            (pin_file("dev", c), f"{shop.world.repository('orders')}@{digest}") for c in ("orders", "orders-dispatcher")
        }
        # Nothing more happens: it is open, and its approval is used up.
        running.one_pass()
        again = approving.approves(number, "bob")
        running.one_pass()
        assert refusals(running)[-1] == "already-published"
        assert len(approving.opened()) == 1
    (row,) = outcomes(shop)
    assert (row["result"], row["approvals"], row["change"]) == ("open", [marker], 1)
    assert again not in row["approvals"]
    (intent,) = [e for e in shop.entries(Kind.INTENT) if "proposals" in e.entry.body]
    remote = pygit2.Repository(str(approving.log_remote))
    assert intent.id in remote
    commit = pygit2.Repository(str(approving.gitops))[row["commit"]]
    assert commit.gpg_signature[0] is not None
    shop.verified()


@pytest.fixture
def proposed(approving: Approving) -> tuple[Approving, int, Edit]:
    """A shop in which #1 changes the orders, CI has built them, and alice has approved; not yet acted on."""
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
    edit = next(e for e in approving.plan(number).edits if e.component == "orders")
    return approving, number, edit


Proposed = tuple[Approving, int, Edit]


def test_a_push_after_the_approval_makes_it_void(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    newer = shop.world.branch("orders", changes("orders", "again\n"), "again")
    shop.pulls.push(number, newer, by=21)
    with shop.reconciler() as running:
        running.one_pass()
        assert refusals(running) == ["head-moved"]
    assert approving.opened() == []


@pytest.mark.parametrize(
    ("names", "author", "pusher", "code"),
    [
        (("alice",), 21, None, "not-enough-approvers"),  # nobody knows who pushed: two are asked for
        (("alice", "bob"), 21, None, None),
        (("alice",), 11, 21, "self-approval"),
        (("alice",), 21, 11, "self-approval"),
        (("alice",), 21, 21, None),
    ],
)
def test_who_may_approve(
    approving: Approving, names: tuple[str, ...], author: int, pusher: int | None, code: str | None
) -> None:
    shop = approving.shop
    first = shop.world.branch("orders", DOCS, "first")
    number = shop.pulls.open(first, MAIN, author_id=author).record.number
    head = shop.world.branch("orders", changes("orders"), "orders")
    shop.pulls.push(number, head, by=pusher)
    shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
        approving.approves(number, *names)
        running.one_pass()
        assert refusals(running)[-1:] == ([code] if code else [])
    assert len(approving.opened()) == (0 if code else 1)


def test_a_revocation_closes_what_is_open_and_the_log_says_why(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    marker = approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        approving.revokes(marker, "bob")  # neither a signer nor a revoker
        running.one_pass()
        assert approving.opened()[0].state.value == "open"
        approving.revokes(marker, "carol")
        running.one_pass()
    (record,) = approving.opened()
    assert (record.state.value, "was revoked" in record.close_reason) == ("closed", True)
    assert [row["result"] for row in outcomes(shop)] == ["open", "closed"]
    assert len(shop.entries(Kind.REVOCATION)) == 1
    shop.verified()


def test_what_a_person_closed_stays_closed_and_a_persons_commit_is_never_touched(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        plan = approving.plan(number)
        mine = approving.commits({"NOTES.md": "mine\n"}, plan.branch)
        running.one_pass()
        assert outcomes(shop)[-1]["result"] == "hands-off"
        shop.pulls.close(number)
        running.one_pass()
        assert pygit2.Repository(str(approving.gitops)).references[plan.branch].target == pygit2.Oid(hex=mine)
        assert approving.opened()[0].state.value == "open"  # theirs now
        approving.pulls.close(1)
        shop.pulls.reopen(number)
        running.until_quiet()
        approving.approves(number, "bob")
        running.one_pass()
        assert refusals(running)[-1] == "declined"
    assert len(approving.opened()) == 1


def test_a_branch_of_somebody_else_is_not_taken(proposed: Proposed) -> None:
    approving, number, _ = proposed
    plan = approving.plan(number)
    theirs = approving.commits({"NOTES.md": "mine\n"}, RefName.branch("theirs"))
    gitops = pygit2.Repository(str(approving.gitops))
    gitops.references.create(plan.branch, theirs)
    approving.approves(number, "alice")
    with approving.shop.reconciler() as running:
        running.one_pass()
        assert refusals(running) == ["foreign-branch"]
        # They have removed it: the approval still counts.
        assert gitops.references[plan.branch].target == pygit2.Oid(hex=theirs)
        gitops.references.delete(plan.branch)
        running.one_pass()
    assert [r.state.value for r in approving.opened()] == ["open"]


def test_a_base_that_moved_on_is_merged_into_the_branch_and_nothing_but_the_pins_differs(proposed: Proposed) -> None:
    approving, number, edit = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        plan = approving.plan(number)
        opened = pygit2.Repository(str(approving.gitops))
        first = opened.references[plan.branch].target
        # Somebody else's digest in the same line: no merge without us.
        other = approving.file("dev", "orders").replace(str(shop.main("orders")), "sha256:" + "7" * 64)
        approving.commits({edit.file: other + "# and a note\n"})
        running.one_pass()
        second = opened.references[plan.branch].target
        assert second != first
        assert opened.merge_base(first, second) == first
        text = approving.file("dev", "orders", plan.branch)
        assert text == approving.file("dev", "orders").replace("sha256:" + "7" * 64, str(edit.digest))
        running.one_pass()
        assert opened.references[plan.branch].target == second
        approving.pulls.merge(1)
        running.one_pass()
    assert approving.file("dev", "orders") == text
    assert [row["result"] for row in outcomes(shop)] == ["open", "open", "merged"]
    shop.verified()


def test_a_new_plan_has_a_pull_request_of_its_own_and_the_old_one_is_closed_with_a_link(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        # The inventory pins the orders in one more place.
        inventory = approving.inventory()
        row = inventory["components"]["orders"]["pins"]
        row.append({"environment": "dev", "file": "more.yaml", "key": "image.ref"})
        text = f"image: {{ref: {shop.world.repository('orders')}@{shop.main('orders')}}}\n"
        approving.commits({"ameide/inventory.yaml": json.dumps(inventory), "more.yaml": text})
        running.until_quiet()
        first = approving.opened()[0]
        assert first.state.value == "closed"
        approving.approves(number, "bob")
        running.one_pass()
    first, second = approving.opened()
    assert (first.state.value, second.state.value) == ("closed", "open")
    assert first.head_branch != second.head_branch


def test_a_merged_code_pull_request_leaves_the_proposal_open_and_a_closed_one_does_not(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        shop.pulls.merge(number)
        running.until_quiet()
        assert approving.opened()[0].state.value == "open"
        running.clock.skew_s += 4000
        running.one_pass()
    assert approving.opened()[0].close_reason == "its approval has ended"


def test_a_closed_code_pull_request_closes_the_proposal(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.one_pass()
        shop.pulls.close(number)
        running.until_quiet()
    assert "closed without being merged" in approving.opened()[0].close_reason


def test_a_key_that_is_not_in_the_file_is_told_before_anybody_is_asked_to_approve(approving: Approving) -> None:
    shop = approving.shop
    approving.commits({pin_file("dev", "web"): "image: {tag: x}\n"})
    number, _ = opens(approving)
    with shop.reconciler() as running:
        report = running.until_quiet()
        told = running.events("plan_impossible")
    assert report.converged
    assert shop.entries(Kind.PLAN) == []
    (one,) = told
    assert (one["pull_request"], one["target"]) == (number, "dev")
    assert pin_file("dev", "web") in one["detail"]
    assert "image.ref" in one["detail"]


def test_a_fork_is_let_in_by_an_admission_for_exactly_its_head(approving: Approving) -> None:
    shop = approving.shop
    number, head = shop.opens("stranger", DOCS, head_repository_id=4242, author_id=77)
    with shop.reconciler() as running:
        report = running.until_quiet()
        assert {c.reason for c in report.cells} == {"fork-not-admitted"}
        approving.admits(number, head, 4242, "alice")
        report = running.until_quiet()
        assert all(c.state.value == "retagged" for c in report.cells)
        newer = shop.world.branch("stranger", {"README.md": "more\n"}, "more")
        shop.pulls.push(number, newer)
        report = running.until_quiet()
        assert {(c.head, c.reason) for c in report.cells} == {(newer, "fork-not-admitted")}
    shop.verified()


def test_in_mode_fill_plans_and_approvals_change_nothing_outside(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    shop.configure(mode="fill")
    approving.approves(number, "alice")
    with shop.reconciler() as running:
        running.until_quiet()
    assert approving.opened() == []
    shop.configure(mode="publish")
    with shop.reconciler() as running:
        running.one_pass()
    assert [r.state.value for r in approving.opened()] == ["open"]


def test_nothing_is_published_while_the_logs_remote_is_away(proposed: Proposed) -> None:
    approving, number, _ = proposed
    shop = approving.shop
    away = approving.log_remote.with_name("away.git")
    with shop.reconciler() as running:
        running.one_pass()
        approving.approves(number, "alice")
        approving.log_remote.rename(away)
        running.one_pass()
        assert approving.opened() == []
        assert running.events("proposal_failed")
        away.rename(approving.log_remote)
        running.one_pass()
    assert [r.state.value for r in approving.opened()] == ["open"]
    assert [row["result"] for row in outcomes(shop)] == [ProposalState.OPEN.value]
    shop.verified()


def test_a_promotion_copies_what_the_lower_environment_runs(promoting: Approving) -> None:
    approving = promoting
    shop = approving.shop
    number, head = shop.opens("orders", changes("orders"), author_id=21)
    digest = shop.world.ci_builds("orders", head)
    approving.proving.attests("orders", head, head, ref=RefName.branch("orders"))
    with shop.reconciler() as running:
        running.until_quiet()
        approving.approves(number, "alice")
        running.one_pass()
        assert [p.target.name for p in approving.plans()] == ["dev"]
        approving.pulls.merge(1)
        shop.pulls.merge(number)
        running.until_quiet()
        running.until_quiet()
        plan = approving.plan(number, "staging")
        assert {e.digest for e in plan.edits if e.component == "orders"} == {digest}
        approving.skew_s = running.clock.skew_s
        approving.approves(number, "bob", target="staging")
        running.one_pass()
        assert [r.state.value for r in approving.opened()] == ["merged", "open"]
        text = approving.file("staging", "orders", plan.branch)
        assert str(digest) in text
        # dev is rolled back: what it does not run is not promoted.
        approving.pulls.close(2)
        running.one_pass()
        approving.commits({pin_file("dev", "orders"): approving.file("staging", "orders")})
        running.one_pass()
        approving.approves(number, "alice", target="staging")
        running.one_pass()
        assert refusals(running)[-1] == "no-plan"
    shop.verified()
