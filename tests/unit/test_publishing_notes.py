"""What a pull request is told of its publishing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import pytest

from reconciler.approval.codes import Code
from reconciler.publishing.notes import Note, notes
from state.canonical import Json
from state.entry import Kind
from state.git import CommitId
from state.oci import Digest
from state.publishing import ProposalState
from tests.unit.test_publishing_history import HEAD, LATER, MARKER, OPEN, PLAN, Log

AT = (7, HEAD)
HOLDS = frozenset({PLAN.digest()})


@pytest.fixture
def log() -> Log:
    made = Log()
    made.plans(PLAN)
    return made


def one(
    log: Log,
    at: tuple[int, CommitId] = AT,
    holding: Collection[Digest] = HOLDS,
    refused: Mapping[str, Code] = MappingProxyType({}),
) -> Note | None:
    found = notes(log.history.publishing, ("dev", "production"), at, {}, refused, holding=holding)
    assert len(found) <= 1
    return found[0] if found else None


def approve(log: Log) -> None:
    body: dict[str, Json] = {
        "digest": Digest.of(b"envelope"), "envelope": "{}", "id": MARKER, "kind": "approval", "plan": PLAN.digest(),
        "principals": ["alice"], "statement": Digest.of(b"statement"),
    }  # fmt: skip
    log.tell(Kind.MARKER, body)


def test_a_plan_waits_with_the_command_that_shows_it(log: Log) -> None:
    note = one(log)
    assert note is not None
    assert note.short == "dev: not approved"
    assert f"`{PLAN.digest()}`" in note.line
    assert "`ameide approval plan --pr 7 --target dev`" in note.line


def test_nothing_is_said_of_another_head_or_number(log: Log) -> None:
    assert one(log, (7, LATER)) is None
    assert one(log, (8, HEAD)) is None


def test_a_plan_that_does_not_hold_now_waits_for_nobody(log: Log) -> None:
    """As of a head in quarantine, or of one whose release set is void: an approval would be refused."""
    assert one(log, holding=()) is None
    approve(log)
    note = one(log, AT, (), {MARKER: Code.QUARANTINED})
    assert note is not None
    assert note.short == "dev: quarantined"


def test_a_target_without_a_plan_says_where_to_look(log: Log) -> None:
    problems = {(7, "production"): "values/production.yaml: no such file", (8, "dev"): "of another"}
    found = notes(log.history.publishing, ("dev", "production"), AT, problems, {}, holding=HOLDS)
    assert [note.short for note in found] == ["dev: not approved", "production: no plan"]
    assert "no such file" not in found[1].line  # a path is the GitOps repository's matter


def test_a_refused_approval_says_why_and_what_to_do(log: Log) -> None:
    approve(log)
    note = one(log, refused={MARKER: Code.NOT_ENOUGH_APPROVERS})
    assert note is not None
    assert note.short == "dev: not-enough-approvers"
    assert "To do: have another approver approve the same plan." in note.line
    assert one(log, refused={"2" * 32: Code.EXPIRED}) == one(log)  # of another plan


@pytest.mark.parametrize("state", [s for s in ProposalState if s is not ProposalState.INTENDED])
def test_a_proposal_is_told_by_its_number_until_it_is_dropped(log: Log, state: ProposalState) -> None:
    intent = log.intends(OPEN)
    log.ends(intent, OPEN._replace(change=3), state)
    note = one(log)
    assert note is not None
    if state is ProposalState.DROPPED:
        assert note.short == "dev: not approved"
    else:
        assert note == Note(f"dev: {state.value}", f"- `dev`: GitOps #3 is {state.value}")
