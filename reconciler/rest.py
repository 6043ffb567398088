"""Heads at rest: what one pass found about a head of which nothing is open, kept while nothing about it changes (pure).

Most heads of most passes are complete, and were so in the pass before. These are not examined again, so that a pass
costs what changed and not what exists. What is kept is what examining would give: a pass that is planned again from the
log keeps nothing, and comes to the same plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from reconciler.admission import admit
from reconciler.heads import Examiner, Previewed, Work
from reconciler.matrix import HeadRows, Matrix
from reconciler.planner import releasable
from state.git import CommitId
from state.observed import Policy, Recorded, Snapshot


class _Kept(NamedTuple):
    version: int
    """Of what the log says of the head (`History.versions`)."""
    wanted: Previewed
    work: Work
    rows: HeadRows


class Rest:
    """What the passes over one repository know of heads at rest. A cache: losing it costs time, never a decision."""

    def __init__(self) -> None:
        self._kept: dict[CommitId, _Kept] = {}
        self._policy: Policy | None = None

    def works(self, seen: Snapshot, versions: Mapping[CommitId, int]) -> Mapping[CommitId, Work]:
        """The heads of `seen` that are still at rest by their pull requests, the trusted refs and the log.

        Args:
            versions: of the log that `seen` shows.
        """
        if seen.policy != self._policy:
            self._kept, self._policy = {}, seen.policy
        examiner, found = Examiner(seen), {}
        equal: dict[tuple[int, int], bool] = {}
        for head in admit(seen).heads:
            kept = self._kept.get(head.commit)
            if kept is None or kept.version != versions.get(head.commit) or kept.work.head != head:
                continue
            wanted, unread = examiner.wanted(head)
            if unread is not None:
                continue
            # Heads of one base want the same images, by one object that each examiner keeps as long as it lives.
            pair = id(wanted), id(kept.wanted)
            if pair not in equal:
                equal[pair] = wanted == kept.wanted
            if equal[pair]:
                found[head.commit] = kept.work
        return found

    def rows(
        self, seen: Snapshot, works: Mapping[CommitId, Work], versions: Mapping[CommitId, int]
    ) -> Mapping[CommitId, HeadRows]:
        """The rows of those heads of `works` that nothing has happened to since, neither in the log nor by a read."""
        disturbed = Examiner(seen, works).disturbed
        kept = {head: self._kept[head] for head in works if head not in disturbed}
        return {head: k.rows for head, k in kept.items() if k.version == versions.get(head)}

    def keep(
        self, seen: Snapshot, matrix: Matrix, rows: Mapping[CommitId, HeadRows], versions: Mapping[CommitId, int]
    ) -> None:
        """Take up which heads are at rest after a pass.

        Args:
            seen: with what was recorded by now, which is the log at `versions`.
            matrix: made of `seen`, with `rows` taken as they are.
        """
        examiner, now = Examiner(seen), {}
        shown = {h.head: h for h in matrix.heads}
        for head in admit(seen).heads:
            if head.commit in rows:
                now[head.commit] = self._kept[head.commit]
                continue
            work, own = examiner.examine(head), shown[head.commit]
            if _at_rest(seen, examiner, work) and len(own.rows) == len(head.pull_requests):
                now[head.commit] = _Kept(versions[head.commit], examiner.wanted(head)[0], work, own)
        self._kept = now


def _at_rest(seen: Snapshot, examiner: Examiner, work: Work) -> bool:
    """Whether nothing is open, whatever is read: no comparison, no baseline, no action, no hold, no release set."""
    return (
        # Of several bases each may come to show other components, which what they want together does not tell.
        len({pr.base for pr in work.head.pull_requests}) == 1
        and work.unread is None
        and work.decision is not None
        and work.pin is None
        and not work.missing
        and all(isinstance(j, Recorded) for j in work.judgements.values())
        and not releasable(seen, work)
        and not examiner.changes_needed(work.head)
        and not examiner.baselines_needed(work.head)
    )
