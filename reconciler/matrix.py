"""The pull request × component matrix: one row per cell, with its state and why (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from reconciler.admission import REFUSALS, admit
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
    {Reason.RELEASE_UNPROVEN, Reason.RELEASE_REFUSED, Reason.OBSERVE_MODE, Reason.BACKING_OFF}
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


def matrix(seen: Snapshot, planned: Plan | None = None) -> tuple[Cell, ...]:
    """Every open pull request and, where it is admitted, every previewed component; by number, then component.

    Args:
        planned: what the pass planned, before what `seen` has recorded by now; None plans on `seen`. Its holds are told
            where the gap is still open.
    """
    holds = {(h.head, h.repository): h for h in (plan(seen) if planned is None else planned).holds}
    admission = admit(seen)
    cells = [
        Cell(n, hold.head, None, None, State.HELD, None, hold.reason.value, proven=False)
        for hold in admission.holds
        for n in hold.pull_requests
    ]
    examiner = Examiner(seen)
    for head in admission.heads:
        work = examiner.examine(head)
        for pr in head.pull_requests:
            if work.held is not None:
                cells.append(Cell(pr.number, pr.head, None, None, State.HELD, None, work.held.value, proven=False))
                continue
            wanted = _previewed_for(seen, seen.bases.get(pr.base))
            for component in wanted.missing if wanted is not None else ():
                reason = Reason.COMPONENT_UNKNOWN.value
                cells.append(Cell(pr.number, pr.head, component, None, State.HELD, None, reason, proven=False))
            decided = work.decision.images if work.decision is not None else {}
            drifted = _drifted(work.decision)
            # Which component runs an image is not known while the catalogue or the inventory cannot be read.
            components = {r: (r.path,) for r in work.judgements} if wanted is None else wanted.images
            if not components and not (wanted is not None and wanted.missing):
                cells.append(_not_previewed(pr))
            for repository, names in components.items():
                hold = holds.get((pr.head, repository))
                row = _cell(pr, repository, work.judgements[repository], decided.get(repository), hold)
                row = row._replace(drift=repository in drifted, release=seen.released.get(pr.head))
                cells += (row._replace(component=name) for name in names)
            if releasable(seen, work):
                cells += _release_holds(pr, work, holds)
    return tuple(sorted(cells, key=lambda c: (c.pr, c.component or "", c.image or "")))


def heads_of(cells: tuple[Cell, ...]) -> Iterator[tuple[CommitId, tuple[Cell, ...]]]:
    """The cells of each head, once per head, as one of its pull requests has them.

    That is the lowest number, of those that are admitted if any is, and of those that preview something if any does:
    a stranger's pull request at our head has no say in what is told of the head.
    """
    by_head: dict[CommitId, list[Cell]] = {}
    for cell in cells:
        by_head.setdefault(cell.head, []).append(cell)
    for head, rows in by_head.items():
        first = min(rows, key=lambda c: (c.reason in REFUSALS, c.state is State.NOT_PREVIEWED, c.pr)).pr
        yield head, tuple(c for c in rows if c.pr == first)


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
