"""What is seen, decided and planned, broken on purpose. `mutations` has the list of all."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, Final

import pytest

from reconciler import admission, heads, observe, passes, planner, tag_reads
from reconciler.absence import PassReads
from reconciler.judgement import Fill, Held, Take
from state.decision import RetagFrom, Unresolved
from state.history import History
from state.hold import Reason
from state.observed import Baseline, How, Mode, Snapshot
from state.plan import EndHead, PinDecision

Patch = pytest.MonkeyPatch


def _absence_is_always_believed(patch: Patch) -> None:
    patch.setattr(PassReads, "_can_read", lambda *_: True)


def _a_void_release_set_is_believed(patch: Patch) -> None:
    real = tag_reads.TagReads._released

    def released(self: Any, look: Any, fresh: Any, budget: int) -> Any:
        history = self._history
        self._history = _but(history, recorded={}, void={})
        try:
            return real(self, look, fresh, budget)
        finally:
            self._history = history

    patch.setattr(tag_reads.TagReads, "_released", released)


def _a_present_tag_is_filled(patch: Patch) -> None:
    real = heads.judge
    patch.setattr(
        heads,
        "judge",
        lambda wanted, state: Fill(wanted.baseline) if isinstance(wanted, RetagFrom) else real(wanted, state),
    )


def _any_tag_in_place_is_adopted(patch: Patch) -> None:
    real = heads.judge

    def judge(wanted: Any, state: Any) -> Any:
        made = real(wanted, state)
        if isinstance(made, Held) and made.digest is not None:
            return Take(made.digest, How.RETAGGED if isinstance(wanted, RetagFrom) else How.BUILT, proven=False)
        return made

    patch.setattr(heads, "judge", judge)


def _decisions_are_not_pinned(patch: Patch) -> None:
    _planned(patch, lambda made: made._replace(actions=tuple(a for a in made.actions if type(a) is not PinDecision)))


def _what_was_decided_is_decided_again(patch: Patch) -> None:
    real = heads.Examiner._resolve

    def resolve(self: Any, head: Any, pinned: Any, *rest: Any) -> Any:
        undecided = dict.fromkeys(pinned.images, Unresolved(Reason.CHANGED_PATHS_UNKNOWN))
        return real(self, head, replace(pinned, images=undecided), *rest)

    patch.setattr(heads.Examiner, "_resolve", resolve)


def _the_baseline_of_now_is_taken_for_the_pinned_one(patch: Patch) -> None:
    real = heads.Examiner.examine

    def examine(self: Any, head: Any) -> Any:
        work, main = real(self, head), self._seen.main
        now = {r: Fill(b.digest) for r, b in main.items() if isinstance(b, Baseline)}
        moved = {r: now[r] for r, j in work.judgements.items() if isinstance(j, Fill) and r in now}
        return work._replace(judgements={**work.judgements, **moved})

    patch.setattr(heads.Examiner, "examine", examine)
    patch.setattr(heads.Examiner, "baselines_needed", lambda self, head: tuple(self.examine(head).judgements))


def _a_refused_baseline_is_pinned(patch: Patch) -> None:
    real = heads._from_baseline
    patch.setattr(
        heads,
        "_from_baseline",
        lambda state, why: RetagFrom(state.digest) if isinstance(state, Baseline) else real(state, why),
    )


def _changed_counts_as_unchanged(patch: Patch) -> None:
    real = heads._changed
    patch.setattr(heads, "_changed", lambda records: dict.fromkeys(real(records), False))


def _the_first_pull_request_at_a_head_decides(patch: Patch) -> None:
    real = heads._changed
    patch.setattr(heads, "_changed", lambda records: real(list(records)[:1]))


def _everything_is_said_to_be_changed(patch: Patch) -> None:
    real = heads._changed
    patch.setattr(heads, "_changed", lambda records: dict.fromkeys(real(records), True))


def _a_head_ends_on_half_a_listing(patch: Patch) -> None:
    def ended(seen: Any) -> list[Any]:
        alive = {pr.head for pr in seen.listing.pull_requests}
        return [EndHead(h, d.pull_requests) for h, d in sorted(seen.decisions.items()) if h not in alive]

    patch.setattr(planner, "_ended", ended)


def _half_a_listing_is_worked_on(patch: Patch) -> None:
    real = admission.refusal
    patch.setattr(
        admission,
        "_refused",
        lambda pr, seen: real(pr, replace(seen, listing=seen.listing._replace(complete=True))),
    )


def _forks_are_admitted(patch: Patch) -> None:
    real = admission.refusal
    patch.setattr(admission, "refusal", lambda pr, seen: real(pr._replace(head_repository_id=seen.repository_id), seen))


def _the_hold_label_is_ignored(patch: Patch) -> None:
    _admitted(patch, lambda seen: replace(seen, policy=replace(seen.policy, hold_label=None)))


def _mode_observe_writes(patch: Patch) -> None:
    patch.setattr(passes, "plan", lambda seen, resting: planner.plan(replace(seen, mode=Mode.FILL), resting))


def _a_suspended_repository_is_worked_on(patch: Patch) -> None:
    _admitted(patch, lambda seen: replace(seen, suspended=False))


def _recorded_tags_are_asked_for_again(patch: Patch) -> None:
    real = heads.judge_recorded

    def judge(done: Any, state: Any, overdue: Any) -> Any:
        return real(done, state, overdue) if state is not None else Held(Reason.NOT_YET_READ)

    patch.setattr(heads, "judge_recorded", judge)


def _the_sweep_sees_nothing(patch: Patch) -> None:
    patch.setattr(tag_reads.TagReads, "sweep", lambda *_: None)


def _a_quarantine_is_forgotten_when_planning(patch: Patch) -> None:
    patch.setattr(passes, "plan", lambda seen, resting: planner.plan(replace(seen, quarantined={}), resting))


def _a_quarantined_head_is_filled(patch: Patch) -> None:
    real = heads.Examiner.examine

    def examine(self: Any, head: Any) -> Any:
        work = real(self, head)
        decided = work.decision.images if work.decision is not None else {}
        fills = {
            r: Fill(decided[r].baseline)
            for r, j in work.judgements.items()
            if isinstance(j, Held) and j.reason is Reason.QUARANTINED and isinstance(decided.get(r), RetagFrom)
        }
        return work._replace(judgements={**work.judgements, **fills})

    patch.setattr(heads.Examiner, "examine", examine)


def _but(history: History, **changed: Any) -> History:
    made = copy(history)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def _admitted(patch: Patch, change: Callable[[Snapshot], Snapshot]) -> None:
    real = admission.admit
    for module in (planner, observe):
        patch.setattr(module, "admit", lambda seen: real(change(seen)))


def _planned(patch: Patch, change: Callable[[Any], Any]) -> None:
    patch.setattr(passes, "plan", lambda seen, resting: change(planner.plan(seen, resting)))


DECIDING: Final[tuple[tuple[Callable[[Patch], None], int], ...]] = (
    (_a_quarantined_head_is_filled, 1),
    (_absence_is_always_believed, 2),
    (_a_head_ends_on_half_a_listing, 2),
    (_half_a_listing_is_worked_on, 2),
    (_a_void_release_set_is_believed, 3),
    (_any_tag_in_place_is_adopted, 3),
    (_the_baseline_of_now_is_taken_for_the_pinned_one, 3),
    (_a_refused_baseline_is_pinned, 3),
    (_changed_counts_as_unchanged, 3),
    (_the_first_pull_request_at_a_head_decides, 3),
    (_everything_is_said_to_be_changed, 3),
    (_forks_are_admitted, 3),
    (_the_hold_label_is_ignored, 3),
    (_decisions_are_not_pinned, 4),
    (_what_was_decided_is_decided_again, 4),
    (_mode_observe_writes, 7),
    (_a_suspended_repository_is_worked_on, 7),
    (_a_present_tag_is_filled, 0),
    (_recorded_tags_are_asked_for_again, 0),
    (_the_sweep_sees_nothing, 0),
    (_a_quarantine_is_forgotten_when_planning, 0),
)
