"""Verdicts that were reached before, so that a digest is looked at once per policy and not once per pass."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple

from reconciler.ports import Clock, Purpose
from state.git import CommitId
from state.oci import Digest, Repository
from state.verdict import Outcome, Verdict

VERDICTS_MAX: Final = 10_000
REFUSED_FOR_S: Final = 60.0
"""Evidence may be attached after the image: a refusal is looked at again after this time."""


class Question(NamedTuple):
    """All that a verdict depends on; `policy` covers the authority and every setting."""

    purpose: Purpose
    repository: Repository
    digest: Digest
    source_revision: CommitId | None
    policy: Digest


class Verdicts:
    """The verdicts used last, at most `most`: accepted ones for good, refused ones for `refused_for_s`.

    One may serve several verifiers, one after another or side by side: the policy is part of every question.
    """

    def __init__(self, clock: Clock, *, most: int = VERDICTS_MAX, refused_for_s: float = REFUSED_FOR_S) -> None:
        self._refused_for_s = refused_for_s
        self._clock = clock
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[Question, tuple[Verdict, float]] = OrderedDict()

    def get(self, question: Question) -> Verdict | None:
        """The verdict that still holds."""
        with self._lock:
            if (known := self._known.get(question)) is None:
                return None
            verdict, at_s = known
            if verdict.outcome is not Outcome.ACCEPTED and self._clock.monotonic_s() - at_s >= self._refused_for_s:
                del self._known[question]
                return None
            self._known.move_to_end(question)
            return verdict

    def put(self, question: Question, verdict: Verdict) -> None:
        """Remember a verdict, and let go of the one that was used longest ago."""
        with self._lock:
            self._known[question] = (verdict, self._clock.monotonic_s())
            self._known.move_to_end(question)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
