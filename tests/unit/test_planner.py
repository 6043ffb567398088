"""Laws of the planner, each held over drawn snapshots, and the bugs they are known to catch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import Phase, assume, example, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from reconciler import admission, heads, planner
from reconciler.admission import admit
from reconciler.heads import Examiner, previewed
from reconciler.planner import plan
from state.decision import AwaitBuild, Decision, RetagFrom, Unresolved
from state.git import CommitId, RefName
from state.hold import Reason
from state.observed import (
    Absent,
    BaselinePolicy,
    Catalogue,
    How,
    Inventory,
    Listing,
    Mode,
    Present,
    Recorded,
    Snapshot,
    Unknown,
)
from state.oci import Repository
from state.plan import Adopt, EndHead, Hold, PinDecision, Plan, QuarantineHead, ResolveDecision, Retag
from tests.thorough import examples
from tests.unit.strategies import (
    BASELINES,
    BILLING,
    BUILT,
    CELLS,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    RELEASE,
    TIPS,
    catalogue,
    change_record,
    decision,
    pull_request,
    snapshot,
    snapshots,
)

A, B = HEADS
many = examples(250)
changed_on_release = {
    (TIPS[MAIN], A): change_record(TIPS[MAIN], A, {ORDERS: False, BILLING: False}),
    (TIPS[RELEASE], A): change_record(TIPS[RELEASE], A, {ORDERS: True, BILLING: False}),
}
TWO_BASES = snapshot(pull_request(1, A), pull_request(2, A, base=RELEASE), changes=changed_on_release)
"""The case to fear: two pull requests at one head, and only the second one's base says that an image is changed."""
SECOND_BASE_LATER = replace(
    TWO_BASES, decisions={A: decision(A, dict.fromkeys((BILLING, ORDERS), RetagFrom(BASELINES[0])))}
)
CATALOGUE_GREW = snapshot(
    pull_request(1, A),
    decisions={A: decision(A, {ORDERS: RetagFrom(BASELINES[0])})},
    changes={(TIPS[MAIN], A): change_record(TIPS[MAIN], A, {ORDERS: True, BILLING: False})},
)
"""The base branch moved on: it declares one more image, and other inputs for one that was decided before."""
WHOLE_HEAD = (Reason.CATALOGUE_INVALID, Reason.INVENTORY_UNKNOWN, Reason.CHANGED_PATHS_UNKNOWN)
"""Why an admitted head may be held before its images are known."""


def carried_out(seen: Snapshot, made: Plan) -> Snapshot:
    """The snapshot after every action of the plan succeeded and was recorded."""
    decisions, recorded, quarantined = dict(seen.decisions), dict(seen.recorded), dict(seen.quarantined)
    written = 0
    for action in made.actions:
        match action:
            case PinDecision(pinned):
                assert pinned.head not in decisions
                decisions[pinned.head] = pinned
            case ResolveDecision(head, _, images, changes):
                decisions[head] = decisions[head].resolved(images, changes)
            case Retag(repository, head, baseline, _):
                written += 1
                recorded[repository, head] = Recorded(baseline, How.RETAGGED)
            case QuarantineHead(head, breaches, _):
                quarantined[head] = (*quarantined.get(head, ()), *breaches)
            case Adopt(repository, head, digest, how, _, proven):
                recorded[repository, head] = Recorded(digest, how, proven)
            case EndHead(head, _):
                del decisions[head]
                recorded = {cell: done for cell, done in recorded.items() if cell[1] != head}
    left = seen.writes_left - written
    return replace(seen, decisions=decisions, recorded=recorded, quarantined=quarantined, writes_left=left)


def of_kind(made: Plan, *kinds: type[Any]) -> list[Any]:
    return [a for a in made.actions if isinstance(a, kinds)]


def declared_at(seen: Snapshot, base: RefName) -> Catalogue | None:
    tip = seen.bases.get(base)
    found = seen.catalogues.get(tip) if isinstance(tip, CommitId) else None
    return found if isinstance(found, Catalogue) else None


