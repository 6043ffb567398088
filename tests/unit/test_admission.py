"""Which pull requests count."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from reconciler.admission import Head, admit
from state.git import RefName
from state.hold import Reason
from state.observed import Listing, PullRequest, Snapshot
from state.plan import Hold
from tests.unit.strategies import FORK, HEADS, HERE, MAIN, RELEASE, pull_request, snapshot, snapshots

A, B = HEADS
OURS = pull_request(1, A)


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_every_open_pull_request_is_admitted_or_held_exactly_once(seen: Snapshot) -> None:
    made = admit(seen)
    numbers = [n for head in made.heads for n in head.numbers] + [n for h in made.holds for n in h.pull_requests]
    assert sorted(numbers) == sorted(pr.number for pr in seen.listing.pull_requests)


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_heads_come_newest_pull_request_first_and_each_once(seen: Snapshot) -> None:
    made = admit(seen).heads
    newest = [max(head.numbers) for head in made]
    assert newest == sorted(newest, reverse=True)
    assert len({head.commit for head in made}) == len(made)
    assert all(list(head.numbers) == sorted(head.numbers) for head in made)


@pytest.mark.parametrize(
    ("pr", "reason"),
    [
        (OURS._replace(head_repository_id=FORK), Reason.FORK_NOT_ADMITTED),
        (OURS._replace(head_repository_id=None), Reason.FORK_NOT_ADMITTED),
        (OURS._replace(base=RefName.branch("other")), Reason.BASE_NOT_PREVIEWED),
        (OURS._replace(base=RefName("refs/tags/main")), Reason.BASE_NOT_PREVIEWED),
        (OURS._replace(labels=("x", "hold")), Reason.HOLD_LABEL),
    ],
)
def test_a_pull_request_that_does_not_count_is_held_with_the_reason(pr: PullRequest, reason: Reason) -> None:
    assert admit(snapshot(pr)) == ((), (Hold(A, None, reason, (1,)),))


@pytest.mark.parametrize(
    "pr", [OURS, OURS._replace(draft=True), OURS._replace(labels=("HOLD", "hold "))], ids=["plain", "draft", "labels"]
)
def test_a_pull_request_of_the_repository_itself_counts(pr: PullRequest) -> None:
    assert admit(snapshot(pr)) == ((Head(A, (pr,)),), ())


def test_without_a_hold_label_in_the_policy_no_label_holds() -> None:
    seen = snapshot(OURS._replace(labels=("hold",)))
    assert admit(replace(seen, policy=replace(seen.policy, hold_label=None))).holds == ()


@pytest.mark.parametrize(
    ("admitted", "counts"),
    [
        ((FORK, 1, A), True),
        ((FORK, 1, B), False),
        ((FORK, 2, A), False),
        ((FORK + 1, 1, A), False),
        ((HERE, 1, A), False),
    ],
)
def test_a_fork_is_admitted_by_repository_number_and_head_together(
    admitted: tuple[int, int, object], counts: bool
) -> None:
    seen = snapshot(OURS._replace(head_repository_id=FORK), admitted_forks=frozenset({admitted}))
    assert bool(admit(seen).heads) is counts


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
