"""What applies plans, and what is written to the log, broken on purpose. `mutations` has the list of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from reconciler import apply
from reconciler.absence import MAIN
from reconciler.apply import Applier
from reconciler.premise import Premise
from reconciler.record import Recorder
from reconciler.tag_writes import TagWriter, Written
from state import parts
from state.entry import Kind
from state.errors import Fenced
from state.git import CommitId
from state.history import History
from state.log import GitLog
from state.observed import Absent, Present, Unknown
from state.oci import Digest
from state.verdict import Outcome, Verdict
from state.writes import Result
from tests.simulation.ports import POLICY

Patch = pytest.MonkeyPatch


def _tags_are_not_looked_at_again(patch: Patch) -> None:
    patch.setattr(Premise, "still_absent", lambda _self, batch: list(batch))


def _pull_requests_are_not_looked_at_again(patch: Patch) -> None:
    patch.setattr(Premise, "still_wanted", lambda _self, batch, *_: frozenset(r.head for r in batch))


def _the_hold_label_is_not_looked_at_again(patch: Patch) -> None:
    real = Premise.still_wanted
    patch.setattr(Premise, "still_wanted", lambda self, batch, _label, seen: real(self, batch, None, seen))


def _other_writes_than_intended(patch: Patch) -> None:
    real = Premise._baseline

    def newest(self: Premise, read: Any, wanted: Any) -> Any:
        manifest, verdict = real(self, read, wanted)
        return self._targets.registry.manifest(wanted[0], MAIN) or manifest, verdict

    patch.setattr(Premise, "_baseline", newest)


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


def _bytes_are_not_checked_against_their_digest(patch: Patch) -> None:
    patch.setattr(Digest, "matches", lambda *_: True)


def _an_unanswered_write_is_called_written(patch: Patch) -> None:
    real = TagWriter._put
    patch.setattr(TagWriter, "_put", lambda self, due: real(self, due)._replace(result=Result.WRITTEN))


def _an_unknown_tag_closes_its_intent(patch: Patch) -> None:
    real = apply.recovered

    def recovered(write: Any, state: Any) -> Any:
        return real(write, Present(write.digest) if isinstance(state, Unknown | Absent) else state)

    patch.setattr(apply, "recovered", recovered)


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


def _a_request_that_confirms_nothing_made_nothing(patch: Patch) -> None:
    real = TagWriter._put_group

    def put_group(self: TagWriter, group: Any) -> Any:
        made, left = real(self, group)
        return made, left if made else list(group)

    patch.setattr(TagWriter, "_put_group", put_group)


def _a_tag_that_is_refused_by_itself_was_not_made_before(patch: Patch) -> None:
    real = TagWriter._put
    patch.setattr(TagWriter, "_put", lambda self, due: real(self, due._replace(tried=False)))


def _open_intents_are_left_open(patch: Patch) -> None:
    patch.setattr(Applier, "close_intents", lambda *_: True)


# --- the log


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


def _outcomes_are_not_written(patch: Patch) -> None:
    patch.setattr(Applier, "_outcome", lambda *_: None)


def _an_intent_is_closed_twice(patch: Patch) -> None:
    real = Applier._outcome

    def twice(self: Applier, intent: Any, outcomes: Any) -> None:
        real(self, intent, outcomes)
        real(self, intent, outcomes)

    patch.setattr(Applier, "_outcome", twice)


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


APPLYING: Final[tuple[tuple[Callable[[Patch], None], int], ...]] = (
    (_tags_are_not_looked_at_again, 1),
    (_pull_requests_are_not_looked_at_again, 1),
    (_the_hold_label_is_not_looked_at_again, 1),
    (_baselines_are_not_verified_again, 3),
    (_bytes_are_not_checked_against_their_digest, 3),
    (_other_writes_than_intended, 7),
    (_an_unanswered_write_is_called_written, 7),
    (_an_unknown_tag_closes_its_intent, 7),
    (_tags_that_were_not_confirmed_count_as_written, 7),
    (_tags_whose_request_was_not_answered_are_sent_again, 7),
    (_a_refused_request_refuses_all_its_tags, 7),
    (_a_request_that_confirms_nothing_made_nothing, 7),
    (_a_tag_that_is_refused_by_itself_was_not_made_before, 7),
    (_the_intent_comes_after_the_write, 7),
    (_an_intent_is_closed_twice, 7),
    (_a_refused_intent_is_ignored, 8),
    (_a_fenced_writer_begins_a_new_epoch, 8),
    (_the_snapshot_is_recorded_without_its_tags, 12),
    (_a_revived_head_is_not_told, 12),
    (_open_intents_are_left_open, 0),
    (_outcomes_are_not_written, 0),
    (_every_pass_is_recorded, 0),
)