def any_base_unread(seen: Snapshot, head: admission.Head) -> bool:
    unread = any(declared_at(seen, pr.base) is None for pr in head.pull_requests)
    return unread or isinstance(seen.inventory, Unknown)


def wanted_images(seen: Snapshot, head: admission.Head) -> set[Repository]:
    """The images that any readable base of the head previews, by a reading of its own."""
    found: set[Repository] = set()
    for pr in head.pull_requests:
        declared = declared_at(seen, pr.base)
        if declared is not None and isinstance(seen.inventory, Inventory):
            names = [declared.components.get(c) for c in seen.inventory.previewed]
            found |= {declared.images[n].repository for n in names if n is not None}
    return found


# --- what a plan achieves


@many
@given(snapshots())
@example(TWO_BASES)
@example(SECOND_BASE_LATER)
@example(CATALOGUE_GREW)
def test_a_carried_out_plan_leaves_nothing_to_do(seen: Snapshot) -> None:
    made = plan(seen)
    again = plan(carried_out(seen, made))
    assert again.is_noop, again.actions
    assert {h for h in again.holds if h.repository} <= {h for h in made.holds if h.repository}


@many
@given(snapshots())
@example(replace(TWO_BASES, bases={**TIPS, RELEASE: Unknown("-")}, decisions=SECOND_BASE_LATER.decisions))
def test_every_previewed_image_of_every_admitted_head_is_done_or_acted_on_or_held_with_a_reason(seen: Snapshot) -> None:
    made = plan(seen)
    covered = {(a.repository, a.head) for a in of_kind(made, Retag, Adopt)}
    covered |= {(h.repository, h.head) for h in made.holds if h.repository is not None}
    covered |= {cell for cell, done in seen.recorded.items() if done.settled}
    if seen.mode is Mode.OBSERVE:  # what was found is not recorded, but nothing is missing
        covered |= {cell for cell, state in seen.tags.items() if isinstance(state, Present)}
    held_whole = {(h.head, h.pull_requests) for h in made.holds if h.repository is None and h.reason in WHOLE_HEAD}
    for head in admit(seen).heads:
        pinned = seen.decisions.get(head.commit)
        if (head.commit, head.numbers) in held_whole:
            assert pinned is None
            continue
        wanted = wanted_images(seen, head)
        if pinned is not None and any_base_unread(seen, head):
            wanted |= {r for r, w in pinned.images.items() if w != Unresolved(Reason.NOT_PREVIEWED)}
        assert {(r, head.commit) for r in wanted} <= covered


@many
@given(snapshots())
def test_every_open_pull_request_that_is_not_worked_on_is_held_with_a_reason(seen: Snapshot) -> None:
    admitted = {n for head in admit(seen).heads for n in head.numbers}
    held = {n for h in plan(seen).holds if h.repository is None for n in h.pull_requests}
    assert {pr.number for pr in seen.listing.pull_requests} <= admitted | held


# --- when a tag is written


@many
@given(snapshots())
def test_only_an_absent_tag_is_written(seen: Snapshot) -> None:
    for retag in of_kind(plan(seen), Retag):
        assert isinstance(seen.tags.get((retag.repository, retag.head)), Absent)
        assert (retag.repository, retag.head) not in seen.recorded


@many
@given(snapshots())
@example(TWO_BASES)
@example(SECOND_BASE_LATER)
def test_a_tag_is_written_only_as_the_decision_in_force_says(seen: Snapshot) -> None:
    made = plan(seen)
    after = carried_out(seen, made)
    for retag in of_kind(made, Retag):
        wanted = after.decisions[retag.head].images[retag.repository]
        assert isinstance(wanted, RetagFrom)
        assert wanted.baseline == retag.baseline


@many
@given(snapshots())
@example(TWO_BASES)
@example(SECOND_BASE_LATER)
def test_an_image_that_any_undecided_base_calls_changed_is_never_retagged(seen: Snapshot) -> None:
    bases = {pr.number: pr.base for pr in seen.listing.pull_requests}
    for retag in of_kind(plan(seen), Retag):
        pinned = seen.decisions.get(retag.head)
        for base in {bases[n] for n in retag.pull_requests}:
            if pinned is not None and base in pinned.bases:
                continue  # decided before; a decision stands although its base moves on
            record = seen.changes[seen.bases[base], retag.head]  # type: ignore[index]
            assert not isinstance(record, Unknown)
            assert not any(i.changed for i in record.images if i.repository == retag.repository)


