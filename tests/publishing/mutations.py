"""The product, broken on purpose: one row per rule, and which rule of `check` must be found broken, in which stage.

A mutation replaces a piece of a function's source. Where that piece is no longer there the row says so, instead of
breaking nothing.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import pytest

from reconciler.approval import evaluate
from reconciler.publishing import planning, proposing, steps, upkeep
from state import publishing
from tests.publishing.ledger import Log
from tests.publishing.matrix import Failed, Matrix
from tests.publishing.remembered import remembered
from tests.publishing.stages import STAGES, Scope

Patch = pytest.MonkeyPatch
Proposer = proposing.Proposer


class Piece(NamedTuple):
    """A function, as an attribute of each of `owners` that knows it, and what is replaced in it."""

    owners: tuple[Any, ...]
    name: str
    old: str
    new: str


class Mutation(NamedTuple):
    name: str
    stage: str
    """Where it is found, and by which event, where it takes one."""
    event: str | None
    rules: frozenset[int]
    break_it: Callable[[Patch], None]


def _replaced(*pieces: Piece) -> Callable[[Patch], None]:
    def break_it(patch: Patch) -> None:
        sources: dict[str, str] = {}
        for owners, name, old, new in pieces:
            function = getattr(owners[0], name)
            source = sources.get(name) or textwrap.dedent(inspect.getsource(function))
            if old not in source:
                raise AssertionError(f"{name}: no longer has {old!r}; say anew what breaks this rule")
            sources[name] = source.replace(old, new)
            made: dict[str, Any] = {}
            code = compile("from __future__ import annotations\n" + sources[name], name, "exec")
            exec(code, function.__globals__, made)  # noqa: S102 - the product's own source
            for owner in owners:
                patch.setattr(owner, name, made[name], raising=False)

    return break_it


def _no_compare_and_swap(patch: Patch) -> None:
    """What is appended follows whatever is there, and a push replaces it."""
    patch.setattr(Log, "_swap", lambda log, now: setattr(log, "_tip", now))
    patch.setattr(Log, "_judge", lambda *_: None)


def _in(*owners: Any) -> Callable[[str, str, str], Piece]:
    return lambda name, old, new: Piece(owners, name, old, new)


_proposer, _upkeep, _planning = _in(Proposer), _in(upkeep.Upkeep), _in(planning.Planning)
_evaluate, _log, _steps = _in(evaluate, proposing), _in(publishing.Publishing), _in(steps, upkeep)

AGAIN, DOWN, EVENT, OTHER, ONE, BACK = (
    "opened again",
    "events while no process lives",
    "events at each call",
    "another writer",
    "single crashes",
    "moved and back",
)


def _row(name: str, where: str | tuple[str, str], rules: set[int], *pieces: Piece) -> Mutation:
    stage, event = (where, None) if isinstance(where, str) else where
    return Mutation(name, stage, event, frozenset(rules), _replaced(*pieces))


THE_FOUR: Final = (
    Mutation("no compare-and-swap in the log", OTHER, None, frozenset({2}), _no_compare_and_swap),
    _row(
        "the plan of now is carried out, not the approved one",
        (EVENT, "pin is moved in the inventory"),
        {1},
        _evaluate("_check_plan", "_equal(Code.PLAN_CHANGED, about.plan, marker.plan)", "pass"),
        _proposer("_propose", "self._make(lane, plan,", "self._make(lane, self._desk.plan_now(7, target) or plan,"),
    ),
    _row(
        "no second look before opening",
        (EVENT, "head moves"),
        {5},
        _proposer("_finish", "if isinstance(judged, Refused):", "if 0:"),
    ),
    _row(
        "nothing is looked for before opening",
        (DOWN, "person closes the gitops pull request"),
        {6},
        _proposer("_finish", "self._found(lane, proposal)", "0"),
    ),
)
OTHERS: Final = (
    _row("the intent stays here", ONE, {4}, _proposer("_finish", "if not desk.log.push():", "if 0:")),
    _row(
        "consumed approvals count",
        (BACK, "head moves"),
        {2},
        _log("_intend", "self.consumed.setdefault(marker, entry_id)", "pass"),
    ),
    _row(
        "a revocation that came meanwhile is not read",
        (EVENT, "approval is revoked"),
        {5},
        _proposer("_finish", "desk.intake.take(emit)", "pass"),
    ),
    _row(
        "a revocation is ignored by the second look",
        (EVENT, "approval is revoked"),
        {5},
        _proposer("_judge", "revoked=frozenset(publishing.revoked)", "revoked=frozenset()"),
    ),
    _row(
        "the commit depends on when it is made",
        ONE,
        {7},
        _proposer("_commit", "max(m.marker.issued_at for m in markers)", "int(str(self._desk.log.tip())[:6], 16)"),
    ),
    _row("no outcome", ONE, {7}, _proposer("_conclude", "self._desk.recorder.append(", "(lambda *_: None)(")),
    _row(
        "a branch of somebody else is taken",
        (EVENT, "person takes the branch name"),
        {6},
        _proposer("_make", "if tip is not None and (standing is None or tip not in standing.commits):", "if 0:"),
    ),
    _row(
        "a person's commit on the branch is opened",
        (EVENT, "person commits to the branch"),
        {5},
        _proposer("_finish", "if tip is not None and tip != proposal.commit:", "if 0:"),
    ),
    _row(
        "what a person closed is opened again",
        (DOWN, "person closes the gitops pull request"),
        {6},
        _proposer("_found", "if before and not (standing.closed_by_us", "if 0 and not (standing.closed_by_us"),
    ),
    _row(
        "what a person closed counts as closed by us",
        (EVENT, "person closes the gitops pull request"),
        {6},
        _steps("next_step", "End(ProposalState.DECLINED,", "End(ProposalState.CLOSED,"),
    ),
    _row(
        "an approval that has ended counts",
        (EVENT, "approvals end"),
        {5},
        _proposer("_approvals", "if self._desk.intake.ended(marker, now):", "if False:"),
        _evaluate("_check_time", "if now > not_after + SKEW_S:", "if 0:"),
    ),
    _row(
        "another pull request's plan",
        ONE,
        {1},
        _proposer(
            "_propose",
            "self._make(lane, plan,",
            "self._make(lane, next(p for p in self._desk.recorder.history.publishing.plans.values() "
            "if p.pull_request == 8),",
        ),
    ),
    _row(
        "one person suffices",
        (EVENT, "approval is revoked"),
        {1},
        _evaluate("evaluate", "if len(people) < needed:", "if 0:"),
    ),
    _row(
        "the hold label does not count",
        (EVENT, "hold label is set"),
        {5},
        _evaluate("_check_pull_request", "if facts.held:", "if 0:"),
    ),
    _row(
        "the policy may have changed",
        (EVENT, "policy of the approvers changes"),
        {5},
        _evaluate("_check", "_equal(Code.POLICY_CHANGED, about.policy, marker.policy)", "pass"),
    ),
    _row("a moved tag does not count", (EVENT, "tag is moved"), {5}, _evaluate("_check", "if about.drift:", "if 0:")),
    _row(
        "what was opened before a crash is dropped",
        (DOWN, "head moves"),
        {7},
        _proposer("_drop", "if found is None:", "if 1:"),
    ),
    _row(
        "the branch is not fetched on another host",
        AGAIN,
        {7},
        _proposer("_resume", "lane.writer.tip(proposal.branch)", "pass"),
    ),
    _row(
        "what was begun is not gone on with",
        ONE,
        {7},
        _proposer("run", "if proposals[0].step is Step.OPEN and not stopping():", "if 0:"),
    ),
    _row(
        "closes and updates are left open",
        (EVENT, "head moves"),
        {7},
        _upkeep("run", "self._close_steps(emit)", "pass"),
    ),
    _row("the intent to close stays here", (EVENT, "head moves"), {3}, _upkeep("_intend", "self.log.push()", "pass")),
    _row(
        "a new head closes nothing",
        (EVENT, "head moves to one that is not released"),
        {7},
        _steps("obsolete", "if head != proposal.head:", "if 0:"),
    ),
    _row(
        "a quarantine closes nothing",
        (EVENT, "tag is moved"),
        {7},
        _steps("obsolete", "if source.quarantined:", "if 0:"),
    ),
    _row(
        "a conflict is left alone", (EVENT, "base moves in conflict"), {7}, _steps("next_step", "not seen.clean", "0")
    ),
    _row(
        "an update takes the files of its branch",
        (EVENT, "base moves in conflict"),
        {4},
        _upkeep("_update", "lane.files(base, plan.edits)", "lane.files(parents[1], plan.edits)"),
        _upkeep(
            "_update", "changed = {path: raw for path, raw in after.items() if raw != before[path]}", "changed = after"
        ),
    ),
    _row(
        "a plan is recorded in every pass",
        ONE,
        {7},
        _planning("_keep", "if self._recorder.history.publishing.newest_plan.get(at) == digest:", "if 0:"),
    ),
    _row(
        "a plan that holds again is not told",
        (BACK, "head moves"),
        {7},
        _planning(
            "_keep",
            "if self._recorder.history.publishing.newest_plan.get(at) == digest:",
            "if digest in self._recorder.history.publishing.plans:",
        ),
    ),
)
MUTATIONS: Final = (*THE_FOUR, *OTHERS)


def search(mutation: Mutation, scope: Scope, stages: Sequence[str] = ()) -> Failed | None:
    """The first run in which the broken product is found out: of its own stage, or of these with every event."""
    if not stages and mutation.event is not None:
        scope = scope._replace(events=(mutation.event,))
    with remembered(), pytest.MonkeyPatch.context() as patch:
        mutation.break_it(patch)
        matrix = Matrix()
        for stage in stages or (mutation.stage,):
            try:
                STAGES[stage](matrix, scope)
            except Failed as failed:
                return failed
    return None
