"""Who may take a marker back, and what admits a head from outside."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.approval.codes import Code
from reconciler.approval.evaluate import (
    Standing,
    judge_admission,
    may_revoke,
)
from tests.fixtures.approvals import (
    AGENT_ID,
    DAY_S,
    NOW,
    OTHER,
    PLAN,
    POLICY,
    PULL_REQUEST,
    RELEASE,
    TARGETS,
    admits,
    approves,
    policy,
    revokes,
    signed,
)

GOOD = signed(approves())
TWO = policy(2)
FORKED = PULL_REQUEST._replace(head_repository_id=666)
PROMOTED = PLAN._replace(target=TARGETS["staging"])


# --- revoking


REVOCATIONS = {
    "22-by-its-signer": (revokes(), "alice", True),
    "22-by-its-signer-with-another-key": (revokes(), "alice-2", True),
    "22-by-a-revoker": (revokes("boss"), "boss", True),
    "22-by-another-approver": (revokes("bob"), "bob", False),
    "22-by-the-author": (revokes("author"), "author", False),
    "22-of-another-id": (revokes(id="3" * 32), "alice", False),
    "22-in-another-repository": (revokes(repository_id=1), "alice", False),
    "22-an-approval-is-no-revocation": (approves(), "alice", False),
}


@pytest.mark.parametrize("name", REVOCATIONS)
def test_who_may_take_an_approval_back(name: str) -> None:
    marker, key, may = REVOCATIONS[name]
    assert may_revoke(signed(marker, key), GOOD, POLICY) is may


def test_a_revoker_of_one_target_has_no_say_in_another() -> None:
    elsewhere = signed(approves(plan=PROMOTED))
    assert not may_revoke(signed(revokes("boss")), elsewhere, POLICY)
    assert may_revoke(signed(revokes("alice")), elsewhere, POLICY)


def test_an_admission_is_taken_back_by_its_own_revokers_and_a_revocation_by_nobody() -> None:
    admission = signed(admits())
    assert may_revoke(signed(revokes("boss", id="2" * 32)), admission, POLICY)
    assert not may_revoke(signed(revokes("boss", id="2" * 32)), admission, policy(admission=None))
    assert not may_revoke(signed(revokes("boss")), signed(revokes()), POLICY)


def test_a_signer_who_left_the_policy_takes_nothing_back() -> None:
    left = {name: p for name, p in POLICY.principals.items() if name != "alice"}
    assert not may_revoke(signed(revokes()), GOOD, policy(principals=left))


# --- admitting


NOBODY = policy(admission=None)
ADMISSIONS: dict[str, tuple[Code | None, dict[str, Any]]] = {
    "genuine": (None, {}),
    "approval-as-admission": (Code.NOT_AN_ADMISSION, {"marker": GOOD}),
    "nobody-may-admit": (Code.NOT_AN_ADMISSION, {"rules": NOBODY}),
    "wrong-repository": (Code.WRONG_REPO, {"repository_id": 1}),
    "wrong-pull-request": (Code.WRONG_PR, {"pr": FORKED._replace(number=42)}),
    "head-moved": (Code.HEAD_MOVED, {"pr": FORKED._replace(head=OTHER)}),
    "another-fork": (Code.WRONG_FORK, {"pr": FORKED._replace(head_repository_id=667)}),
    "a-deleted-fork": (Code.WRONG_FORK, {"pr": FORKED._replace(head_repository_id=None)}),
    "revoked": (Code.REVOKED, {"standing": Standing(revoked=frozenset({"2" * 32}))}),
    "id-taken": (Code.ID_TAKEN, {"standing": Standing(taken={"2" * 32: RELEASE})}),
    "policy-changed": (Code.POLICY_CHANGED, {"rules": policy(targets={})}),
    "expired": (Code.EXPIRED, {"now": NOW + DAY_S}),
    "post-dated": (Code.NOT_YET_VALID, {"now": NOW - 600}),
    "too-long": (Code.TTL_TOO_LONG, {"marker": signed(admits(not_after=NOW + 2 * DAY_S))}),
    "by-somebody-else": (Code.NOT_APPROVER, {"marker": signed(admits("carol"))}),
    "by-the-author": (Code.SELF_APPROVAL, {"marker": signed(admits("author"))}),
    "by-an-agent": (Code.AGENT_APPROVER, {"marker": signed(admits("bot"))}),
    "by-one-of-two": (Code.NOT_ENOUGH_APPROVERS, {"marker": signed(admits(by=TWO), by=TWO), "rules": TWO}),
    "by-two": (None, {"marker": signed(admits("alice", "bob", by=TWO), by=TWO), "rules": TWO}),
    "consumption-is-not-for-admissions": (None, {"standing": Standing(consumed=frozenset({"2" * 32}))}),
}


@pytest.mark.parametrize("name", ADMISSIONS)
def test_an_admission_counts_for_one_head_of_one_fork(name: str) -> None:
    code, changed = ADMISSIONS[name]
    given_: dict[str, Any] = {
        "marker": signed(admits()), "pr": FORKED, "rules": POLICY, "standing": Standing(), "now": NOW,
        "repository_id": 4711, **changed,
    }  # fmt: skip
    found = judge_admission(
        given_["marker"], given_["pr"], given_["rules"], given_["standing"], given_["now"],
        repository_id=given_["repository_id"], agents=frozenset({AGENT_ID}),
    )  # fmt: skip
    assert (None if found is None else found.code) is code