@many
@given(snapshots())
def test_a_head_is_decided_before_anything_is_recorded_or_written_for_it(seen: Snapshot) -> None:
    decided = dict(seen.decisions)
    for action in plan(seen).actions:
        match action:
            case PinDecision(pinned):
                decided[pinned.head] = pinned
            case ResolveDecision(head, _, images, changes):
                decided[head] = decided[head].resolved(images, changes)
            case Retag() | Adopt():
                wanted = decided[action.head].images[action.repository]
                assert isinstance(wanted, RetagFrom | AwaitBuild)
            case EndHead() | QuarantineHead():
                pass


@many
@given(snapshots())
def test_nothing_is_written_or_adopted_anew_for_a_quarantined_head(seen: Snapshot) -> None:
    made = plan(seen)
    stopped = seen.quarantined.keys() | {action.head for action in of_kind(made, QuarantineHead)}
    assert not {action.head for action in of_kind(made, Retag)} & stopped
    assert all((a.repository, a.head) in seen.recorded for a in of_kind(made, Adopt) if a.head in stopped)
    for action in of_kind(made, QuarantineHead):
        for breach in action.breaches:
            assert breach.recorded == seen.recorded[breach.repository, action.head].digest != breach.found


@many
@given(snapshots())
@example(CATALOGUE_GREW)
def test_a_resolution_touches_only_what_was_not_decided(seen: Snapshot) -> None:
    for action in of_kind(plan(seen), ResolveDecision):
        before = seen.decisions[action.head].images
        assert action.images
        for repository, wanted in action.images.items():
            assert repository not in before or isinstance(before[repository], Unresolved)
            assert not isinstance(wanted, Unresolved)


@many
@given(snapshots())
def test_a_baseline_that_was_refused_or_not_verified_now_is_never_decided(seen: Snapshot) -> None:
    for action in of_kind(plan(seen), PinDecision, ResolveDecision):
        head = action.decision.head if isinstance(action, PinDecision) else action.head
        images = action.decision.images if isinstance(action, PinDecision) else action.images
        for repository, wanted in images.items():
            if isinstance(wanted, RetagFrom):
                faithful = seen.policy.baseline is BaselinePolicy.FAITHFUL
                found = seen.faithful[repository, head] if faithful else seen.main[repository]
                assert found.digest == wanted.baseline  # type: ignore[union-attr]
                assert found.verdict.outcome.value != "refused"  # type: ignore[union-attr]


# --- when nothing is done


@many
@given(snapshots())
def test_an_incomplete_listing_changes_nothing_and_holds_every_pull_request(seen: Snapshot) -> None:
    made = plan(replace(seen, listing=seen.listing._replace(complete=False)))
    assert made.is_noop
    assert sorted(h.pull_requests for h in made.holds) == [(pr.number,) for pr in seen.listing.pull_requests]
    assert {h.reason for h in made.holds} == {Reason.LISTING_INCOMPLETE}


@many
@given(snapshots())
def test_a_suspended_repository_is_neither_decided_nor_written(seen: Snapshot) -> None:
    made = plan(replace(seen, suspended=True))
    assert not of_kind(made, PinDecision, ResolveDecision, Retag, Adopt)


@many
@given(snapshots())
def test_observing_decides_and_writes_nothing_and_holds_what_it_would_write(seen: Snapshot) -> None:
    seen = replace(seen, writes_left=100, backing_off=frozenset())
    made, would = (plan(replace(seen, mode=mode)) for mode in (Mode.OBSERVE, Mode.FILL))
    assert not of_kind(made, PinDecision, ResolveDecision, Retag, Adopt)
    held = {(h.repository, h.head) for h in made.holds if h.reason is Reason.OBSERVE_MODE}
    assert held == {(r.repository, r.head) for r in of_kind(would, Retag)}


