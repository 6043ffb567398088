"""What the log says of publishing, folded entry by entry."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from state.canonical import Json
from state.entry import Entry, Kind, decode
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.history import History
from state.oci import Digest, Repository
from state.pin_plan import Edit, PinPlan, Target
from state.publishing import People, Proposal, ProposalState, Step

HEAD, BASE, OURS, LATER = (CommitId(c * 40) for c in "abcd")
MAIN = RefName.branch("main")
IMAGE, DIGEST = Repository("ghcr.io/acme/orders"), Digest.of(b"orders")
MARKER = "1" * 32


def plan_of(number: int = 7, head: CommitId = HEAD, target: str = "dev") -> PinPlan:
    where = Target(target, 99, MAIN, target)
    edits = (Edit(f"{target}/orders.yaml", "image.ref", "orders", IMAGE, DIGEST),)
    return PinPlan(1, number, head, Digest.of(b"set"), where, edits)


PLAN = plan_of()
OPEN = Proposal(
    Step.OPEN, "dev", PLAN.digest(), 7, HEAD, PLAN.branch, OURS, (BASE,), (MARKER,), approved_base=MAIN, not_after=9
)


class Log:
    """A history that entries are told to, each through its text."""

    def __init__(self) -> None:
        self.history = History()
        self.count = 0

    def tell(self, kind: Kind, body: Mapping[str, Json]) -> CommitId:
        entry = Entry(kind, self.count, 0, "w", "2026-01-01T00:00:00Z", body)
        self.count += 1
        made = CommitId(f"{self.count:040x}")
        self.history.apply(made, decode(entry.encode()))
        return made

    def plans(self, plan: PinPlan, author_id: int | None = 5) -> None:
        body: dict[str, Json] = {
            "author_id": author_id,
            "base": MAIN,
            "head": plan.head,
            "last_pusher_id": None,
            "plan": plan.to_json(),
        }
        self.tell(Kind.PLAN, {**body, "pull_requests": [plan.pull_request]})

    def intends(self, proposal: Proposal) -> CommitId:
        return self.tell(Kind.INTENT, {"proposals": [proposal.to_json()], "writes": []})

    def ends(self, intent: CommitId | None, proposal: Proposal, state: ProposalState) -> None:
        row: dict[str, Json] = {**proposal.to_json(), "result": state.value}
        self.tell(Kind.OUTCOME, {"intent": intent, "proposals": [row], "writes": []})


@pytest.fixture
def log() -> Log:
    made = Log()
    made.plans(PLAN)
    return made


def test_a_plan_is_known_by_its_digest_and_as_the_newest_of_its_pull_request_and_target(log: Log) -> None:
    newer = plan_of(head=LATER)
    log.plans(newer)
    publishing = log.history.publishing
    assert publishing.plans == {PLAN.digest(): PLAN, newer.digest(): newer}
    assert publishing.newest_plan == {(7, "dev"): newer.digest()}
    assert publishing.people == {(7, head): People(5, None) for head in (HEAD, LATER)}


def test_an_intent_consumes_its_approvals_whatever_becomes_of_it(log: Log) -> None:
    intent = log.intends(OPEN)
    publishing = log.history.publishing
    assert publishing.consumed == {MARKER: intent}
    assert publishing.open_steps == {intent: (OPEN,)}
    assert log.history.open_intents == {}
    log.ends(intent, OPEN, ProposalState.DROPPED)
    assert publishing.consumed == {MARKER: intent}
    assert publishing.open_steps == {}
    assert publishing.live() == []


def test_what_we_closed_may_be_opened_again_and_what_a_person_closed_is_told_apart(log: Log) -> None:
    publishing = log.history.publishing
    first = OPEN._replace(change=3)
    log.ends(log.intends(OPEN), first, ProposalState.OPEN)
    assert [s.change for s in publishing.live()] == [3]
    close = first._replace(step=Step.CLOSE, commit=None, parents=(), approvals=())
    log.ends(log.intends(close), close, ProposalState.CLOSED)
    standing = publishing.proposals[PLAN.branch]
    assert (standing.state, standing.closed_by_us, standing.change) == (ProposalState.CLOSED, True, 3)
    again = OPEN._replace(commit=LATER, parents=(BASE, OURS), approvals=("2" * 32,))
    log.intends(again)
    standing = publishing.proposals[PLAN.branch]
    assert (standing.state, standing.closed_by_us, standing.commits) == (ProposalState.INTENDED, True, (OURS, LATER))
    log.ends(None, again._replace(change=4), ProposalState.DECLINED)
    assert not publishing.proposals[PLAN.branch].closed_by_us


def test_the_commit_of_an_update_counts_as_ours_from_its_intent_on(log: Log) -> None:
    log.ends(log.intends(OPEN), OPEN._replace(change=3), ProposalState.OPEN)
    update = OPEN._replace(step=Step.UPDATE, commit=LATER, parents=(BASE, OURS), approvals=(), change=3)
    intent = log.intends(update)
    publishing = log.history.publishing
    assert publishing.proposals[PLAN.branch].commits == (OURS, LATER)
    assert intent in publishing.open_steps


def test_the_first_marker_with_an_id_keeps_it(log: Log) -> None:
    def body(text: str) -> dict[str, Json]:
        return {
            "digest": Digest.of(text.encode()), "envelope": text, "id": MARKER, "kind": "approval",
            "plan": PLAN.digest(), "principals": ["alice"], "statement": Digest.of(b"s" + text.encode()),
        }  # fmt: skip

    log.tell(Kind.MARKER, body("one"))
    log.tell(Kind.MARKER, body("two"))
    publishing = log.history.publishing
    assert publishing.markers[MARKER].envelope == "one"
    assert publishing.marker_digests == {Digest.of(b"one"), Digest.of(b"two")}
    assert publishing.of_plan(PLAN.digest()) == [MARKER]
    entry = log.tell(Kind.REVOCATION, {"digest": Digest.of(b"three"), "id": MARKER})
    assert publishing.revoked == {MARKER: entry}


def test_an_ended_head_loses_its_plans_but_not_what_became_of_them(log: Log) -> None:
    publishing = log.history.publishing
    merged_before, other = plan_of(1, LATER), plan_of(2)
    for plan in (merged_before, other):
        log.plans(plan)
    for plan, state in (
        (merged_before, ProposalState.MERGED),
        (PLAN, ProposalState.MERGED),
        (other, ProposalState.OPEN),
    ):
        one = OPEN._replace(plan=plan.digest(), pull_request=plan.pull_request, head=plan.head, branch=plan.branch)
        log.ends(log.intends(one), one._replace(change=1), state)
    for head in (HEAD, LATER):
        log.tell(Kind.TOMBSTONE, {"head": head, "pull_requests": [1]})
    assert publishing.plans.keys() == {PLAN.digest(), other.digest()}
    assert publishing.running("dev") == [PLAN]
    assert [s.proposal.plan for s in publishing.live()] == [other.digest()]
    assert (1, "dev") not in publishing.newest_plan
    assert publishing.proposals[merged_before.branch].state is ProposalState.MERGED


@pytest.mark.parametrize(
    "proposal",
    [
        OPEN._replace(plan=Digest.of(b"never recorded")),
        OPEN._replace(commit=None),
        OPEN._replace(step=Step.UPDATE),
        OPEN._replace(step=Step.CLOSE),
    ],
)
def test_an_intent_about_what_the_log_does_not_know_is_refused(log: Log, proposal: Proposal) -> None:
    with pytest.raises(InvalidValue, match="proposal"):
        log.intends(proposal)
    with pytest.raises(InvalidValue, match="no intent"):
        log.ends(None, OPEN, ProposalState.OPEN)
