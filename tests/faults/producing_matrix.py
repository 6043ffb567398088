"""`ameide publish` ends before each of its steps outside, as by kill -9, and is run again.

A step is whatever is sent: an upload, a manifest, an attachment, a tag. Wherever it ended, no tag names an image
without its evidence, and the same command comes to the same end: one digest behind the tags, each piece of evidence
once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from reconciler.ports import Purpose
from reconciler.producing.deciding import Channel
from reconciler.producing.records import State
from state.git import CommitId
from state.statement import COSIGN_SIGNATURE, SLSA_PROVENANCE_V1, SPDX
from state.verdict import Outcome
from tests.fixtures.producing import Yard
from tests.fixtures.shop import Death

EVIDENCE: Final = sorted([COSIGN_SIGNATURE, SLSA_PROVENANCE_V1, SPDX])
FLOOR: Final = 15
"""A run came to 18 steps when this was written; far fewer would mean that they are not seen any more."""


class Matrix:
    """One commit of main after another, each of which changes one image."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._count = 0
        yard.publishes(yard.main, Channel.MAIN)

    def whole(self) -> int:
        """How many steps a run has that nobody ends."""
        steps = self._dies(self._next(), None)
        assert steps >= FLOOR
        return steps

    def cut(self, points: Iterable[int]) -> int:
        """End a run before each of these steps (from 1) and run it again; how many were ended."""
        ended = 0
        for at in points:
            head = self._next()
            builds = self._yard.builds()
            self._dies(head, at)
            self._nothing_half_done(head)
            rows = self._yard.publishes(head, Channel.MAIN)
            assert rows["web"].state in (State.PUBLISHED, State.PRESENT), (at, rows["web"])
            assert self._yard.builds() == builds + 1, at  # what was built is not built again
            self._all_done(head)
            ended += 1
        return ended

    def _next(self) -> CommitId:
        self._count += 1
        return self._yard.on_main({"src/web/main.txt": f"{self._count}\n"})

    def _dies(self, head: CommitId, at: int | None) -> int:
        came_to = 0

        def step() -> bool:
            nonlocal came_to
            came_to += 1
            if came_to == at:
                raise Death
            return False

        try:
            self._yard.publishes(head, Channel.MAIN, stopping=step)
        except Death:
            assert came_to == at
        else:
            assert at is None, f"no step {at}"
        return came_to

    def _nothing_half_done(self, head: CommitId) -> None:
        """Whoever asks for a tag gets an image that is proven, whenever they ask."""
        for tag in (head, "main"):
            found = self._yard.tag("web", tag)
            if found is not None:
                verdict = self._yard.verdict("web", found.digest, Purpose.BASELINE, None)
                assert verdict.outcome is Outcome.ACCEPTED, tag
                assert self._yard.referrers("web", found.digest) == EVIDENCE, tag

    def _all_done(self, head: CommitId) -> None:
        made = [self._yard.tag("web", tag) for tag in (head, "main")]
        assert made[0] is not None
        assert made[0] == made[1]
        assert self._yard.referrers("web", made[0].digest) == EVIDENCE
        assert self._yard.verdict("web", made[0].digest, Purpose.BASELINE, head).outcome is Outcome.ACCEPTED