@many
@given(snapshots(), st.sampled_from(HEADS))
def test_a_fork_that_is_not_admitted_adds_its_own_hold_and_changes_nothing_else(seen: Snapshot, head: CommitId) -> None:
    assume(any(pr.head == head for pr in seen.listing.pull_requests))
    stranger = pull_request(9, head, head_repository_id=FORK, base=RELEASE, labels=("hold",))
    joined = replace(seen, listing=Listing(seen.listing.complete, (*seen.listing.pull_requests, stranger)))
    without, made = plan(seen), plan(joined)
    assert made.actions == without.actions
    assert tuple(h for h in made.holds if h.pull_requests != (9,)) == without.holds
    assert len(made.holds) == len(without.holds) + 1


@many
@given(snapshots())
def test_the_hold_label_on_one_pull_request_holds_every_other_at_its_head(seen: Snapshot) -> None:
    made = plan(seen)
    if not seen.listing.complete or seen.suspended or seen.policy.hold_label is None:
        return
    worked_on = {a.decision.head if isinstance(a, PinDecision) else a.head for a in made.actions}
    own = [pr for pr in seen.listing.pull_requests if admission.refusal(pr, seen) is None]
    for pr in own:
        if seen.policy.hold_label in pr.labels:
            assert pr.head not in worked_on
            alike = {o.number for o in own if o.head == pr.head}
            assert alike <= {n for h in made.holds if h.reason is Reason.HOLD_LABEL for n in h.pull_requests}


# --- limits


@many
@given(snapshots(), st.integers(0, 3))
def test_max_heads_and_the_write_budget_are_never_exceeded(seen: Snapshot, limit: int) -> None:
    seen = replace(seen, tags=dict.fromkeys(CELLS, Absent()))
    assert len(of_kind(plan(replace(seen, writes_left=limit)), Retag)) <= limit
    made = plan(replace(seen, policy=replace(seen.policy, max_heads=limit)))
    heads_worked_on = {a.head for a in of_kind(made, Retag, Adopt, ResolveDecision)}
    assert len(heads_worked_on | {a.decision.head for a in of_kind(made, PinDecision)}) <= limit


@many
@given(snapshots(), st.integers(0, 3), st.integers(0, 3))
def test_a_larger_budget_only_turns_budget_holds_into_writes(seen: Snapshot, small: int, more: int) -> None:
    seen = replace(seen, tags=dict.fromkeys(CELLS, Absent()))
    tight, wide = plan(replace(seen, writes_left=small)), plan(replace(seen, writes_left=small + more))
    assert set(map(repr, tight.actions)) <= set(map(repr, wide.actions))
    spent = [h for h in tight.holds if h.reason is Reason.WRITE_BUDGET_SPENT]
    still = [h for h in wide.holds if h.reason is Reason.WRITE_BUDGET_SPENT]
    gained = {(a.repository, a.head) for a in of_kind(wide, Retag)} - {
        (a.repository, a.head) for a in of_kind(tight, Retag)
    }
    assert {(h.repository, h.head) for h in spent} - {(h.repository, h.head) for h in still} == gained
    assert len(gained) == min(more, len(spent))
    assert [h for h in tight.holds if h not in spent] == [h for h in wide.holds if h not in still]


# --- equal snapshots, equal plans


def shuffled(value: Any, random_: random.Random) -> Any:
    """An equal value whose mappings were filled in another order."""
    match value:
        case Mapping():
            rows = [(key, shuffled(inner, random_)) for key, inner in value.items()]
            random_.shuffle(rows)
            return dict(rows)
        case Catalogue() | Inventory():
            return type(value)(*(shuffled(inner, random_) for inner in value))
        case Decision() | Snapshot():
            return replace(
                value, **{f.name: shuffled(getattr(value, f.name), random_) for f in fields(value) if f.init}
            )
        case _:
            return value


