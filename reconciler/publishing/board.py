"""Plans as they are served to approvers: what the last pass left, read by other threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from reconciler.approval.codes import Code, explained
from reconciler.approval.served import CURRENT_MAX_CHARS, Judged, Missing, ServedPlan
from reconciler.matrix import DONE, Matrix
from reconciler.publishing.planning import Planning
from reconciler.publishing.proposing import Told
from state.oci import Digest
from state.pin_plan import PinPlan
from state.publishing import ProposalState, Publishing

REASONS_MAX: Final = 200
APPROVALS_MAX: Final = 50
"""Of one plan that are told, the newest."""


class _Shown(NamedTuple):
    plans: Mapping[Digest, ServedPlan]
    newest: Mapping[tuple[int, str], ServedPlan]
    missing: Mapping[int, tuple[str, ...]]
    """Pull request → what its head still lacks."""
    targets: frozenset[str]


class Board:
    """What one repository serves; replaced as a whole, so that a reader sees one pass."""

    def __init__(self) -> None:
        self._shown: _Shown | None = None

    def show(
        self,
        planning: Planning,
        publishing: Publishing,
        policy: Digest,
        matrix: Matrix,
        refused: Mapping[str, Told],
    ) -> None:
        """Serve this from now on. `refused` says why approvals have not led to a pull request."""
        bases = {**publishing.plan_bases, **planning.approved_bases}
        approvals: dict[Digest, list[Judged]] = {}
        used = _used_for_nothing(publishing)
        for digest in publishing.plans:
            ids = publishing.of_plan(digest)[-APPROVALS_MAX:]
            approvals[digest] = [_judged(marker, refused.get(marker) or used.get(marker)) for marker in ids]
        plans = {
            digest: ServedPlan(
                plan,
                bases[digest],
                policy,
                _current(planning, digest, plan),
                tuple(approvals[digest]),
            )
            for digest, plan in publishing.plans.items()
        }
        newest = {at: plans[digest] for at, plan in planning.now.items() if (digest := plan.digest()) in plans}
        missing: dict[int, list[str]] = {}
        for rows in matrix.rows:
            open_cells = () if rows.done else [cell for cell in rows.cells if cell.state not in DONE]
            missing[rows.number] = [
                f"{cell.component or 'the whole head'}: {cell.reason}" for cell in open_cells[:REASONS_MAX]
            ]
        for (number, target), why in planning.problems.items():
            missing.setdefault(number, []).append(f"target {target}: {_spelt(why)}")
        told = {number: tuple(reasons) for number, reasons in missing.items()}
        self._shown = _Shown(plans, newest, told, frozenset(planning.targets))

    def by_digest(self, digest: Digest) -> ServedPlan | None:
        """A plan that was recorded; None if there is none."""
        return None if self._shown is None else self._shown.plans.get(digest)

    def newest(self, pull_request: int, target: str) -> ServedPlan | Missing | None:
        """The plan that holds now for a pull request, or what is missing; None if there is no such target."""
        shown = self._shown
        if shown is None:  # which targets there are is not known yet, either
            return Missing(("the process has just started: no pass has ended yet",))
        if target not in shown.targets:
            return None
        if (found := shown.newest.get((pull_request, target))) is not None:
            return found
        if pull_request not in shown.missing:
            return Missing((f"no open pull request #{pull_request} was seen yet",))
        return Missing(shown.missing[pull_request] or ("its release set is not published yet",))


def _used_for_nothing(publishing: Publishing) -> Mapping[str, Told]:
    """Approvals that were consumed by a publish that then was not carried out, and why."""
    return {
        marker: Told(Code.ALREADY_CONSUMED, explained(Code.ALREADY_CONSUMED, f"nothing was opened: {standing.why}"))
        for standing in publishing.proposals.values()
        if standing.state is ProposalState.DROPPED
        for marker in standing.proposal.approvals
    }


def _judged(marker: str, told: Told | None) -> Judged:
    return Judged(marker) if told is None else Judged(marker, told.code.value, told.text)


def _current(planning: Planning, digest: Digest, plan: PinPlan) -> tuple[str | None, ...]:
    known = planning.current.get(digest, {})
    values = [known.get((e.file, e.key)) for e in plan.edits]
    return tuple(None if value is None else _spelt(value)[:CURRENT_MAX_CHARS] for value in values)


def _spelt(text: str) -> str:
    """As it can be written: a file may hold half a character, and has no way to keep its plan from being served."""
    return text.encode(errors="backslashreplace").decode()


class Boards:
    """Implements `approval.served.Plans` for every repository of a process, by configured name."""

    def __init__(self, boards: Mapping[str, Callable[[], Board | None]]) -> None:
        """A board is None until its repository was opened."""
        self._boards = dict(boards)

    def by_digest(self, digest: Digest) -> ServedPlan | None:
        for board in (find() for find in self._boards.values()):
            if board is not None and (found := board.by_digest(digest)) is not None:
                return found
        return None

    def newest(self, repository: str, pull_request: int, target: str) -> ServedPlan | Missing | None:
        if (find := self._boards.get(repository)) is None:
            return None
        board = find()
        return (
            Missing(("the repository could not be opened yet",))
            if board is None
            else board.newest(pull_request, target)
        )
