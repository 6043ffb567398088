"""What a GitOps pull request of ours needs next, case by case."""

from __future__ import annotations

import pytest

from reconciler.ports import Change
from reconciler.publishing.steps import Close, Closed, End, NextStep, Seen, Source, Unread, Update, next_step, obsolete
from state.git import CommitId, RefName
from state.oci import Digest
from state.publishing import Proposal, ProposalState, Standing, Step

HEAD, OTHER, OURS, THEIRS = (CommitId(c * 40) for c in "abcd")
MAIN = RefName.branch("main")
BRANCH = RefName.branch("ameide/dev/pr-7/x")
PLAN, NEWER = Digest.of(b"plan"), Digest.of(b"newer plan")
PROPOSAL = Proposal(
    Step.OPEN, "dev", PLAN, 7, HEAD, BRANCH, OURS, (OTHER,), ("1" * 32,), approved_base=MAIN, not_after=1000
)
STANDING = Standing(PROPOSAL, ProposalState.OPEN, OTHER, (OURS,), change=3)
CHANGE = Change(3, BRANCH, MAIN, open=True, title="", body="")
SEEN = Seen(CHANGE, OURS, in_place=False, clean=True, obsolete=None)
SOURCE = Source((HEAD, MAIN), (), quarantined=False, newest_plan=PLAN, now=1060)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (SEEN, None),
        (SEEN._replace(change=CHANGE._replace(open=False, merged=True)), ProposalState.MERGED),
        (SEEN._replace(change=CHANGE._replace(open=False)), ProposalState.DECLINED),
        (SEEN._replace(tip=THEIRS), ProposalState.HANDS_OFF),
        (SEEN._replace(obsolete="why"), Close("why")),
        (SEEN._replace(clean=False), Update()),
        # A branch that somebody deleted cannot be brought up to date; the forge closes its pull request.
        (SEEN._replace(tip=None, clean=False), None),
        # What people did comes before everything else.
        (SEEN._replace(change=CHANGE._replace(open=False), tip=THEIRS, obsolete="why"), ProposalState.DECLINED),
        (SEEN._replace(tip=THEIRS, obsolete="why", clean=False), ProposalState.HANDS_OFF),
        # What is obsolete is not brought up to date first.
        (SEEN._replace(obsolete="why", clean=False), Close("why")),
    ],
)
def test_the_next_step(seen: Seen, expected: NextStep | ProposalState) -> None:
    found = next_step(STANDING, seen)
    assert (found.state if isinstance(found, End) else found) == expected


def test_what_the_base_holds_already_is_closed() -> None:
    assert isinstance(next_step(STANDING, SEEN._replace(in_place=True)), Close)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (SOURCE._replace(revoked=("1" * 32,)), "was revoked"),
        (SOURCE._replace(quarantined=True), "quarantine"),
        (SOURCE._replace(now=1061), "has ended"),
        (SOURCE._replace(pull_request=(OTHER, MAIN)), "a new head"),
        (SOURCE._replace(pull_request=(HEAD, RefName.branch("next"))), "another base branch now, next"),
        (SOURCE._replace(pull_request=Closed(merged=False)), "closed without being merged"),
        (SOURCE._replace(newest_plan=NEWER), "took the place"),
    ],
)
def test_what_makes_one_obsolete(source: Source, part: str) -> None:
    assert part in str(obsolete(PROPOSAL, source))


@pytest.mark.parametrize(
    "source",
    [
        SOURCE,
        SOURCE._replace(pull_request=Closed(merged=True)),
        SOURCE._replace(pull_request=Unread()),
        SOURCE._replace(pull_request=Closed(merged=False), promotion=True),
        SOURCE._replace(newest_plan=None),
    ],
)
def test_what_leaves_one_open(source: Source) -> None:
    assert obsolete(PROPOSAL, source) is None


def test_a_merged_code_pull_request_keeps_it_open_until_the_approval_ends() -> None:
    merged = SOURCE._replace(pull_request=Closed(merged=True))
    assert obsolete(PROPOSAL, merged) is None
    assert obsolete(PROPOSAL, merged._replace(now=1061)) == "its approval has ended"