@many
@given(snapshots(), st.randoms(use_true_random=False))
@example(replace(SECOND_BASE_LATER, inventory=Unknown("-")), random.Random(1))
def test_equal_snapshots_give_equal_plans_whatever_the_order_of_their_mappings(
    seen: Snapshot, random_: random.Random
) -> None:
    other = shuffled(seen, random_)
    assert other == seen
    assert plan(other) == plan(seen)
    assert plan(other).digest() == plan(seen).digest()


@many
@given(snapshots())
def test_a_plan_names_each_cell_once(seen: Snapshot) -> None:
    made = plan(seen)
    cells = [(a.repository, a.head) for a in of_kind(made, Retag, Adopt)]
    cells += [(h.repository, h.head) for h in made.holds if h.repository is not None]
    assert len(cells) == len(set(cells))


@many
@given(snapshots())
def test_heads_end_only_when_no_open_pull_request_has_them(seen: Snapshot) -> None:
    ended = [a.head for a in of_kind(plan(seen), EndHead)]
    gone = sorted(seen.decisions.keys() - {pr.head for pr in seen.listing.pull_requests})
    assert ended == (gone if seen.listing.complete else [])


# --- the same laws told by example


def test_an_unchanged_head_is_pinned_and_filled_newest_first() -> None:
    seen = snapshot(pull_request(1, A), pull_request(2, B))
    made = plan(seen)
    assert [type(a).__name__ for a in made.actions] == ["PinDecision", "Retag", "Retag"] * 2
    assert [a.head for a in of_kind(made, Retag)] == [B, B, A, A]
    assert made.holds == ()


def test_a_second_base_that_calls_a_decided_image_changed_is_a_mismatch() -> None:
    made = plan(SECOND_BASE_LATER)
    assert made.holds == (Hold(A, ORDERS, Reason.DECISION_MISMATCH, (1, 2)),)
    assert [a.repository for a in of_kind(made, Retag)] == [BILLING]


def test_a_second_base_that_cannot_be_read_keeps_what_was_decided_from_being_written() -> None:
    for unread in (
        {"bases": {MAIN: TIPS[MAIN]}},
        {"bases": {**TIPS, RELEASE: Unknown("-")}},
        {"catalogues": {TIPS[MAIN]: catalogue(TIPS[MAIN])}},
        {"changes": {key: r for key, r in changed_on_release.items() if key[0] != TIPS[RELEASE]}},
    ):
        made = plan(replace(SECOND_BASE_LATER, **unread))
        assert made.is_noop
        assert {(h.repository, h.reason) for h in made.holds} == {
            (r, Reason.CHANGED_PATHS_UNKNOWN) for r in (ORDERS, BILLING)
        }


def test_a_pinned_head_goes_on_while_the_inventory_cannot_be_read_and_tells_what_waits_for_it() -> None:
    pinned = decision(A, {BILLING: Unresolved(Reason.BASELINE_UNKNOWN), ORDERS: RetagFrom(BASELINES[1])})
    made = plan(snapshot(pull_request(1, A), decisions={A: pinned}, inventory=Unknown("-")))
    assert made.actions == (Retag(ORDERS, A, BASELINES[1], (1,)),)
    assert made.holds == (Hold(A, BILLING, Reason.INVENTORY_UNKNOWN, (1,)),)


def test_a_decision_of_the_same_base_stands_when_that_base_moves_on() -> None:
    made = plan(CATALOGUE_GREW)
    assert [a.images for a in of_kind(made, ResolveDecision)] == [{BILLING: RetagFrom(BASELINES[0])}]
    assert {a.repository for a in of_kind(made, Retag)} == {ORDERS, BILLING}
    assert made.holds == ()


def test_two_branches_at_one_commit_are_compared_once() -> None:
    same = {**TIPS, RELEASE: TIPS[MAIN]}
    seen = snapshot(pull_request(1, A), pull_request(2, A, base=RELEASE), bases=same)
    (pinned,) = [a.decision for a in of_kind(plan(seen), PinDecision)]
    assert len(pinned.changes) == 1
    assert pinned.bases == (MAIN, RELEASE)
    (head,) = admit(seen).heads
    assert [tip for tip, _ in Examiner(seen).changes_needed(head)] == [TIPS[MAIN]]


