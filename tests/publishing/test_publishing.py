"""A publish under every crash, race and lost answer: the rules of `check` hold, and all comes to rest as it should."""

from __future__ import annotations

import pytest

from tests.publishing import stages
from tests.publishing.matrix import Matrix, beginning
from tests.publishing.mutations import MUTATIONS, THE_FOUR, Mutation, search
from tests.publishing.remembered import remembered
from tests.publishing.stages import IN_SHORT, IN_TEST, STAGES
from tests.thorough import thorough

LEAST_RUNS = {
    "single crashes": 140,
    "crashes however many": 200,
    "opened again": 30,
    "events while no process lives": 400,
    "answers that do not come": 150,
    "events after an answer that did not come": 300,
    "another writer": 120,
    "events at each call": 1800,
    "moved and back": 1500,
}
"""A matrix that runs nothing proves nothing. Of one scope in short a tenth is asked for."""
SCOPE, SHARE = (IN_TEST, 1) if thorough() else (IN_SHORT, 10)


@pytest.mark.parametrize("stage", STAGES)
def test_every_rule_holds_at_every_boundary(stage: str) -> None:
    matrix = Matrix()
    with remembered():
        STAGES[stage](matrix, SCOPE)
    assert matrix.runs >= LEAST_RUNS[stage] // SHARE, matrix.runs


def test_every_kind_of_call_is_a_boundary_of_a_whole_publish() -> None:
    with remembered():
        ran = stages.whole(Matrix())
    assert {name.partition(" ")[0].partition(".")[0] for name in ran.names} == {
        "changes", "forge", "gitops", "log", "markers", "policy", "registry", "sets",
    }  # fmt: skip
    assert {"changes.open", "gitops.push", "log.push", "log.append intent", "log.append outcome"} <= set(ran.names)


@pytest.mark.parametrize("host", ["here", "there"])
def test_what_is_remembered_changes_no_run(host: str) -> None:
    """The same publish, with everything computed anew."""
    with remembered():
        quick = Matrix().run("no fault", beginning(), host)
    whole = Matrix().run("no fault", beginning(), host)
    assert (whole.names, whole.world.key()) == (quick.names, quick.world.key())


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_rule_that_is_broken_on_purpose_is_found(mutation: Mutation) -> None:
    found = search(mutation, IN_TEST)
    assert found is not None, "all of its stage went well"
    assert found.rule in mutation.rules, str(found)


def test_every_rule_is_broken_at_least_once() -> None:
    assert len(THE_FOUR) == 4
    assert {rule for mutation in MUTATIONS for rule in mutation.rules} == {1, 2, 3, 4, 5, 6, 7}
