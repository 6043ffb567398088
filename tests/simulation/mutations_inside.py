"""The loop, its planner, what applies its plans and their log, broken on purpose. `mutations` has the list of all."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, Final

import pytest

from reconciler import admission, apply, heads, observe, passes, planner, tag_reads
from reconciler.absence import MAIN, PassReads
from reconciler.apply import Applier
from reconciler.judgement import Fill, Held, Take
from reconciler.premise import Premise
from reconciler.record import Recorder
from reconciler.tag_writes import TagWriter, Written
from state import parts
from state.decision import RetagFrom
from state.entry import Kind
from state.errors import Fenced
from state.git import CommitId
from state.history import History
from state.hold import Reason
from state.log import GitLog
from state.observed import Absent, Baseline, How, Mode, Present, Snapshot, Unknown
from state.oci import Digest
from state.plan import EndHead, PinDecision
from state.verdict import Outcome, Verdict
from state.writes import Result
from tests.simulation.ports import POLICY

Patch = pytest.MonkeyPatch


def _absence_is_always_believed(patch: Patch) -> None:
    patch.setattr(PassReads, "_can_read", lambda *_: True)


def _tags_are_not_looked_at_again(patch: Patch) -> None:
    patch.setattr(Premise, "still_absent", lambda _self, batch: list(batch))


def _pull_requests_are_not_looked_at_again(patch: Patch) -> None:
    patch.setattr(Premise, "still_wanted", lambda _self, batch, *_: frozenset(r.head for r in batch))


def _the_hold_label_is_not_looked_at_again(patch: Patch) -> None:
    real = Premise.still_wanted
    patch.setattr(Premise, "still_wanted", lambda self, batch, _label, seen: real(self, batch, None, seen))


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


def _but(history: History, **changed: Any) -> History:
    made = copy(history)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


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


def _the_intent_comes_after_the_write(patch: Patch) -> None:
    real = Recorder.append
    late: list[Any] = []

    def append(self: Recorder, kind: Kind, body: Any, blobs: Any = None) -> CommitId:
        if kind is Kind.INTENT:
            late.append(body)
            return CommitId("0" * 40)
        while late:
            real(self, Kind.INTENT, late.pop())
        return real(self, kind, body, blobs)

    patch.setattr(Recorder, "append", append)


def _other_writes_than_intended(patch: Patch) -> None:
    real = Premise._baseline

    def newest(self: Premise, read: Any, wanted: Any) -> Any:
        manifest, verdict = real(self, read, wanted)
        return self._targets.registry.manifest(wanted[0], MAIN) or manifest, verdict

    patch.setattr(Premise, "_baseline", newest)


def _the_baseline_of_now_is_taken_for_the_pinned_one(patch: Patch) -> None:
    real = heads.Examiner.examine

    def examine(self: Any, head: Any) -> Any:
        work, main = real(self, head), self._seen.main
        now = {r: Fill(b.digest) for r, b in main.items() if isinstance(b, Baseline)}
        moved = {r: now[r] for r, j in work.judgements.items() if isinstance(j, Fill) and r in now}
        return work._replace(judgements={**work.judgements, **moved})

    patch.setattr(heads.Examiner, "examine", examine)
    patch.setattr(heads.Examiner, "baselines_needed", lambda self, head: tuple(self.examine(head).judgements))


def _baselines_are_not_verified_again(patch: Patch) -> None:
    real = Premise._baseline

    def unverified(self: Premise, read: Any, wanted: Any) -> Any:
        targets = self._targets
        self._targets = replace(targets, verifier=_Credulous())
        try:
            return real(self, read, wanted)
        finally:
            self._targets = targets

    patch.setattr(Premise, "_baseline", unverified)


class _Credulous:
    def policy(self, *_: Any) -> Digest:
        return POLICY

    def verify(self, *_: Any) -> Verdict:
        return Verdict(Outcome.ACCEPTED, POLICY)


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


def _a_refused_intent_is_ignored(patch: Patch) -> None:
    """The log says that another writer took over; the write is done all the same."""
    real = Recorder.append

    def append(self: Recorder, kind: Kind, body: Any, blobs: Any = None) -> CommitId:
        try:
            return real(self, kind, body, blobs)
        except Fenced:
            return CommitId("0" * 40)

    patch.setattr(Recorder, "append", append)
    patch.setattr(Recorder, "confirm", lambda _: None)  # it would stop the write one step later


def _a_fenced_writer_begins_a_new_epoch(patch: Patch) -> None:
    real = GitLog.append

    def append(self: GitLog, kind: Kind, body: Any, blobs: Any = None) -> Any:
        try:
            return real(self, kind, body, blobs)
        except Fenced:
            self.close()
            self.activate()
            return real(self, kind, body, blobs)

    patch.setattr(GitLog, "append", append)


def _outcomes_are_not_written(patch: Patch) -> None:
    patch.setattr(Applier, "_outcome", lambda *_: None)


def _open_intents_are_left_open(patch: Patch) -> None:
    patch.setattr(Applier, "close_intents", lambda *_: True)


def _an_intent_is_closed_twice(patch: Patch) -> None:
    real = Applier._outcome

    def twice(self: Applier, intent: Any, outcomes: Any) -> None:
        real(self, intent, outcomes)
        real(self, intent, outcomes)

    patch.setattr(Applier, "_outcome", twice)


def _an_unanswered_write_is_called_written(patch: Patch) -> None:
    real = TagWriter._put
    patch.setattr(TagWriter, "_put", lambda self, due: real(self, due)._replace(result=Result.WRITTEN))


def _an_unknown_tag_closes_its_intent(patch: Patch) -> None:
    real = apply.recovered

    def recovered(write: Any, state: Any) -> Any:
        return real(write, Present(write.digest) if isinstance(state, Unknown | Absent) else state)

    patch.setattr(apply, "recovered", recovered)


def _the_snapshot_is_recorded_without_its_tags(patch: Patch) -> None:
    real = parts.split
    patch.setattr(parts, "split", lambda seen: {n: b for n, b in real(seen).items() if not n.startswith("tags.")})


def _a_revived_head_is_not_told(patch: Patch) -> None:
    patch.setattr(History, "revivals", lambda _self: [])


def _every_pass_is_recorded(patch: Patch) -> None:
    real = Recorder.observation

    def observation(self: Recorder, *args: Any) -> Any:
        self.history.last_holds = None
        return real(self, *args)

    patch.setattr(Recorder, "observation", observation)


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


def _bytes_are_not_checked_against_their_digest(patch: Patch) -> None:
    patch.setattr(Digest, "matches", lambda *_: True)


def _tags_that_were_not_confirmed_count_as_written(patch: Patch) -> None:
    real = TagWriter._put_group

    def put_group(self: TagWriter, group: Any) -> Any:
        made, left = real(self, group)
        return [*made, *(Written(due.write, Result.WRITTEN) for due in left)], []

    patch.setattr(TagWriter, "_put_group", put_group)


def _tags_whose_request_was_not_answered_are_sent_again(patch: Patch) -> None:
    real = TagWriter._put_group

    def put_group(self: TagWriter, group: Any) -> Any:
        made, left = real(self, group)
        unsure = {written.write for written in made if written.result is Result.UNCERTAIN}
        return [w for w in made if w.write not in unsure], [*left, *(due for due in group if due.write in unsure)]

    patch.setattr(TagWriter, "_put_group", put_group)


def _a_refused_request_refuses_all_its_tags(patch: Patch) -> None:
    real = TagWriter._put_group

    def put_group(self: TagWriter, group: Any) -> Any:
        made, left = real(self, group)
        refused = not made and all(due.tried for due in left)
        return ([Written(due.write, Result.FAILED) for due in left], []) if refused else (made, left)

    patch.setattr(TagWriter, "_put_group", put_group)


def _a_tag_that_is_refused_by_itself_was_not_made_before(patch: Patch) -> None:
    real = TagWriter._put
    patch.setattr(TagWriter, "_put", lambda self, due: real(self, due._replace(tried=False)))


def _admitted(patch: Patch, change: Callable[[Snapshot], Snapshot]) -> None:
    real = admission.admit
    for module in (planner, observe):
        patch.setattr(module, "admit", lambda seen: real(change(seen)))


def _planned(patch: Patch, change: Callable[[Any], Any]) -> None:
    patch.setattr(passes, "plan", lambda seen, resting: change(planner.plan(seen, resting)))


INSIDE: Final[tuple[tuple[Callable[[Patch], None], int], ...]] = (
    (_tags_are_not_looked_at_again, 1),
    (_pull_requests_are_not_looked_at_again, 1),
    (_the_hold_label_is_not_looked_at_again, 1),
    (_absence_is_always_believed, 2),
    (_a_head_ends_on_half_a_listing, 2),
    (_half_a_listing_is_worked_on, 2),
    (_changed_counts_as_unchanged, 3),
    (_the_first_pull_request_at_a_head_decides, 3),
    (_everything_is_said_to_be_changed, 3),
    (_any_tag_in_place_is_adopted, 3),
    (_the_baseline_of_now_is_taken_for_the_pinned_one, 3),
    (_baselines_are_not_verified_again, 3),
    (_a_refused_baseline_is_pinned, 3),
    (_a_void_release_set_is_believed, 3),
    (_forks_are_admitted, 3),
    (_the_hold_label_is_ignored, 3),
    (_decisions_are_not_pinned, 4),
    (_the_intent_comes_after_the_write, 7),
    (_other_writes_than_intended, 7),
    (_mode_observe_writes, 7),
    (_a_suspended_repository_is_worked_on, 7),
    (_an_intent_is_closed_twice, 7),
    (_an_unanswered_write_is_called_written, 7),
    (_an_unknown_tag_closes_its_intent, 7),
    (_tags_that_were_not_confirmed_count_as_written, 7),
    (_tags_whose_request_was_not_answered_are_sent_again, 7),
    (_a_refused_request_refuses_all_its_tags, 7),
    (_a_tag_that_is_refused_by_itself_was_not_made_before, 7),
    (_a_refused_intent_is_ignored, 8),
    (_a_fenced_writer_begins_a_new_epoch, 8),
    (_the_snapshot_is_recorded_without_its_tags, 12),
    (_a_revived_head_is_not_told, 12),
    (_bytes_are_not_checked_against_their_digest, 3),
    (_a_present_tag_is_filled, 0),
    (_outcomes_are_not_written, 0),
    (_open_intents_are_left_open, 0),
    (_every_pass_is_recorded, 0),
    (_recorded_tags_are_asked_for_again, 0),
    (_the_sweep_sees_nothing, 0),
    (_a_quarantine_is_forgotten_when_planning, 0),
    (_a_quarantined_head_is_filled, 1),
)
