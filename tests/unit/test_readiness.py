"""What previews are told, over a timeline of pushes, builds, closes, lost listings and restarts."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.clock import SystemClock
from reconciler.events import Emitter
from reconciler.matrix import Cell, Matrix, State
from reconciler.previews import Previews
from reconciler.readiness import SHARE_MAX, Readiness, Seen, label_changes, seen_in
from state.git import CommitId, RefName
from state.hold import Reason
from state.observed import Listing, Mode, PullRequest
from state.oci import Digest, Repository

A, B, C = (CommitId(digit * 40) for digit in "abc")
IMAGE, OTHER = Repository("registry.example.org/shop/a"), Repository("registry.example.org/shop/b")
SET = Digest("sha256:" + "1" * 64)


def cell(
    pr: int, head: CommitId, state: State = State.RETAGGED, reason: str = "", release: Digest | None = None
) -> Cell:
    return Cell(pr, head, "a", IMAGE, state, None, reason, proven=True, release=release)


class Timeline:
    """One reconciler's memory, a second between two passes."""

    def __init__(self, log: Mapping[int, CommitId] | None = None) -> None:
        self.log = dict(log or {})
        self.readiness = Readiness()
        self.at_s = 0.0

    def sees(
        self, complete: dict[int, CommitId] | None = None, filling: set[int] | None = None
    ) -> Mapping[int, CommitId] | str:
        """A pass with a complete listing; what is answered after it."""
        self.at_s += 1
        self.log |= complete or {}
        self.readiness = self.readiness.after(Seen(complete or {}, frozenset(filling or ())), self.log, self.at_s)
        return self.answers()

    def loses(self, seconds: float = 1) -> Mapping[int, CommitId] | str:
        """Time in which no listing was complete."""
        self.at_s += seconds
        return self.answers()

    def restarts(self) -> Mapping[int, CommitId] | str:
        self.readiness = Readiness()
        return self.answers()

    def answers(self) -> Mapping[int, CommitId] | str:
        unsure = self.readiness.unsure(self.at_s, max_age_s=300)
        return self.readiness.served if unsure is None else unsure


def test_the_old_head_is_served_while_the_new_one_is_filled() -> None:
    line = Timeline()
    assert line.sees({1: A}) == {1: A}
    assert line.sees(filling={1}) == {1: A}
    assert line.sees({1: B}) == {1: B}
    assert line.sees({1: A}) == {1: A}  # pushed back by force


def test_a_pull_request_without_a_complete_head_is_not_served_yet() -> None:
    line = Timeline()
    assert line.sees({1: A}, {2}) == {1: A}
    assert line.sees({1: A, 2: B}) == {1: A, 2: B}


def test_a_restart_serves_what_the_log_remembers_and_nothing_before_a_listing() -> None:
    line = Timeline()
    line.sees({1: A})
    assert line.restarts() == "no complete listing yet"
    assert line.sees(filling={1}) == {1: A}


def test_lost_listings_change_nothing_until_they_last_too_long() -> None:
    line = Timeline()
    line.sees({1: A})
    assert line.loses(299) == {1: A}
    assert line.loses(1) == {1: A}
    assert line.loses(1) == "the last complete listing is 301 s old"
    assert line.sees({1: A}) == {1: A}


def test_one_of_many_leaves_at_once_when_it_is_closed() -> None:
    line = Timeline()
    line.sees({1: A, 2: B, 3: C})
    assert line.sees({1: A, 2: B}) == {1: A, 2: B}


def test_most_of_them_leave_only_after_a_second_listing_that_says_the_same() -> None:
    line = Timeline()
    line.sees({1: A, 2: B, 3: C})
    assert line.sees({1: A}) == "3 previews would become 1: waiting for a second listing"
    assert line.sees({2: B}) == "3 previews would become 1: waiting for a second listing"
    assert line.sees({2: B}) == {2: B}


def test_a_listing_that_lost_most_is_forgotten_when_they_are_back() -> None:
    line = Timeline()
    line.sees({1: A, 2: B, 3: C})
    line.sees({1: A})
    assert line.sees({1: A, 2: B, 3: B}) == {1: A, 2: B, 3: B}
    assert line.sees({1: A}) == "3 previews would become 1: waiting for a second listing"


def test_half_of_them_may_leave_at_once() -> None:
    line = Timeline()
    line.sees({1: A, 2: B})
    assert SHARE_MAX == 0.5
    assert line.sees({1: A}) == {1: A}


