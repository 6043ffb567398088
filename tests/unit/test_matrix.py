"""The matrix shows every cell of the plan, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import example, given

from reconciler.admission import REFUSALS, admit
from reconciler.heads import Examiner
from reconciler.matrix import Matrix, State, matrix
from reconciler.planner import plan
from state.decision import RetagFrom, Unresolved
from state.hold import Reason
from state.observed import Absent, BaselinePolicy, Catalogue, How, Inventory, Mode, Recorded, Snapshot, Unknown
from state.plan import Adopt, Plan, Release, Retag
from state.quarantine import Breach
from state.verdict import Outcome, Verdict
from tests.thorough import examples
from tests.unit.strategies import (
    BASELINES,
    BILLING,
    COMPONENTS,
    FORK,
    HEADS,
    MAIN,
    ORDERS,
    RELEASE,
    REPOSITORIES,
    TIPS,
    change_record,
    decision,
    inventory,
    pull_request,
    snapshot,
    snapshots,
)

A, B = HEADS
many = examples(200)
ONE_BASE_UNREAD = snapshot(
    pull_request(1, A),
    pull_request(2, A, base=RELEASE),
    bases={**TIPS, RELEASE: Unknown("-")},
    decisions={A: decision(A, {ORDERS: RetagFrom(BASELINES[0])})},
)


@many
@given(snapshots())
@example(ONE_BASE_UNREAD)
def test_every_open_pull_request_has_one_row_of_its_own_or_one_per_previewed_component(seen: Snapshot) -> None:
    cells = matrix(seen).cells
    assert max(Counter((c.pr, c.component, c.image) for c in cells).values(), default=1) == 1
    examiner = Examiner(seen)
    admitted = {n for head in admit(seen).heads if examiner.examine(head).held is None for n in head.numbers}
    for pr in seen.listing.pull_requests:
        rows = [c for c in cells if c.pr == pr.number]
        assert {c.head for c in rows} <= {pr.head}
        if pr.number not in admitted:
            assert [(c.component, c.image, c.state) for c in rows] == [(None, None, State.HELD)]
            continue
        tip = seen.bases[pr.base]
        declared = None if isinstance(tip, Unknown) else seen.catalogues[tip]
        if isinstance(declared, Catalogue) and isinstance(seen.inventory, Inventory) and seen.inventory.previewed:
            assert sorted(c.component or "" for c in rows) == sorted(seen.inventory.previewed)
            known = {c: declared.images[i].repository for c, i in declared.components.items()}
            assert all(c.image == known.get(c.component or "") for c in rows)


@many
@given(snapshots())
@example(ONE_BASE_UNREAD)
def test_the_state_of_every_cell_agrees_with_the_plan(seen: Snapshot) -> None:
    made = plan(seen)
    writes = {(a.repository, a.head) for a in made.actions if isinstance(a, Retag)}
    adopts = {(a.repository, a.head): a for a in made.actions if isinstance(a, Adopt)}
    holds = {(h.repository, h.head): h.reason for h in made.holds if h.repository is not None}
    for cell in matrix(seen).cells:
        if cell.state is State.NOT_PREVIEWED:
            assert (cell.component, cell.image) == (None, None)
            continue
        if cell.image is None:
            reasons = {h.reason.value for h in made.holds if h.head == cell.head and cell.pr in h.pull_requests}
            assert cell.state is State.HELD
            assert cell.reason in reasons
            continue
        key = (cell.image, cell.head)
        held = holds.get(key)
        match cell.state:
            case State.PLANNED:
                assert (key in writes) == (held is None)
                assert held in {None, Reason.OBSERVE_MODE}
            case State.RETAGGED | State.BUILT:
                assert held is None
                done = adopts.get(key) or seen.recorded.get(key)
                if done is None:
                    assert seen.mode is Mode.OBSERVE
                else:
                    assert (cell.digest, cell.proven) == (done.digest, done.proven)
                    assert (cell.state is State.RETAGGED) == (done.how is How.RETAGGED)
            case State.WAITING:
                assert held in {Reason.AWAITS_BUILD, Reason.TAG_UNKNOWN}
                assert cell.reason == held.value
            case State.HELD:
                assert held is not None
                assert cell.reason == held.value


@many
@given(snapshots())
def test_every_write_adoption_and_hold_of_the_plan_is_in_the_matrix(seen: Snapshot) -> None:
    shown = {(c.image, c.head): c.reason for c in matrix(seen).cells}
    reasons = {(c.image, c.head, c.reason) for c in matrix(seen).cells}
    made = plan(seen)
    assert {(a.repository, a.head) for a in made.actions if isinstance(a, Retag | Adopt)} <= shown.keys() | unshown(
        seen
    )
    assert {
        (h.repository, h.head, h.reason.value) for h in made.holds if (h.repository, h.head) not in unshown(seen)
    } <= reasons


def unshown(seen: Snapshot) -> set[tuple[object, object]]:
    """Images of a decided head that no base of it declares any more: no component is left to show them under."""
    readable = [c for c in seen.catalogues.values() if isinstance(c, Catalogue)]
    if len(readable) == 0 or isinstance(seen.inventory, Unknown):
        return set()
    return {(r, h) for h, d in seen.decisions.items() for r in d.images}


@many
@given(snapshots())
def test_heads_of_gives_each_head_once_with_the_rows_of_one_pull_request(seen: Snapshot) -> None:
    cells = matrix(seen).cells
    given_heads = [(h.head, h.told.cells) for h in Matrix.of(cells).heads]
    assert sorted(h for h, _ in given_heads) == sorted({c.head for c in cells})
    for head, rows in given_heads:
        (told,) = {c.pr for c in rows}
        ours = {c.pr for c in cells if c.head == head and c.reason not in REFUSALS}
        assert told in ours or not ours
        assert rows == tuple(c for c in cells if c.pr == told)


# --- by example


def states(seen: Snapshot) -> dict[str | None, str]:
    return {c.component: f"{c.state.value} {c.reason}" for c in matrix(seen).cells}


def test_components_that_share_an_image_have_a_row_each() -> None:
    cells = matrix(snapshot(pull_request(1, A))).cells
    assert [(c.component, c.image) for c in cells] == [
        ("billing", BILLING),
        ("orders", ORDERS),
        ("orders-worker", ORDERS),
    ]
    assert {c.state for c in cells} == {State.PLANNED}
    assert {c.digest for c in cells} == {BASELINES[0]}


def test_a_build_is_waited_for_also_while_its_tag_cannot_be_read() -> None:
    changes = {(TIPS[MAIN], A): change_record(TIPS[MAIN], A, {ORDERS: True, BILLING: False})}
    tags = {(ORDERS, A): Unknown("-"), (BILLING, A): Unknown("-")}
    seen = snapshot(pull_request(1, A), changes=changes, tags=tags)
    assert states(seen) == {
        "billing": "held tag-unknown",
        "orders": "waiting tag-unknown",
        "orders-worker": "waiting tag-unknown",
    }


def test_a_component_that_the_catalogue_does_not_know_is_shown() -> None:
    seen = snapshot(pull_request(1, A), inventory=inventory([*COMPONENTS, "zebra"]))
    assert states(seen)["zebra"] == "held component-unknown"


def test_a_decided_head_shows_its_images_while_the_inventory_cannot_be_read() -> None:
    pinned = decision(A, {BILLING: Unresolved(Reason.BASELINE_UNKNOWN), ORDERS: RetagFrom(BASELINES[0])})
    recorded = {(ORDERS, A): Recorded(BASELINES[0], How.RETAGGED, proven=True)}
    seen = snapshot(pull_request(1, A), decisions={A: pinned}, recorded=recorded, inventory=Unknown("-"))
    assert states(seen) == {
        "acme/billing": "held inventory-unknown",
        "acme/orders": "retagged inputs-unchanged",
    }


def test_a_base_that_previews_nothing_shows_nothing_of_another_base() -> None:
    bare = Catalogue(TIPS[RELEASE], {}, {})
    changes = {
        (TIPS[MAIN], A): change_record(TIPS[MAIN], A, dict.fromkeys(REPOSITORIES, False)),
        (TIPS[RELEASE], A): change_record(TIPS[RELEASE], A, {}),
    }
    seen = snapshot(pull_request(1, A), pull_request(2, A, base=RELEASE), changes=changes)
    cells = matrix(replace(seen, catalogues={**seen.catalogues, TIPS[RELEASE]: bare})).cells
    assert {c.component for c in cells if c.pr == 1} == set(COMPONENTS)
    assert {(c.component, c.reason) for c in cells if c.pr == 2} == {(c, "component-unknown") for c in COMPONENTS}


def drifting(policy: BaselinePolicy) -> set[str | None]:
    seen = snapshot(pull_request(1, A))
    record = change_record(TIPS[MAIN], A, dict.fromkeys(REPOSITORIES, False), moved=[ORDERS])
    older = seen.main[ORDERS]._replace(digest=BASELINES[1])  # type: ignore[union-attr]
    seen = replace(
        seen,
        policy=replace(seen.policy, baseline=policy),
        changes={(TIPS[MAIN], A): record},
        faithful={(r, A): older for r in REPOSITORIES},
    )
    return {c.component for c in matrix(seen).cells if c.drift}


def test_drift_is_shown_where_main_moved_on_and_the_tag_follows_main() -> None:
    assert drifting(BaselinePolicy.MAIN) == {"orders", "orders-worker"}
    assert drifting(BaselinePolicy.FAITHFUL) == set()


def test_a_pull_request_of_which_nothing_is_previewed_has_one_row_that_says_so() -> None:
    seen = snapshot(pull_request(1, A), inventory=inventory([]))
    assert states(seen) == {None: "not-previewed not-previewed"}
    assert plan(seen).holds == ()


def test_what_is_told_of_a_head_is_not_up_to_a_pull_request_that_is_refused_or_previews_nothing() -> None:
    stranger = pull_request(1, A, head_repository_id=FORK)
    seen = snapshot(stranger, pull_request(2, A, base=RELEASE), pull_request(3, A))
    told = {h.head: {h.told.number} for h in matrix(seen).heads}
    assert told == {A: {2}}
    nothing = pull_request(2, A, base=RELEASE)
    row = matrix(snapshot(nothing, inventory=inventory([]))).cells
    others = matrix(snapshot(stranger, pull_request(3, A))).cells
    assert [h.told.number for h in Matrix.of((*row, *others)).heads] == [3]
    assert [h.told.number for h in Matrix.of((*row, *others[:1])).heads] == [2]


def test_a_held_pull_request_is_one_row() -> None:
    seen = snapshot(
        pull_request(1, A, head_repository_id=FORK), pull_request(2, B, labels=("hold",)), tags={(ORDERS, A): Absent()}
    )
    assert [(c.pr, c.component, c.reason) for c in matrix(seen).cells] == [
        (1, None, "fork-not-admitted"),
        (2, None, "hold-label"),
    ]


def test_what_a_limit_keeps_from_being_written_is_held_and_says_why() -> None:
    seen = snapshot(pull_request(1, A), writes_left=1)
    assert states(seen) == {
        "billing": "planned inputs-unchanged",
        "orders": "held write-budget-spent",
        "orders-worker": "held write-budget-spent",
    }
    assert set(states(replace(seen, backing_off=frozenset({A}))).values()) == {"held backing-off"}
    assert set(states(replace(seen, mode=Mode.OBSERVE)).values()) == {"planned observe-mode"}


def complete(**changed: object) -> Snapshot:
    """A head whose images are all recorded, where release sets are published and one image proves nothing."""
    recorded = {(r, A): Recorded(BASELINES[0], How.RETAGGED, proven=True) for r in REPOSITORIES}
    proofs = {
        (ORDERS, A): Verdict(Outcome.ACCEPTED, BASELINES[0]),
        (BILLING, A): Verdict(Outcome.REFUSED, BASELINES[0], "nothing is attached"),
    }
    decided = decision(A, {r: RetagFrom(BASELINES[0]) for r in REPOSITORIES})
    seen = snapshot(pull_request(1, A), decisions={A: decided}, recorded=recorded, proofs=proofs)
    seen = replace(seen, policy=replace(seen.policy, release_sets=REPOSITORIES[0]))
    return replace(seen, **changed)  # type: ignore[arg-type]


def of_release(seen: Snapshot, planned: Plan | None = None) -> list[tuple[object, str, str, str]]:
    return [(c.image, c.state.value, c.reason, c.detail) for c in matrix(seen, planned).cells if c.of_release_set]


def test_a_release_set_that_is_not_published_has_a_row_that_says_why() -> None:
    proven = complete(proofs={(r, A): Verdict(Outcome.ACCEPTED, BASELINES[0]) for r in REPOSITORIES})
    assert of_release(complete()) == [(BILLING, "held", "release-unproven", "nothing is attached")]
    assert of_release(proven) == []
    assert of_release(replace(proven, backing_off=frozenset({A}))) == [(None, "held", "backing-off", "")]
    assert of_release(replace(proven, mode=Mode.OBSERVE)) == [(None, "planned", "observe-mode", "")]
    assert {c.state for c in matrix(complete()).cells if not c.of_release_set} == {State.RETAGGED}


def test_no_release_set_is_made_while_it_is_not_known_what_is_previewed() -> None:
    proven = complete(proofs={(r, A): Verdict(Outcome.ACCEPTED, BASELINES[0]) for r in REPOSITORIES})
    assert plan(proven).actions == (Release(A, (1,)),)
    unread = replace(proven, inventory=Unknown("reset"))
    assert plan(unread).actions == ()
    said = "what is previewed could not be read (inventory-unknown)"
    assert of_release(unread) == [(None, "held", "release-unproven", said)]


def test_no_release_set_is_made_of_a_quarantined_head_whose_moved_image_is_previewed_no_more() -> None:
    proven = complete(proofs={(r, A): Verdict(Outcome.ACCEPTED, BASELINES[0]) for r in REPOSITORIES})
    only_orders = replace(proven, inventory=inventory(["orders"]))
    assert plan(only_orders).actions == (Release(A, (1,)),)
    moved = replace(only_orders, quarantined={A: (Breach(BILLING, BASELINES[0], BASELINES[1]),)})
    assert plan(moved).actions == ()
    assert of_release(moved) == [(None, "held", "quarantined", "")]


def test_the_holds_of_a_pass_are_told_only_where_the_gap_is_still_open() -> None:
    seen = complete()
    made = plan(seen)
    assert len(of_release(seen, made)) == 1
    assert of_release(replace(seen, released={A: BASELINES[0]}), made) == []
    assert of_release(replace(seen, proofs={}), Plan((), ())) == []