def test_a_faithful_baseline_is_decided_with_what_main_was() -> None:
    policy = replace(snapshot().policy, baseline=BaselinePolicy.FAITHFUL)
    seen = snapshot(pull_request(1, A), policy=policy)
    found = seen.main[ORDERS]._replace(digest=BASELINES[1])  # type: ignore[union-attr]
    seen = replace(seen, faithful={(ORDERS, A): found, (BILLING, A): Absent()})
    (pinned,) = [a.decision for a in of_kind(plan(seen), PinDecision)]
    assert pinned.images == {
        BILLING: Unresolved(Reason.NO_FAITHFUL_BASELINE),
        ORDERS: RetagFrom(BASELINES[1], main=BASELINES[0]),
    }


# --- planted bugs

LAWS: Mapping[str, Callable[..., None]] = {
    name: law.hypothesis.inner_test  # type: ignore[attr-defined]
    for name, law in list(globals().items())
    if name.startswith("test_") and hasattr(law, "hypothesis")
}


def _first_record_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads._changed
    monkeypatch.setattr(heads, "_changed", lambda records: real(tuple(records)[:1]))


def _unknown_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads.judge
    monkeypatch.setattr(heads, "judge", lambda w, s: real(w, Absent() if isinstance(s, Unknown) else s))


def _unread_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads.judge
    monkeypatch.setattr(heads, "judge", lambda w, s: real(w, Absent() if s is None else s))


def _refused_baselines_count(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads._from_baseline

    def accept(state: Any, when_absent: Reason) -> Any:
        if hasattr(state, "verdict"):
            return RetagFrom(state.digest)
        return real(state, when_absent)

    monkeypatch.setattr(heads, "_from_baseline", accept)


def _budget_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner._Budget, "take", lambda _: True)


def _budget_is_one_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner._Budget.__init__
    monkeypatch.setattr(planner._Budget, "__init__", lambda self, left: real(self, left + 1))


def _incomplete_listings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    real = admission._refused
    whole = Listing(True, ())
    monkeypatch.setattr(admission, "_refused", lambda pr, seen: real(pr, replace(seen, listing=whole)))


def _incomplete_listings_end_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner._ended
    monkeypatch.setattr(planner, "_ended", lambda s: real(replace(s, listing=s.listing._replace(complete=True))))


def _forks_are_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = admission._refused

    def refused(pr: Any, seen: Snapshot) -> Reason | None:
        found = real(pr, seen)
        return None if found is Reason.FORK_NOT_ADMITTED else found

    monkeypatch.setattr(admission, "_refused", refused)


def _suspension_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    real = admission._refused
    monkeypatch.setattr(admission, "_refused", lambda pr, seen: real(pr, replace(seen, suspended=False)))


def _first_label_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner.admit

    def blind(seen: Snapshot) -> admission.Admission:
        newest = {pr.head: pr.number for pr in seen.listing.pull_requests}
        prs = tuple(pr if newest[pr.head] == pr.number else pr._replace(labels=()) for pr in seen.listing.pull_requests)
        return real(replace(seen, listing=seen.listing._replace(pull_requests=prs)))

    monkeypatch.setattr(planner, "admit", blind)


def _max_heads_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner.admit
    monkeypatch.setattr(planner, "admit", lambda s: real(replace(s, policy=replace(s.policy, max_heads=1000))))


def _pins_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads.Examiner.examine
    monkeypatch.setattr(heads.Examiner, "examine", lambda self, head: real(self, head)._replace(pin=None))


def _pins_cover_every_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        heads.Examiner, "_covers", staticmethod(lambda pinned, _, wanted: wanted.images.keys() <= pinned.images.keys())
    )


def _holds_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    real = heads.judge

    def judge(wanted: Any, state: Any) -> heads.Judgement:
        found = real(wanted, state)
        return Recorded(BUILT, How.BUILT) if isinstance(found, heads.Held) else found

    monkeypatch.setattr(heads, "judge", judge)