def test_an_empty_answer_needs_two_listings_even_right_after_a_start() -> None:
    line = Timeline()
    assert line.sees() == "0 previews would become 0: waiting for a second listing"
    assert line.sees() == {}
    assert line.sees({1: A}) == {1: A}
    assert line.sees() == "1 previews would become 0: waiting for a second listing"
    assert line.sees() == {}


def test_the_matrix_says_which_heads_are_complete_and_which_are_filled() -> None:
    rows = [
        cell(1, A),
        cell(2, B),
        Cell(2, B, "b", OTHER, State.WAITING, None, Reason.AWAITS_BUILD.value, proven=False),
        cell(3, C, State.HELD, Reason.HOLD_LABEL.value),
        cell(4, C, State.HELD, Reason.DRAFT.value),
        cell(5, C, State.HELD, Reason.QUARANTINED.value),
        cell(6, C, State.NOT_PREVIEWED, Reason.NOT_PREVIEWED.value),
        cell(7, C, State.HELD, Reason.BACKING_OFF.value),
    ]
    assert seen_in(Matrix.of(rows), released=False) == Seen({1: A}, frozenset({2, 3, 7}))


def test_where_release_sets_are_published_a_head_counts_with_its_own() -> None:
    assert seen_in(Matrix.of([cell(1, A)]), released=True) == Seen({}, frozenset({1}))
    assert seen_in(Matrix.of([cell(1, A, release=SET)]), released=True) == Seen({1: A}, frozenset())


def test_what_was_served_stays_also_where_the_log_does_not_name_the_pull_request() -> None:
    """A second pull request opened at a head that was decided before it is in no decision."""
    line = Timeline()
    line.sees({1: A})
    line.log.clear()
    assert line.sees(filling={1}) == {1: A}


def pull_request(number: int, *labels: str) -> PullRequest:
    return PullRequest(number, A, RefName("refs/heads/main"), 1, 1, labels, draft=False)


def test_the_label_is_set_when_complete_and_taken_only_from_what_leaves() -> None:
    listing = Listing(
        True,
        (
            pull_request(1),
            pull_request(2, "images"),
            pull_request(3, "images"),
            pull_request(4, "images"),
            pull_request(5),
            pull_request(6, "images", "other"),
        ),
    )
    seen = Seen({1: A, 2: A}, frozenset({3, 4, 5}))
    served = {1: A, 2: A, 3: B, 5: B}
    assert label_changes(listing, seen, served, "images") == ((1, True), (5, True), (6, False))


def test_an_incomplete_listing_is_not_taken_up() -> None:
    previews = Previews(SystemClock(), released=False, max_age_s=300)
    emit = Emitter(lambda _: None, SystemClock())
    previews.observe(Listing(False, (pull_request(1),)), Matrix.of([cell(1, A)]), {}, Mode.FILL, emit)
    assert previews.answer() == "no complete listing yet"
    previews.observe(Listing(True, (pull_request(1),)), Matrix.of([cell(1, A)]), {}, Mode.FILL, emit)
    assert previews.answer() == {1: A}
    previews.observe(Listing(False, ()), Matrix(), {}, Mode.FILL, emit)
    assert previews.answer() == {1: A}


HEADS = st.sampled_from([A, B, C])
PASSES = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.dictionaries(st.integers(1, 4), HEADS), st.frozensets(st.integers(1, 4))),
    ),
    max_size=12,
)


@given(PASSES)
def test_nothing_incomplete_is_served_and_nobody_leaves_unseen(
    passes: list[tuple[dict[int, CommitId], frozenset[int]] | None],
) -> None:
    line = Timeline()
    were_complete: set[tuple[int, CommitId]] = set()
    before: Mapping[int, CommitId] = {}
    emptied = 0
    for one in passes:
        if one is None:
            answer = line.loses()
            assert isinstance(answer, str) or answer == before
            continue
        complete, filling = one[0], set(one[1] - one[0].keys())
        were_complete |= set(complete.items())
        emptied = 0 if complete or filling & before.keys() else emptied + 1
        answer = line.sees(complete, filling)
        if isinstance(answer, str):
            continue
        assert set(answer.items()) <= were_complete
        assert answer.keys() <= complete.keys() | filling
        assert before.keys() & (complete.keys() | filling) <= answer.keys()
        assert answer or emptied > 1
        before = answer
