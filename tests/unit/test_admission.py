"""Which pull requests count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given

from reconciler.admission import REFUSALS, Head, Tier, admit, tier_of
from state.git import CommitId, RefName
from state.hold import Reason
from state.observed import Listing, PullRequest, Snapshot
from state.plan import Hold
from tests.thorough import examples
from tests.unit.strategies import FORK, HEADS, HERE, MAIN, RELEASE, pull_request, snapshot, snapshots

A, B = HEADS
OURS = pull_request(1, A)


@examples(300)
@given(snapshots())
def test_every_open_pull_request_is_admitted_or_held_exactly_once(seen: Snapshot) -> None:
    made = admit(seen)
    numbers = [n for head in made.heads for n in head.numbers] + [n for h in made.holds for n in h.pull_requests]
    assert sorted(numbers) == sorted(pr.number for pr in seen.listing.pull_requests)


@examples(300)
@given(snapshots())
def test_heads_come_newest_pull_request_first_and_each_once(seen: Snapshot) -> None:
    made = admit(seen).heads
    newest = [max(head.numbers) for head in made]
    assert newest == sorted(newest, reverse=True)
    assert len({head.commit for head in made}) == len(made)
    assert all(list(head.numbers) == sorted(head.numbers) for head in made)


MEMBER, AGENT, STRANGER = 7, 8, 9
GATED = {"members": (MEMBER,), "agents": (AGENT,), "drafts": False, "labels": ("preview", "preview-images")}
READY = OURS._replace(author_id=MEMBER, labels=("preview", "preview-images", "other"))
OTHER_BASE = RefName.branch("other")
FORKED = READY._replace(head_repository_id=FORK, author_id=STRANGER)


class Case(NamedTuple):
    """A pull request, the rules besides the plain ones, the `admit` markers, and why it is held (None: it counts)."""

    pr: PullRequest
    reason: Reason | None
    rules: Mapping[str, Any] = {}
    admitted: frozenset[tuple[int, int, CommitId]] = frozenset()


CASES = {
    # without a gate
    "a plain one counts": Case(OURS, None),
    "a draft counts": Case(OURS._replace(draft=True), None),
    "the hold label counts only as it is written": Case(OURS._replace(labels=("HOLD", "hold ")), None),
    "an author nobody listed counts": Case(OURS._replace(author_id=STRANGER), None),
    "a fork does not": Case(OURS._replace(head_repository_id=FORK), Reason.FORK_NOT_ADMITTED),
    "a fork that is gone does not": Case(OURS._replace(head_repository_id=None), Reason.FORK_NOT_ADMITTED),
    "another base does not": Case(OURS._replace(base=OTHER_BASE), Reason.BASE_NOT_PREVIEWED),
    "a tag is no base": Case(OURS._replace(base=RefName("refs/tags/main")), Reason.BASE_NOT_PREVIEWED),
    "the hold label holds": Case(OURS._replace(labels=("x", "hold")), Reason.HOLD_LABEL),
    # labels
    "all labels are there": Case(READY, None, GATED),
    "no label is there": Case(READY._replace(labels=()), Reason.LABEL_MISSING, GATED),
    "one label is missing": Case(READY._replace(labels=("preview",)), Reason.LABEL_MISSING, GATED),
    "a label in capitals is another label": Case(
        READY._replace(labels=("Preview", "preview-images")), Reason.LABEL_MISSING, GATED
    ),
    "the hold label holds beside the others": Case(
        READY._replace(labels=(*READY.labels, "hold")), Reason.HOLD_LABEL, GATED
    ),
    # drafts
    "a draft is held where drafts are": Case(READY._replace(draft=True), Reason.DRAFT, GATED),
    # authors
    "an agent's counts": Case(READY._replace(author_id=AGENT), None, GATED),
    "a stranger's with a branch here does not": Case(READY._replace(author_id=STRANGER), Reason.AUTHOR_OUTSIDE, GATED),
    "where nobody is a member everybody is outside": Case(OURS, Reason.AUTHOR_OUTSIDE, {"members": ()}),
    "agents alone leave the others members": Case(OURS, None, {"agents": (AGENT,)}),
    "a member's fork is a fork": Case(FORKED._replace(author_id=MEMBER), Reason.FORK_NOT_ADMITTED, GATED),
    # admit markers
    "a stranger's fork is admitted at exactly this head": Case(FORKED, None, GATED, frozenset({(FORK, 1, A)})),
    "and not at another": Case(FORKED, Reason.FORK_NOT_ADMITTED, GATED, frozenset({(FORK, 1, B)})),
    "and not by another number": Case(FORKED, Reason.FORK_NOT_ADMITTED, GATED, frozenset({(FORK, 2, A)})),
    "and not from another fork": Case(FORKED, Reason.FORK_NOT_ADMITTED, GATED, frozenset({(FORK + 1, 1, A)})),
    "nor for the repository itself": Case(FORKED, Reason.FORK_NOT_ADMITTED, GATED, frozenset({(HERE, 1, A)})),
    "a stranger's branch is admitted at exactly this head": Case(
        READY._replace(author_id=STRANGER), None, GATED, frozenset({(HERE, 1, A)})
    ),
    "and that not at another": Case(
        READY._replace(author_id=STRANGER), Reason.AUTHOR_OUTSIDE, GATED, frozenset({(HERE, 1, B)})
    ),
    "a marker does not stand for a label": Case(
        FORKED._replace(labels=()), Reason.LABEL_MISSING, GATED, frozenset({(FORK, 1, A)})
    ),
    "a marker does not lift the hold label": Case(
        FORKED._replace(labels=("hold", *FORKED.labels)), Reason.HOLD_LABEL, GATED, frozenset({(FORK, 1, A)})
    ),
    # the first reason of many
    "first where it comes from": Case(
        OURS._replace(head_repository_id=FORK, author_id=STRANGER, base=OTHER_BASE, draft=True),
        Reason.FORK_NOT_ADMITTED,
        GATED,
    ),
    "then who wrote it": Case(
        OURS._replace(author_id=STRANGER, base=OTHER_BASE, draft=True), Reason.AUTHOR_OUTSIDE, GATED
    ),
    "then where it goes": Case(OURS._replace(base=OTHER_BASE, draft=True), Reason.BASE_NOT_PREVIEWED, GATED),
    "then that it is a draft": Case(OURS._replace(draft=True, labels=("hold",)), Reason.DRAFT, GATED),
    "then its labels": Case(OURS._replace(labels=("hold",)), Reason.LABEL_MISSING, GATED),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_pull_request_counts_or_is_held_with_the_first_reason(case: Case) -> None:
    seen = snapshot(case.pr, admitted_forks=case.admitted)
    made = admit(replace(seen, policy=replace(seen.policy, **case.rules)))
    if case.reason is None:
        assert made == ((Head(A, (case.pr,)),), ())
    else:
        assert made == ((), (Hold(A, None, case.reason, (1,)),))


def test_the_table_has_a_case_of_every_refusal() -> None:
    assert {case.reason for case in CASES.values()} >= REFUSALS


@pytest.mark.parametrize(
    ("author", "members", "origin", "tier"),
    [
        (MEMBER, (MEMBER,), HERE, Tier.MEMBER),
        (MEMBER, (MEMBER,), FORK, Tier.MEMBER),
        (AGENT, (MEMBER,), HERE, Tier.AGENT),
        (AGENT, None, FORK, Tier.AGENT),
        (STRANGER, (MEMBER,), HERE, Tier.OUTSIDE),
        (STRANGER, None, HERE, Tier.MEMBER),
        (STRANGER, None, FORK, Tier.OUTSIDE),
        (STRANGER, None, None, Tier.OUTSIDE),
    ],
)
def test_a_tier_goes_by_the_numeric_id_and_without_members_by_the_branch(
    author: int, members: tuple[int, ...] | None, origin: int | None, tier: Tier
) -> None:
    policy = replace(snapshot().policy, members=members, agents=(AGENT,))
    assert tier_of(OURS._replace(author_id=author, head_repository_id=origin), policy, HERE) is tier


def test_a_draft_at_the_head_of_another_pull_request_does_not_hold_it() -> None:
    seen = snapshot(OURS, pull_request(2, A, draft=True))
    made = admit(replace(seen, policy=replace(seen.policy, drafts=False)))
    assert made == ((Head(A, (OURS,)),), (Hold(A, None, Reason.DRAFT, (2,)),))


def test_without_a_hold_label_in_the_policy_no_label_holds() -> None:
    seen = snapshot(OURS._replace(labels=("hold",)))
    assert admit(replace(seen, policy=replace(seen.policy, hold_label=None))).holds == ()


def test_pull_requests_at_one_head_are_one_piece_of_work() -> None:
    first, second = OURS, pull_request(3, A, base=RELEASE)
    made = admit(snapshot(first, pull_request(2, B), second))
    assert [(head.commit, head.numbers) for head in made.heads] == [(A, (1, 3)), (B, (2,))]


def test_a_stranger_can_neither_hold_nor_start_a_head() -> None:
    stranger = pull_request(9, A, head_repository_id=FORK, labels=("hold",))
    made = admit(snapshot(OURS, stranger))
    assert made.heads == (Head(A, (OURS,)),)
    assert made.holds == (Hold(A, None, Reason.FORK_NOT_ADMITTED, (9,)),)


def test_the_newest_heads_are_worked_on_where_there_are_too_many() -> None:
    seen = snapshot(OURS, pull_request(2, B), pull_request(3, A))
    made = admit(replace(seen, policy=replace(seen.policy, max_heads=1)))
    assert [head.commit for head in made.heads] == [A]
    assert made.holds == (Hold(B, None, Reason.OVER_MAX_HEADS, (2,)),)


def test_held_heads_do_not_count_against_the_limit() -> None:
    seen = snapshot(OURS, pull_request(2, B, labels=("hold",)))
    made = admit(replace(seen, policy=replace(seen.policy, max_heads=1)))
    assert [head.commit for head in made.heads] == [A]


def test_what_is_known_of_the_whole_repository_comes_before_what_is_known_of_one_pull_request() -> None:
    fork = OURS._replace(head_repository_id=FORK, base=MAIN)
    assert admit(snapshot(fork, suspended=True)).holds[0].reason is Reason.SUSPENDED
    seen = snapshot(listing=Listing(False, (fork,)), suspended=True)
    assert admit(seen).holds[0].reason is Reason.LISTING_INCOMPLETE
