"""The pull request × component matrix: one row per cell, with its state and why (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Final, NamedTuple

from reconciler.admission import REFUSALS, Head, admit
from reconciler.heads import Examiner, Previewed, Work, previewed
from reconciler.judgement import Fill, Held, Judgement, Take
from reconciler.planner import plan, releasable
from state.canonical import Json
from state.decision import AwaitBuild, Decision, RetagFrom, Wanted
from state.git import CommitId
from state.hold import Reason
from state.observed import Catalogue, How, Inventory, PullRequest, Recorded, Snapshot
from state.oci import Digest, Repository
from state.plan import Hold, Plan


class State(StrEnum):
    """What a cell is."""

    RETAGGED = "retagged"
    """The tag is the baseline, recorded in the log."""
    BUILT = "built"
    """The tag is CI's build, recorded in the log."""
    WAITING = "waiting"
    """CI is to build it."""
    PLANNED = "planned"
    """The next write will make it, or would if the mode allowed it."""
    HELD = "held"
    NOT_PREVIEWED = "not-previewed"
    """Nothing of the pull request is previewed, so there is nothing to do: neither a gap nor a failure."""


DONE: Final = frozenset({State.RETAGGED, State.BUILT, State.NOT_PREVIEWED})
"""What asks for nothing more."""
_OF_THE_RELEASE: Final = frozenset(
    {Reason.RELEASE_UNPROVEN, Reason.RELEASE_REFUSED, Reason.QUARANTINED, Reason.OBSERVE_MODE, Reason.BACKING_OFF}
)
"""Why the release set of a head whose images are all there is not published."""


class Cell(NamedTuple):
    """One row. `component` and `image` are None where the whole head is held before its images are known, and where
    nothing of it is previewed. A row of a release set that is not published has no component either, and the image
    where one of them is why."""

    pr: int
    head: CommitId
    component: str | None
    image: Repository | None
    state: State
    digest: Digest | None
    reason: str
    proven: bool
    drift: bool = False
    """Retagged from a `:main` that has moved on since the branch point."""
    recorded: Digest | None = None
    """What the log has, where the tag was found to read `digest` or, if that is None, to be gone."""
    detail: str = ""
    """What the verifier said, where that is why the cell is held."""
    release: Digest | None = None
    """The head's release set, once it is published."""

    @property
    def of_release_set(self) -> bool:
        """Whether it is about the head's release set, and not about an image."""
        return self.component is None and self.reason in _OF_THE_RELEASE

    def to_json(self) -> dict[str, Json]:
        return {
            "component": self.component,
            "detail": self.detail,
            "digest": self.digest,
            "drift": self.drift,
            "head_sha": self.head,
            "image": self.image,
            "pr": self.pr,
            "proven": self.proven,
            "reason": self.reason,
            "recorded": self.recorded,
            "release": self.release,
            "state": self.state.value,
        }


class Rows(NamedTuple):
    """The rows of one pull request, by component, and what is said of all of them."""

    number: int
    head: CommitId
    cells: tuple[Cell, ...]
    states: frozenset[State]
    reasons: frozenset[str]
    released: bool
    """Every row has a release set."""

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Rows:
        """Of the rows of one pull request; at least one."""
        rows = tuple(sorted(cells, key=lambda c: (c.component or "", c.image or "")))
        states, reasons = frozenset(c.state for c in rows), frozenset(c.reason for c in rows)
        return cls(rows[0].pr, rows[0].head, rows, states, reasons, all(c.release is not None for c in rows))

    @property
    def done(self) -> bool:
        """Nothing is open."""
        return self.states <= DONE


class HeadRows(NamedTuple):
    """The rows of every pull request that has one head, ascending by number. While nothing changes, the same object."""

    head: CommitId
    rows: tuple[Rows, ...]

    @property
    def told(self) -> Rows:
        """The rows of the pull request that speaks for the head.

        That is the lowest number, of those that are admitted if any is, and of those that preview something if any
        does: a stranger's pull request at our head has no say in what is told of the head.
        """
        return min(
            self.rows, key=lambda r: (not r.reasons.isdisjoint(REFUSALS), State.NOT_PREVIEWED in r.states, r.number)
        )


class Matrix:
    """Every open pull request and, where it is admitted, every previewed component."""

    def __init__(self, heads: Iterable[HeadRows] = ()) -> None:
        self.heads: Final = tuple(heads)

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Matrix:
        """Of single rows."""
        by_head: dict[CommitId, dict[int, list[Cell]]] = {}
        for cell in cells:
            by_head.setdefault(cell.head, {}).setdefault(cell.pr, []).append(cell)
        return cls(HeadRows(h, tuple(Rows.of(rows[n]) for n in sorted(rows))) for h, rows in by_head.items())

    @cached_property
    def rows(self) -> tuple[Rows, ...]:
        """By number of the pull request."""
        return tuple(sorted((r for h in self.heads for r in h.rows), key=lambda r: r.number))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """By number, then component."""
        return tuple(chain.from_iterable(r.cells for r in self.rows))