def _observing_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner._plan_head

    def plan_head(seen: Snapshot, *rest: Any) -> None:
        real(replace(seen, mode=Mode.FILL), *rest)

    monkeypatch.setattr(planner, "_plan_head", plan_head)


def _records_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner.Examiner
    monkeypatch.setattr(planner, "Examiner", lambda seen, resting: real(replace(seen, recorded={}), resting))


def _decisions_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planner.Examiner
    monkeypatch.setattr(planner, "Examiner", lambda seen, resting: real(replace(seen, decisions={}), resting))


def _images_come_in_order_of_the_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    def unordered(declared: Catalogue, wanted: Inventory) -> heads.Previewed:
        found = previewed(declared, wanted)
        order = [i.repository for i in declared.images.values() if i.repository in found.images]
        return found._replace(images={r: found.images[r] for r in order})

    monkeypatch.setattr(heads, "previewed", unordered)


PLANTED: Mapping[Callable[[pytest.MonkeyPatch], None], str] = {
    _first_record_decides: "test_an_image_that_any_undecided_base_calls_changed_is_never_retagged",
    _unknown_is_absent: "test_only_an_absent_tag_is_written",
    _unread_is_absent: "test_only_an_absent_tag_is_written",
    _refused_baselines_count: "test_a_baseline_that_was_refused_or_not_verified_now_is_never_decided",
    _budget_never_ends: "test_max_heads_and_the_write_budget_are_never_exceeded",
    _budget_is_one_larger: "test_max_heads_and_the_write_budget_are_never_exceeded",
    _incomplete_listings_count: "test_an_incomplete_listing_changes_nothing_and_holds_every_pull_request",
    _incomplete_listings_end_heads: "test_heads_end_only_when_no_open_pull_request_has_them",
    _forks_are_admitted: "test_a_fork_that_is_not_admitted_adds_its_own_hold_and_changes_nothing_else",
    _suspension_is_ignored: "test_a_suspended_repository_is_neither_decided_nor_written",
    _first_label_decides: "test_the_hold_label_on_one_pull_request_holds_every_other_at_its_head",
    _max_heads_is_ignored: "test_max_heads_and_the_write_budget_are_never_exceeded",
    _pins_are_forgotten: "test_a_head_is_decided_before_anything_is_recorded_or_written_for_it",
    _pins_cover_every_base: "test_an_image_that_any_undecided_base_calls_changed_is_never_retagged",
    _holds_are_lost: "test_every_previewed_image_of_every_admitted_head_is_done_or_acted_on_or_held_with_a_reason",
    _observing_writes: "test_observing_decides_and_writes_nothing_and_holds_what_it_would_write",
    _records_are_ignored: "test_only_an_absent_tag_is_written",
    _decisions_are_ignored: "test_a_carried_out_plan_leaves_nothing_to_do",
    _images_come_in_order_of_the_mapping: (
        "test_equal_snapshots_give_equal_plans_whatever_the_order_of_their_mappings"
    ),
}
_ARGUMENTS: Mapping[str, tuple[st.SearchStrategy[Any], ...]] = {
    "test_a_fork_that_is_not_admitted_adds_its_own_hold_and_changes_nothing_else": (st.sampled_from(HEADS),),
    "test_max_heads_and_the_write_budget_are_never_exceeded": (st.integers(0, 3),),
    "test_equal_snapshots_give_equal_plans_whatever_the_order_of_their_mappings": (st.randoms(use_true_random=False),),
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_caught_by_drawn_snapshots_alone(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = PLANTED[plant]
    plant(monkeypatch)

    def broken(drawn: tuple[Any, ...]) -> bool:
        try:
            LAWS[name](*drawn)
        except (AssertionError, KeyError):
            return True
        return False

    drawn = st.tuples(snapshots(), *_ARGUMENTS.get(name, ()))
    try:
        find(
            drawn,
            broken,
            settings=settings(max_examples=2000, phases=[Phase.generate], derandomize=True, database=None),
        )
    except NoSuchExample:
        pytest.fail(f"{name} does not see the planted bug in 2000 snapshots")
