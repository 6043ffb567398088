"""What a pass left, in numbers of a closed set: heads by state, images whose baseline is not `:main` (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from enum import StrEnum

from reconciler.matrix import DONE, HeadRows, Matrix, State
from state.decision import Decision, RetagFrom
from state.git import CommitId


class HeadState(StrEnum):
    """Where one head stands: the first of these that is true of any of its cells."""

    QUARANTINED = "quarantined"
    """A recorded tag of it was moved or removed."""
    HELD = "held"
    """Something of it is held."""
    WAITING = "waiting"
    """CI is to build something of it."""
    PLANNED = "planned"
    """The next write makes what it lacks, or would if the mode allowed it."""
    COMPLETE = "complete"
    NOT_PREVIEWED = "not-previewed"
    """Nothing of it is previewed."""


class Drift(StrEnum):
    """Why an unchanged image of an open head is not what `:main` is (design §3, Baseline)."""

    MAIN_MOVED = "main-moved"
    """With `baseline: main`: retagged from a `:main` that had moved on since the branch point."""
    FAITHFUL = "faithful"
    """With `baseline: faithful`: retagged from an older build of the head's own inputs, as recorded beside `:main`."""


def head_states(matrix: Matrix, quarantined: Container[CommitId]) -> dict[CommitId, HeadState]:
    """Each head of the matrix with its state."""
    return {h.head: _state(h.told.states, h.head in quarantined) for h in matrix.heads}


def _state(found: frozenset[State], quarantined: bool) -> HeadState:
    if quarantined:
        return HeadState.QUARANTINED
    if State.HELD in found:
        return HeadState.HELD
    if State.WAITING in found:
        return HeadState.WAITING
    if not found <= DONE:
        return HeadState.PLANNED
    return HeadState.NOT_PREVIEWED if found == {State.NOT_PREVIEWED} else HeadState.COMPLETE


def drift(head: HeadRows, decision: Decision | None) -> Counter[Drift]:
    """Images of a head in the matrix, each once, whose decision names another baseline than `:main` was."""
    found: Counter[Drift] = Counter()
    for image, moved in {(c.image, c.drift) for rows in head.rows for c in rows.cells if c.image is not None}:
        decided = decision.images.get(image) if decision is not None else None
        if moved:
            found[Drift.MAIN_MOVED] += 1
        elif isinstance(decided, RetagFrom) and decided.main not in {None, decided.baseline}:
            found[Drift.FAITHFUL] += 1
    return found
