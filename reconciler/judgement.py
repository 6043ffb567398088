"""One image's tag at one head: done, to be filled, to be taken, or held (pure)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from state.decision import RetagFrom, Unresolved, Wanted
from state.hold import Reason
from state.observed import Absent, How, Present, Recorded, TagState, Unknown
from state.oci import Digest
from state.verdict import Outcome


class Fill(NamedTuple):
    """The tag is missing and shall be the baseline."""

    baseline: Digest


class Take(NamedTuple):
    """The tag is in place and counts; the log does not say so yet."""

    digest: Digest
    how: How
    proven: bool
    replaces: Digest | None = None
    """The recorded digest, where CI has built the head again."""


class Held(NamedTuple):
    """Nothing may be done, and why. `digest` is what was found, `recorded` what the log has, where there is such.

    `detail` is what the verifier said, where that is the reason.
    """

    reason: Reason
    digest: Digest | None = None
    recorded: Digest | None = None
    detail: str = ""


Judgement: TypeAlias = Recorded | Fill | Take | Held
"""`Recorded` is a settled record, which needs nothing: most tags are one, so nothing is made for them."""


def judge(wanted: Wanted, state: TagState | None) -> Judgement:
    """What to do about a tag that the log does not record; `state` None is one that was not read."""
    if isinstance(wanted, Unresolved):
        return Held(wanted.reason)
    match state:
        case None:
            return Held(Reason.NOT_YET_READ)
        case Unknown():
            return Held(Reason.TAG_UNKNOWN)
        case Absent():
            return Fill(wanted.baseline) if isinstance(wanted, RetagFrom) else Held(Reason.AWAITS_BUILD)
        case Present(digest, verdict):
            proven = verdict is not None and verdict.outcome is Outcome.ACCEPTED
            refused = verdict is not None and verdict.outcome is Outcome.REFUSED
            said = verdict.reason if verdict is not None else ""
            if isinstance(wanted, RetagFrom):
                # The decided baseline counts unless it is refused now; any other digest needs proof of its own.
                if digest != wanted.baseline and not proven:
                    return Held(Reason.FOUND_UNPROVEN, digest, detail=said)
                if refused:
                    return Held(Reason.BASELINE_REFUSED, digest, detail=said)
                return Take(digest, How.RETAGGED, proven)
            if verdict is None:
                return Held(Reason.FOUND_UNPROVEN, digest)
            if refused:
                return Held(Reason.BUILD_REFUSED, digest, detail=said)
            return Take(digest, How.BUILT, proven)


def judge_recorded(done: Recorded, state: TagState | None, *, overdue: bool, released: bool) -> Judgement:
    """What to do about a recorded tag; `overdue` is an own write that no read has shown in time.

    A settled tag is read only by the slow sweep. CI may build a head again: such a tag counts if it is proven anew, as
    long as no release set says what the head is (design §5).
    """
    match state:
        case Present(digest, _) if digest == done.digest:
            return done if done.settled else Take(digest, done.how, done.proven)
        case Present(digest, verdict):
            again = done.how is How.BUILT and not released
            if again and verdict is not None and verdict.outcome is Outcome.ACCEPTED:
                return Take(digest, How.BUILT, True, done.digest)
            return Held(Reason.TAG_CONFLICT, digest, done.digest)
        case Absent() if done.settled or overdue:
            return Held(Reason.TAG_LOST, None, done.digest)
        case _:
            return done if done.settled else Held(Reason.TAG_SETTLING, done.digest)
