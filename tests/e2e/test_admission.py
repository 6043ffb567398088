"""A pull request that is not admitted: nothing is asked or written for it, and its status says the remedy."""

from __future__ import annotations

from typing import Any

import pygit2
import pytest

from reconciler.adapters.local_store import record_ref
from reconciler.adapters.status_local import LocalStatusReporter
from reconciler.matrix import State
from reconciler.ports import StatusState
from state.entry import Kind
from state.git import CommitId
from state.hold import REMEDY, Reason
from tests.e2e.test_passes import HEAD_ONLY, nothing_written, reconciler_when
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, cells, changes

PEOPLE = {"members": [7], "agents": [8]}


def gated(shop: Shop, **rules: Any) -> LocalStatusReporter:
    """Set rules of admission besides those of the shop; the reporter of its forge."""
    shop.configure(shop={"admission": {**shop.repository_settings["admission"], **rules}})
    return LocalStatusReporter(shop.code)


def told(statuses: LocalStatusReporter, head: CommitId) -> tuple[StatusState, list[str]]:
    """The state and the lines of a head's status."""
    found = statuses.status_of(head)
    assert found is not None
    return found.state, found.summary.split("\n")


@pytest.mark.parametrize(
    ("rules", "opened", "reason", "state"),
    [
        ({"drafts": False}, {"draft": True}, Reason.DRAFT, StatusState.PENDING),
        ({"labels": ["preview"]}, {"labels": ["other"]}, Reason.LABEL_MISSING, StatusState.PENDING),
        (PEOPLE, {"author_id": 9}, Reason.AUTHOR_OUTSIDE, StatusState.FAILURE),
    ],
    ids=["draft", "label", "author"],
)
def test_a_pull_request_that_does_not_count_gets_a_status_with_the_remedy_and_no_write(
    shop: Shop, rules: dict[str, Any], opened: dict[str, Any], reason: Reason, state: StatusState
) -> None:
    statuses = gated(shop, **rules)
    number, head = shop.opens("docs", DOCS, **opened)
    with shop.reconciler(status=statuses) as running:
        with shop.requests_made() as made:
            report = running.until_quiet()
        assert made == []
        assert cells(report, number)[HEAD_ONLY].reason == reason.value
    assert nothing_written(shop, head)
    assert not shop.entries(Kind.DECISION, Kind.INTENT)
    found, lines = told(statuses, head)
    assert found is state
    assert lines[0] == f"held: {reason.value}"
    assert f"- `{reason.value}`: {REMEDY[reason]}" in lines


def test_a_pull_request_that_comes_to_count_is_filled_and_told_so(shop: Shop) -> None:
    statuses = gated(shop, drafts=False, labels=["preview"], **PEOPLE)
    number, head = shop.opens("docs", DOCS, author_id=8, draft=False)
    with shop.reconciler(status=statuses) as running:
        running.until_quiet()
        assert told(statuses, head)[1][0] == "held: label-missing"
        shop.pulls.label(number, ["preview"])
        assert running.until_quiet().converged
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    state, lines = told(statuses, head)
    assert state is StatusState.SUCCESS
    assert lines[0].startswith("5 of 5 ready")


def test_a_label_taken_off_between_plan_and_write_stops_the_write(shop: Shop) -> None:
    gated(shop, labels=["preview"])
    number, head = shop.opens("docs", DOCS, labels=["preview"])

    def taken_off() -> None:
        shop.pulls.label(number, remove=["preview"])

    with reconciler_when(shop, Kind.DECISION, taken_off) as running:
        running.one_pass()
        dropped = {e["detail"] for e in running.events("action_dropped")}
    assert nothing_written(shop, head)
    assert dropped == {"no pull request with this head is admitted any more: label-missing"}


def test_how_long_ci_lets_a_head_wait_is_told_in_steps_and_survives_a_restart(shop: Shop) -> None:
    statuses = gated(shop)
    _, head = shop.opens("orders", changes("orders"))
    with shop.reconciler(status=statuses) as running:
        running.one_pass()
        assert "min" not in told(statuses, head)[1][0]
        running.clock.skew_s += 8 * 60
        running.one_pass()
        first = told(statuses, head)[1][0]
    assert first == "3 of 5 ready · waiting for CI: orders, orders-dispatcher (8 min) · unproven"
    with shop.reconciler(status=statuses) as again:
        again.clock.skew_s += 31 * 60
        again.one_pass()
    assert told(statuses, head)[1][0] == first.replace("8 min", "30 min")


def test_a_head_of_which_nothing_is_previewed_is_no_failure(shop: Shop) -> None:
    statuses = gated(shop)
    shop.previews()
    number, head = shop.opens("docs", DOCS)
    with shop.reconciler(status=statuses) as running:
        report = running.until_quiet()
    assert report.converged
    assert cells(report, number)[HEAD_ONLY].state is State.NOT_PREVIEWED
    state, lines = told(statuses, head)
    assert (state, lines[0]) == (StatusState.SUCCESS, "nothing is previewed")
    assert f"- `not-previewed`: {REMEDY[Reason.NOT_PREVIEWED]}" in lines


def test_a_listing_that_was_cut_short_turns_no_status_over(shop: Shop) -> None:
    statuses = gated(shop)
    _, head = shop.opens("docs", DOCS)
    other, _ = shop.opens("more", {"README.md": "more\n"})
    with shop.reconciler(status=statuses) as running:
        running.until_quiet()
        before = told(statuses, head)
        assert before[0] is StatusState.SUCCESS
        repository = pygit2.Repository(str(shop.code))
        repository.references[record_ref(other)].set_target(repository.create_blob(b"{}"))
        repository.free()
        report = running.one_pass()
    assert {c.reason for c in report.cells} == {"listing-incomplete"}
    assert told(statuses, head) == before