def matrix(
    seen: Snapshot, planned: Plan | None = None, resting: Mapping[CommitId, HeadRows] = MappingProxyType({})
) -> Matrix:
    """The matrix of a snapshot.

    Args:
        planned: what the pass planned, before what `seen` has recorded by now; None plans on `seen`. Its holds are told
            where the gap is still open.
        resting: rows of heads at rest (`reconciler.rest`), which are taken as they are.
    """
    holds = {(h.head, h.repository): h for h in (plan(seen) if planned is None else planned).holds}
    admission = admit(seen)
    examiner = Examiner(seen)
    found: dict[CommitId, HeadRows] = {}
    for head in admission.heads:
        kept = resting.get(head.commit)
        found[head.commit] = _head_rows(seen, head, examiner.examine(head), holds) if kept is None else kept
    for hold in admission.holds:
        cells = (Cell(n, hold.head, None, None, State.HELD, None, hold.reason.value, False) for n in hold.pull_requests)
        before = found[hold.head].rows if hold.head in found else ()
        rows = sorted((*before, *(Rows.of([cell]) for cell in cells)), key=lambda r: r.number)
        found[hold.head] = HeadRows(hold.head, tuple(rows))
    return Matrix(found.values())


def _head_rows(
    seen: Snapshot, head: Head, work: Work, holds: Mapping[tuple[CommitId, Repository | None], Hold]
) -> HeadRows:
    return HeadRows(head.commit, tuple(Rows.of(_rows(seen, pr, work, holds)) for pr in head.pull_requests))


def _rows(
    seen: Snapshot, pr: PullRequest, work: Work, holds: Mapping[tuple[CommitId, Repository | None], Hold]
) -> Iterator[Cell]:
    if work.held is not None:
        yield Cell(pr.number, pr.head, None, None, State.HELD, None, work.held.value, proven=False)
        return
    wanted = _previewed_for(seen, seen.bases.get(pr.base))
    for component in wanted.missing if wanted is not None else ():
        reason = Reason.COMPONENT_UNKNOWN.value
        yield Cell(pr.number, pr.head, component, None, State.HELD, None, reason, proven=False)
    decided = work.decision.images if work.decision is not None else {}
    drifted = _drifted(work.decision)
    # Which component runs an image is not known while the catalogue or the inventory cannot be read.
    components = {r: (r.path,) for r in work.judgements} if wanted is None else wanted.images
    if not components and not (wanted is not None and wanted.missing):
        yield _not_previewed(pr)
    for repository, names in components.items():
        hold = holds.get((pr.head, repository))
        row = _cell(pr, repository, work.judgements[repository], decided.get(repository), hold)
        row = row._replace(drift=repository in drifted, release=seen.released.get(pr.head))
        yield from (row._replace(component=name) for name in names)
    if releasable(seen, work):
        yield from _release_holds(pr, work, holds)


def _not_previewed(pr: PullRequest) -> Cell:
    return Cell(pr.number, pr.head, None, None, State.NOT_PREVIEWED, None, Reason.NOT_PREVIEWED.value, proven=False)


def _previewed_for(seen: Snapshot, tip: object) -> Previewed | None:
    catalogue = seen.catalogues.get(tip) if isinstance(tip, CommitId) else None
    if isinstance(catalogue, Catalogue) and isinstance(seen.inventory, Inventory):
        return previewed(catalogue, seen.inventory)
    return None


def _drifted(decision: Decision | None) -> frozenset[Repository]:
    if decision is None:
        return frozenset()
    moved = {i.repository for record in decision.changes for i in record.images if i.baseline_moved}
    # A faithful baseline (with `main` beside it) has the head's own inputs, however far main has moved on.
    return frozenset(r for r in moved if isinstance(w := decision.images.get(r), RetagFrom) and w.main is None)


def _release_holds(
    pr: PullRequest, work: Work, holds: Mapping[tuple[CommitId, Repository | None], Hold]
) -> Iterator[Cell]:
    """Why a head whose images are all there has no release set."""
    for repository in (None, *work.judgements):
        hold = holds.get((pr.head, repository))
        if hold is not None and hold.reason in _OF_THE_RELEASE:
            state = State.PLANNED if hold.reason is Reason.OBSERVE_MODE else State.HELD
            yield Cell(
                pr.number, pr.head, None, repository, state, None, hold.reason.value, proven=False, detail=hold.detail
            )


def _cell(
    pr: PullRequest, repository: Repository, judgement: Judgement, wanted: Wanted | None, hold: Hold | None
) -> Cell:
    state: State
    digest: Digest | None = None
    recorded: Digest | None = None
    proven = False
    detail = ""
    match judgement:
        case Recorded(found, how, was_proven) | Take(found, how, was_proven):
            state = State.RETAGGED if how is How.RETAGGED else State.BUILT
            digest, proven = found, was_proven
            reason = "inputs-unchanged" if how is How.RETAGGED else "inputs-changed"
        case Fill(baseline):
            digest = baseline
            kept = hold is not None and hold.reason in (Reason.BACKING_OFF, Reason.WRITE_BUDGET_SPENT)
            state = State.HELD if kept else State.PLANNED
            observing = hold is not None and hold.reason is Reason.OBSERVE_MODE
            reason = hold.reason.value if hold is not None and (kept or observing) else "inputs-unchanged"
        case Held(held, found_digest, recorded, detail):
            waits = held is Reason.AWAITS_BUILD or (held is Reason.TAG_UNKNOWN and isinstance(wanted, AwaitBuild))
            state = State.WAITING if waits else State.HELD
            digest, reason = found_digest, held.value
    return Cell(pr.number, pr.head, None, repository, state, digest, reason, proven, recorded=recorded, detail=detail)
