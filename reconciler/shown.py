"""What a pass leaves for those who look: one immutable value, so that a reader on another thread sees one pass whole.

Nothing in it was read for the sake of showing it, and nothing of a pull request but its number and its head is in it.
What a stranger may have had a hand in are the texts of errors and verdicts (`problems`, `Cell.detail`, `told`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from reconciler.looking import Look, Rules
from reconciler.matrix import Matrix
from reconciler.publishing.publisher import Publisher
from state.git import CommitId
from state.history import History, Trace
from state.observed import Mode
from state.oci import Digest, Repository
from state.pin_plan import PinPlan
from state.publishing import LoggedMarker, Publishing, Standing

PROBLEMS_MAX: Final = 100
TEXT_MAX_CHARS: Final = 500
APPROVALS_MAX: Final = 500
PROPOSALS_MAX: Final = 1000
"""The newest that are shown."""


class Evidence(NamedTuple):
    """One artifact that is attached to a digest, as the log records it."""

    predicate_type: str
    manifest: Digest


class Planned(NamedTuple):
    """A pin plan that holds now, or why there is none."""

    pull_request: int
    target: str
    plan: PinPlan | None
    digest: Digest | None
    why: str = ""


class Approval(NamedTuple):
    """A recorded marker, and what became of it."""

    marker: LoggedMarker
    pull_request: int | None
    target: str | None
    revoked_by: CommitId | None
    consumed_by: CommitId | None
    code: str = ""
    told: str = ""
    """Why it does not count now; both empty where it does, or was not judged."""


class Published(NamedTuple):
    """Plans, approvals and GitOps pull requests, newest first; of each the newest that are bounded above."""

    plans: tuple[Planned, ...] = ()
    approvals: tuple[Approval, ...] = ()
    proposals: tuple[Standing, ...] = ()
    holding: frozenset[Digest] = frozenset()
    """The digests of `plans`."""


class Shown(NamedTuple):
    """One pass over one repository."""

    pass_id: str
    at: datetime
    """When it ended."""
    complete: bool
    """Whether the forge's listing was."""
    complete_at: datetime | None
    """When the last pass ended that was complete."""
    mode: Mode
    suspended: bool
    matrix: Matrix
    problems: tuple[str, ...]
    """What could not be read, the first of them."""
    problem_count: int
    writes_left: int
    """Tag writes that the hour still allows."""
    max_writes_per_hour: int
    log_sequence: int
    release_sets: Repository | None
    decided_at: Mapping[CommitId, str]
    traces: Mapping[CommitId, Trace]
    """Of the heads in `cells`, where the log speaks of them."""
    seen_in: Mapping[int, CommitId]
    """Of the pull requests in `cells`: the observation that recorded each as it is now."""
    recorded_at: Callable[[Repository, CommitId], str | None]
    """When the log recorded a tag. Of all that is here this alone looks into what the passes go on writing, one key at
    a time, which a dict answers in one step: a copy would cost every pass as much as it has cells."""
    evidence: Mapping[tuple[Repository, Digest], tuple[Evidence, ...]]
    published: Published


class Shower:
    """Makes these values for one repository, on the thread of its passes."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._complete_at: datetime | None = None
        self._attached = -1
        self._evidence: Mapping[tuple[Repository, Digest], tuple[Evidence, ...]] = {}

    def show(
        self,
        pass_id: str,
        at: datetime,
        rules: Rules,
        look: Look,
        matrix: Matrix,
        *,
        log_sequence: int,
        publisher: Publisher | None,
    ) -> Shown:
        """What this pass leaves, which ended at `at`."""
        seen, problems = look.snapshot, look.problems
        history = self._history
        if seen.listing.complete:
            self._complete_at = at
        heads = [h.head for h in matrix.heads]
        numbers = [rows.number for rows in matrix.rows]
        return Shown(
            pass_id,
            at,
            seen.listing.complete,
            self._complete_at,
            rules.mode,
            rules.suspended,
            matrix,
            tuple(str(p)[:TEXT_MAX_CHARS] for p in problems[:PROBLEMS_MAX]),
            len(problems),
            max(0, rules.max_writes_per_hour - history.writes_since(at - timedelta(hours=1))),
            rules.max_writes_per_hour,
            log_sequence,
            rules.policy.release_sets,
            {h: history.decided_at[h] for h in heads if h in history.decided_at},
            {h: history.traces[h] for h in heads if h in history.traces},
            {n: history.seen_in[n] for n in numbers if n in history.seen_in},
            lambda image, head: history.recorded_at.get((image, head)),
            self._attachments(),
            _published(history.publishing, publisher),
        )

    def _attachments(self) -> Mapping[tuple[Repository, Digest], tuple[Evidence, ...]]:
        """By image and digest; made anew only where something was attached, since it is of every digest there was."""
        attached = self._history.attached
        if len(attached) != self._attached:
            found: dict[tuple[Repository, Digest], list[Evidence]] = {}
            for (repository, subject, predicate_type, _), manifest in attached.items():
                found.setdefault((repository, subject), []).append(Evidence(predicate_type[:TEXT_MAX_CHARS], manifest))
            self._evidence = {at: tuple(rows) for at, rows in found.items()}
            self._attached = len(attached)
        return self._evidence


def _published(publishing: Publishing, publisher: Publisher | None) -> Published:
    if publisher is None:
        return Published()
    planning = publisher.planning
    plans = [
        Planned(number, target, plan, publishing.newest_plan.get((number, target)))
        for (number, target), plan in (planning.now.items() if planning is not None else ())
    ]
    plans += (
        Planned(number, target, None, None, why[:TEXT_MAX_CHARS])
        for (number, target), why in (planning.problems.items() if planning is not None else ())
    )
    plans.sort(key=lambda p: (-p.pull_request, p.target))
    proposals = list(publishing.proposals.values())[-PROPOSALS_MAX:][::-1]
    holding = frozenset(plan.digest for plan in plans if plan.digest is not None)
    return Published(tuple(plans), tuple(_approvals(publishing, publisher)), tuple(proposals), holding)


def _approvals(publishing: Publishing, publisher: Publisher) -> Iterable[Approval]:
    refused = publisher.proposer.refused if publisher.proposer is not None else {}
    for marker in list(publishing.markers.values())[-APPROVALS_MAX:][::-1]:
        plan = publishing.plans.get(marker.plan) if marker.plan is not None else None
        told = refused.get(marker.id)
        yield Approval(
            marker,
            plan.pull_request if plan is not None else None,
            plan.target.name if plan is not None else None,
            publishing.revoked.get(marker.id),
            publishing.consumed.get(marker.id),
            told.code.value if told is not None else "",
            told.text[:TEXT_MAX_CHARS] if told is not None else "",
        )
