"""Every attack on an approval that needs facts, each with its code; the rest of the table is in test_envelopes.py and
in contract/web/test_markers.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.approval import evaluate as judged
from reconciler.approval.approvers import ApproversPolicy, Rule, Signed
from reconciler.approval.codes import MEANING, Code
from reconciler.approval.evaluate import (
    Facts,
    Granted,
    Refused,
    Standing,
    evaluate,
)
from state.git import RefName
from state.oci import Digest, Repository
from state.pin_plan import Edit
from tests.fixtures.approvals import (
    AGENT_ID,
    AUTHOR_ID,
    BILLING,
    DAY_S,
    EDITS,
    EVERYBODY,
    HEAD,
    NOW,
    ORDERS,
    OTHER,
    PLAN,
    POLICY,
    PULL_REQUEST,
    PUSHER_ID,
    RELEASE,
    TARGETS,
    admits,
    approves,
    facts,
    policy,
    revokes,
    signed,
)

GOOD = signed(approves())
BY_BOB = signed(approves("bob", id="3" * 32))
TWO = policy(2)
GREW = PLAN._replace(edits=(*EDITS, Edit("apps/z.yaml", "image.ref", "z", Repository("ghcr.io/acme/z"), RELEASE)))
DRIFTED = {ORDERS: Digest.of(b"evil"), BILLING: PLAN.images()[BILLING]}
FORKED = PULL_REQUEST._replace(head_repository_id=666)
NO_ROLE = policy(targets={"dev": Rule(frozenset({"bob"}), 1, DAY_S)})
PROMOTED = PLAN._replace(target=TARGETS["staging"])
CLOSED = facts(PROMOTED, pull_request=None, second_witness=None, tags={}, promotion=True)


class Case(NamedTuple):
    code: Code | None
    """None: granted."""
    markers: Sequence[Signed] = (GOOD,)
    facts: Facts = facts()
    policy: ApproversPolicy = POLICY
    standing: Standing = Standing()
    now: int = NOW
    target: str = "dev"


def by(principal: str, rules: ApproversPolicy = POLICY, **changed: Any) -> tuple[Signed, ...]:
    return (signed(approves(principal, by=rules, **changed), by=rules),)


ATTACKS: dict[str, Case] = {
    "0-genuine": Case(None),
    "1-push-after-approval": Case(
        Code.HEAD_MOVED, facts=facts(pull_request=PULL_REQUEST._replace(head=OTHER), second_witness=OTHER)
    ),
    "2-force-push-away-and-back": Case(None),
    "3-other-pr-same-head": Case(Code.WRONG_PR, facts=facts(number=42, pull_request=PULL_REQUEST._replace(number=42))),
    "4-repo-recreated": Case(Code.WRONG_REPO, facts=facts(repository_id=4712)),
    "5-used-before": Case(Code.ALREADY_CONSUMED, standing=Standing(consumed=frozenset({"1" * 32}))),
    "6-tag-overwritten": Case(Code.REGISTRY_DRIFT, facts=facts(tags=DRIFTED)),
    "6-tag-gone": Case(Code.REGISTRY_DRIFT, facts=facts(tags={**PLAN.images(), ORDERS: None})),
    "6-tag-not-read": Case(Code.REGISTRY_DRIFT, facts=facts(tags={})),
    "7-plan-grew": Case(Code.PLAN_CHANGED, facts=facts(GREW)),
    "14-lost-the-role": Case(Code.NOT_APPROVER, by("alice", NO_ROLE), policy=NO_ROLE),
    "15-author-approves": Case(Code.SELF_APPROVAL, by("author")),
    "16-pusher-approves": Case(Code.SELF_APPROVAL, by("pusher")),
    "16-author-among-two": Case(Code.SELF_APPROVAL, (signed(approves("alice", "author")),)),
    "18-expired": Case(Code.EXPIRED, now=NOW + 7200),
    "18-expired-but-within-the-skew": Case(None, now=approves().not_after + 60),
    "18-expired-by-a-second": Case(Code.EXPIRED, now=approves().not_after + 61),
    "19-post-dated": Case(Code.NOT_YET_VALID, by("alice", issued_at=NOW + 600, not_after=NOW + 900)),
    "19-ahead-within-the-skew": Case(None, by("alice", issued_at=NOW + 60)),
    "20-ten-years": Case(Code.TTL_TOO_LONG, by("alice", not_after=NOW + 10 * 365 * DAY_S)),
    "20-a-second-too-long": Case(Code.TTL_TOO_LONG, by("alice", not_after=approves().issued_at + DAY_S + 1)),
    "20-as-long-as-allowed": Case(None, by("alice", not_after=approves().issued_at + DAY_S)),
    "20-until-the-end-of-time": Case(Code.TTL_TOO_LONG, by("alice", not_after=253_402_300_799)),
    "20-from-the-start-of-time": Case(Code.EXPIRED, by("alice", issued_at=0, not_after=1)),
    "21-revoked-and-posted-again": Case(Code.REVOKED, standing=Standing(revoked=frozenset({"1" * 32}))),
    "23-revocation-as-approval": Case(Code.NOT_AN_APPROVAL, (signed(revokes()),)),
    "23-admission-as-approval": Case(Code.NOT_AN_APPROVAL, (signed(admits()),)),
    "24-two-keys-of-one-person": Case(
        Code.NOT_ENOUGH_APPROVERS, (signed(approves(by=TWO), "alice", "alice-2", by=TWO),), policy=TWO
    ),
    "24-two-markers-of-one-person": Case(
        Code.NOT_ENOUGH_APPROVERS,
        (*by("alice", TWO), signed(approves(by=TWO, id="4" * 32), "alice-2", by=TWO)),
        policy=TWO,
    ),
    "25-two-people-one-envelope": Case(None, (signed(approves("alice", "bob", by=TWO), by=TWO),), policy=TWO),
    "25-two-people-two-envelopes": Case(None, (*by("alice", TWO), *by("bob", TWO, id="3" * 32)), policy=TWO),
    "28-fork-not-admitted": Case(
        Code.FORK_NOT_ALLOWED, facts=facts(pull_request=FORKED, not_admitted="fork-not-admitted")
    ),
    "29-retargeted": Case(
        Code.BASE_CHANGED, facts=facts(pull_request=PULL_REQUEST._replace(base=RefName.branch("release")))
    ),
    "29-base-of-other-letters": Case(Code.BASE_CHANGED, by("alice", base=RefName("refs/heads/m\u0430in"))),
    "30-closed": Case(Code.PR_CLOSED, facts=facts(pull_request=None, second_witness=None)),
    "32-subject-missing": Case(Code.SUBJECT_MISMATCH, by("alice", images={ORDERS: PLAN.images()[ORDERS]})),
    "32-subject-more": Case(
        Code.SUBJECT_MISMATCH, by("alice", images={**PLAN.images(), Repository("ghcr.io/acme/z"): RELEASE})
    ),
    "32-subject-with-another-digest": Case(Code.SUBJECT_MISMATCH, by("alice", images=DRIFTED)),
    "33-other-target": Case(Code.WRONG_TARGET, by("alice", target="staging")),
    "33-used-across-targets": Case(Code.WRONG_TARGET, facts=facts(PROMOTED), target="staging"),
    "33-target-renamed-in-the-marker": Case(
        Code.PLAN_CHANGED, by("alice", target="staging"), facts(PROMOTED), target="staging"
    ),
    "34-policy-changed": Case(Code.POLICY_CHANGED, policy=TWO),
    # Beyond the table
    "same-edits-for-two-targets": Case(None, by("alice", plan=PROMOTED), facts(PROMOTED), target="staging"),
    "plan-of-another-head": Case(Code.PLAN_CHANGED, facts=facts(PLAN._replace(head=OTHER))),
    "digest-of-one-plan-beside-the-head-of-another": Case(
        Code.PLAN_CHANGED,
        by("alice", plan=PLAN._replace(head=OTHER), head=HEAD),
        facts(PLAN._replace(head=OTHER)),
    ),
    "release-set-replaced": Case(Code.RELEASE_SET_CHANGED, facts=facts(release_set=Digest.of(b"accepted"))),
    "release-set-gone": Case(Code.HEAD_INCOMPLETE, facts=facts(release_set=None)),
    "no-plan-now": Case(Code.NO_PLAN, facts=facts(None)),
    "two-witnesses-differ": Case(Code.HEAD_UNSTABLE, facts=facts(second_witness=OTHER)),
    "second-witness-gone": Case(Code.HEAD_UNSTABLE, facts=facts(second_witness=None)),
    "hold-label": Case(Code.HELD, facts=facts(held=True)),
    "quarantined": Case(Code.QUARANTINED, facts=facts(quarantined=True)),
    "agent-approves": Case(Code.AGENT_APPROVER, by("bot")),
    "agent-among-two": Case(Code.AGENT_APPROVER, (signed(approves("alice", "bot")),)),
    "target-without-a-rule": Case(
        Code.TARGET_UNKNOWN,
        (signed(approves(by=(no_dev := policy(targets={}))), by=no_dev),),
        policy=no_dev,
    ),
    "approver-of-another-target": Case(Code.NOT_APPROVER, by("carol")),
    "who-may-only-revoke": Case(Code.NOT_APPROVER, by("boss")),
    "principal-renamed": Case(
        Code.POLICY_CHANGED, policy=policy(principals={**POLICY.principals, "x": POLICY.principals["bob"]})
    ),
    "published-before": Case(Code.ALREADY_PUBLISHED, standing=Standing(published=frozenset({PLAN.digest()}))),
    "another-plan-was-published": Case(None, standing=Standing(published=frozenset({GREW.digest()}))),
    "the-same-marker-twice": Case(None, (GOOD, GOOD)),
    "the-same-marker-twice-is-one-person": Case(
        Code.NOT_ENOUGH_APPROVERS, (*by("alice", TWO), *by("alice", TWO)), policy=TWO
    ),
    "id-of-another-marker": Case(Code.ID_TAKEN, standing=Standing(taken={"1" * 32: Digest.of(b"other")})),
    "id-of-its-own": Case(None, standing=Standing(taken={"1" * 32: GOOD.statement})),
    "pusher-unknown-and-one-person": Case(Code.NOT_ENOUGH_APPROVERS, facts=facts(last_pusher_id=None)),
    "pusher-unknown-and-two-people": Case(None, (GOOD, BY_BOB), facts(last_pusher_id=None)),
    "author-unknown-and-one-person": Case(Code.NOT_ENOUGH_APPROVERS, facts=facts(author_id=None)),
    "one-of-two-revoked": Case(
        Code.NOT_ENOUGH_APPROVERS,
        (*by("alice", TWO), *by("bob", TWO, id="3" * 32)),
        policy=TWO,
        standing=Standing(revoked=frozenset({"3" * 32})),
    ),
    "one-of-two-expired": Case(
        Code.NOT_ENOUGH_APPROVERS,
        (*by("alice", TWO), *by("bob", TWO, id="3" * 32, not_after=NOW - 60)),
        policy=TWO,
        now=NOW + 1,
    ),
    "author-and-a-good-one-below-two": Case(
        Code.NOT_ENOUGH_APPROVERS, (*by("alice", TWO), *by("author", TWO, id="3" * 32)), policy=TWO
    ),
    "promotion-of-a-closed-pull-request": Case(None, by("alice", plan=PROMOTED), CLOSED, target="staging"),
    "promotion-of-an-open-one-that-moved": Case(
        Code.HEAD_MOVED,
        by("alice", plan=PROMOTED),
        facts(PROMOTED, promotion=True, pull_request=PULL_REQUEST._replace(head=OTHER), second_witness=OTHER),
        target="staging",
    ),
    "promotion-replayed": Case(
        Code.ALREADY_CONSUMED,
        by("alice", plan=PROMOTED),
        CLOSED,
        standing=Standing(consumed=frozenset({"1" * 32})),
        target="staging",
    ),
    "promotion-of-another-plan": Case(
        Code.PLAN_CHANGED,
        by("alice", plan=PROMOTED),
        CLOSED._replace(plan=PROMOTED._replace(edits=EDITS[:1])),
        target="staging",
    ),
    "promotion-by-its-author": Case(
        Code.SELF_APPROVAL,
        by("alice", plan=PROMOTED),
        CLOSED._replace(author_id=1001),
        target="staging",
    ),
    "promotion-by-one-while-the-author-is-forgotten": Case(
        Code.NOT_ENOUGH_APPROVERS, by("alice", plan=PROMOTED), CLOSED._replace(author_id=None), target="staging"
    ),
    "promotion-of-a-quarantined-head": Case(
        Code.QUARANTINED, by("alice", plan=PROMOTED), CLOSED._replace(quarantined=True), target="staging"
    ),
    "closed-and-not-a-promotion": Case(
        Code.PR_CLOSED, by("alice", plan=PROMOTED), CLOSED._replace(promotion=False), target="staging"
    ),
}
BY_PLAIN_FACTS = {case.code for case in ATTACKS.values() if case.code is not None}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_its_code(name: str) -> None:
    code, markers, now_so, rules, standing, now, target = ATTACKS[name]
    found = evaluate(markers, target, now_so, rules, standing, now)
    if code is None:
        assert isinstance(found, Granted), found
        assert found.plan == markers[0].marker.plan  # type: ignore[union-attr]
        assert found.principals == tuple(sorted({p for m in markers for p in m.principals}))
        return
    assert isinstance(found, Refused), found
    (first, *_) = found.markers
    assert first.code is code
    assert (first.marker, first.id) == (markers[0].digest, markers[0].marker.id)
    assert first.text.startswith(MEANING[code].text.removesuffix("."))
    assert first.text.isascii()


def test_what_a_marker_says_is_spelt_out_where_it_could_deceive() -> None:
    found = evaluate(by("alice", base=RefName("refs/heads/m\u0430in")), "dev", facts(), POLICY, Standing(), NOW)
    assert isinstance(found, Refused)
    assert "refs/heads/m\\u0430in" in found.markers[0].text


def test_nothing_offered_is_nothing_granted() -> None:
    assert evaluate((), "dev", facts(), POLICY, Standing(), NOW) == Refused(())


def test_bad_markers_beside_good_ones_are_told_and_change_nothing() -> None:
    bad = by("author", id="5" * 32)[0]
    assert evaluate((bad, GOOD, GOOD), "dev", facts(), POLICY, Standing(), NOW) == Granted(
        ("alice",), (GOOD,), PLAN.digest(), (judged.Refusal(bad.digest, bad.marker.id, Code.SELF_APPROVAL,
                                             f"{MEANING[Code.SELF_APPROVAL].text[:-1]}: author is the author"),),
    )  # fmt: skip


def test_of_two_markers_with_one_id_the_first_has_it() -> None:
    copied = by("bob")[0]
    found = evaluate((GOOD, copied), "dev", facts(), POLICY, Standing(), NOW)
    assert isinstance(found, Granted)
    assert (found.markers, [r.code for r in found.refused]) == ((GOOD,), [Code.ID_TAKEN])
    taken = Standing(taken={"1" * 32: copied.statement})
    found = evaluate((GOOD, copied), "dev", facts(), POLICY, taken, NOW)
    assert isinstance(found, Granted)
    assert found.principals == ("bob",)


def test_too_few_people_is_told_of_each_marker_in_its_place() -> None:
    bad = by("author", TWO, id="5" * 32)[0]
    good = by("alice", TWO)[0]
    found = evaluate((good, bad), "dev", facts(), TWO, Standing(), NOW)
    assert isinstance(found, Refused)
    assert [r.code for r in found.markers] == [Code.NOT_ENOUGH_APPROVERS, Code.SELF_APPROVAL]
    assert "2 are needed, and there are 1" in found.markers[0].text
    alone = evaluate((GOOD,), "dev", facts(last_pusher_id=None), POLICY, Standing(), NOW)
    assert isinstance(alone, Refused)
    assert "2 are needed while the last pusher of the head is unknown" in alone.markers[0].text


def test_one_person_who_approves_without_end_makes_no_publish_without_end_and_silences_nobody() -> None:
    often = [signed(approves("alice", by=TWO, id=f"{n:032x}"), by=TWO) for n in range(judged.MARKERS_MAX + 50)]
    bob = signed(approves("bob", by=TWO, id="f" * 32), by=TWO)
    found = evaluate((*often, bob), "dev", facts(), TWO, Standing(), NOW)
    assert isinstance(found, Granted)
    assert found.principals == ("alice", "bob")
    assert len(found.markers) == judged.MARKERS_MAX
    assert found.markers[:2] == (often[0], bob)


# --- laws


_OFFERED = {
    name: signed(approves(name, by=TWO, id=f"{n:032x}"), by=TWO)
    for n, name in enumerate(("alice", "bob", "dora", "erin", "author", "pusher", "bot"), start=10)
    if name not in {"dora", "erin"}
}
_CHANGES: list[dict[str, Any]] = [
    {},
    {"held": True},
    {"release_set": None},
    {"last_pusher_id": None},
    {"pull_request": None},
    {"second_witness": OTHER},
    {"quarantined": True},
    {"tags": {}},
    {"plan": None},
    {"plan": GREW},
    {"not_admitted": "x"},
    {"author_id": None},
]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(sorted(_OFFERED)), max_size=6),
    st.sampled_from(_CHANGES),
    st.frozensets(st.sampled_from(sorted(_OFFERED)), max_size=2),
    st.integers(-90, 90),
)
def test_what_is_granted_has_two_people_who_may_and_never_less(
    names: list[str], change: dict[str, Any], revoked: frozenset[str], moved: int
) -> None:
    offered = [_OFFERED[name] for name in names]
    standing = Standing(revoked=frozenset(_OFFERED[name].marker.id for name in revoked))
    found = evaluate(offered, "dev", facts(**change), TWO, standing, NOW + moved)
    counted = set(names) & {"alice", "bob"} - revoked
    blocked = change and set(change) != {"last_pusher_id"} and set(change) != {"author_id"}
    may_be_author = {"author"} if "author_id" in change else set()
    may_be_pusher = {"pusher"} if "last_pusher_id" in change else set()
    counted |= set(names) & (may_be_author | may_be_pusher) - revoked
    if isinstance(found, Granted):
        assert not blocked
        assert set(found.principals) == counted
        assert len(counted) >= 2
        assert len({m.marker.id for m in found.markers}) == len(found.markers)
    else:
        assert blocked or len(counted) < 2
        assert {r.marker for r in found.markers} == {m.digest for m in offered}


@settings(deadline=None)
@given(st.permutations(sorted(_OFFERED)))
def test_the_order_in_which_markers_came_does_not_decide(names: list[str]) -> None:
    found = evaluate([_OFFERED[name] for name in names], "dev", facts(), TWO, Standing(), NOW)
    assert isinstance(found, Granted)
    assert found.principals == ("alice", "bob")
    assert {r.marker: r.code for r in found.refused} == {
        _OFFERED["author"].digest: Code.SELF_APPROVAL,
        _OFFERED["bot"].digest: Code.AGENT_APPROVER,
        _OFFERED["pusher"].digest: Code.SELF_APPROVAL,
    }


def test_the_accounts_of_these_tests_are_different_people() -> None:
    assert len({AUTHOR_ID, PUSHER_ID, AGENT_ID, *(p.forge_id for p in POLICY.principals.values())}) == len(
        POLICY.principals
    )
    assert {"author", "pusher", "bot"} <= EVERYBODY
