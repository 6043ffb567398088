"""Which cell a person asks about."""

from __future__ import annotations

from reconciler.explain import pick
from tests.unit.test_pull_request_status import READY, UNRELEASED, WHOLE


def test_a_component_is_found_by_its_pull_request_and_name() -> None:
    assert pick((READY._replace(pr=2), READY), 1, "orders") is READY
    assert pick((READY,), 2, "orders") is None


def test_what_holds_the_whole_head_answers_for_every_component() -> None:
    assert pick((WHOLE,), 1, "orders") is WHOLE


def test_what_holds_the_release_set_is_no_answer_about_a_component_that_is_not_there() -> None:
    assert pick((UNRELEASED, READY), 1, "orders") is READY
    assert pick((UNRELEASED, READY), 1, "oders") is None
