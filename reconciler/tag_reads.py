"""Tags and their evidence: what was never read, what is waited for, what the sweep looks at, what is to be released.

What the log records is output, not memory: it is asked for again only by the slow, budgeted sweep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.admission import Head
from reconciler.heads import Examiner
from reconciler.judgement import Held
from reconciler.looking import Look, Rules, Sources, each, settled
from reconciler.planner import releasable
from reconciler.ports import Purpose
from reconciler.sweeping import Sweep
from state.decision import AwaitBuild, RetagFrom
from state.git import CommitId
from state.history import Cell, History
from state.hold import Reason
from state.observed import Absent, How, Present, TagState, Unknown
from state.oci import Digest, Tag
from state.verdict import Verdict


@dataclass(slots=True)
class _Poll:
    state: TagState
    due_s: float
    wait_s: float


class TagReads:
    """Reads the tags of one repository's heads, pass after pass. Keeps only when to ask again."""

    def __init__(self, sources: Sources, history: History) -> None:
        self._sources = sources
        self._history = history
        self._polls: dict[Cell, _Poll] = {}
        self._without_release: set[CommitId] = set()
        """Heads that were looked up among the release sets: their tags are read one by one from then on."""
        self._sweep = Sweep(history, sources.random.uniform)

    def forget(self, alive: set[CommitId]) -> None:
        """Let go of heads that no open pull request has any more."""
        self._polls = {cell: poll for cell, poll in self._polls.items() if cell[1] in alive}
        self._without_release &= alive

    def read(self, look: Look, heads: Sequence[Head], rules: Rules, hints: frozenset[int]) -> None:
        now = self._sources.clock.monotonic_s()
        examiner = Examiner(look.snapshot, look.resting)
        tags: dict[Cell, TagState] = {}
        fresh: list[Cell] = []
        again: list[tuple[float, Cell]] = []
        wanted: dict[Cell, RetagFrom | AwaitBuild] = {}
        for head in heads:
            if examiner.rests(head.commit):
                continue
            work = examiner.examine(head)
            hinted = not hints.isdisjoint(head.numbers)
            for repository, judgement in work.judgements.items():
                if not isinstance(judgement, Held) or judgement.reason not in (
                    Reason.NOT_YET_READ,
                    Reason.TAG_SETTLING,
                ):
                    continue
                cell = (repository, head.commit)
                if work.decision is not None:
                    want = work.decision.images.get(repository)
                    if isinstance(want, RetagFrom | AwaitBuild):
                        wanted[cell] = want
                poll = self._polls.get(cell)
                if poll is None:
                    fresh.append(cell)
                elif hinted or now >= poll.due_s:
                    again.append((-math.inf if hinted else poll.due_s, cell))
                if poll is not None:
                    tags[cell] = poll.state  # Until it is read again, if its turn comes in this pass.
        budget = rules.tag_reads_per_pass
        released, asked = self._released(look, fresh, budget)
        cells = [cell for cell in fresh if cell in released and cell in wanted]
        told = set(cells)
        recorded = self._history.recorded
        fresh = [c for c in fresh if c not in told and (c in recorded or c[1] in self._without_release)]
        due = _fair(fresh, [cell for _, cell in sorted(again)], max(0, budget - asked))
        found = each(self._sources, "reading tags", lambda cell: self._tag(look, cell, wanted.get(cell)), due)
        for cell, state in zip(due, found, strict=True):
            tags[cell] = self._polled(cell, settled(look, state), wanted.get(cell), rules, now)
        known = each(self._sources, "verifying", lambda cell: self._verified(cell, released[cell], wanted[cell]), cells)
        for cell, verified in zip(cells, known, strict=True):
            tags[cell] = settled(look, verified)
        look.snapshot = replace(look.snapshot, tags=tags)

    def _released(self, look: Look, fresh: list[Cell], budget: int) -> tuple[dict[Cell, Digest], int]:
        """What release sets say of heads with tags that were never read: one read for all images of a head.

        Also how many reads that took. A head that has none, or whose tags were read before, is not asked for again.
        What is recorded and was not seen since (an own write, what a person accepted) has to be seen at its tag, and
        the release set that an acceptance made void tells nothing.
        """
        source, history = self._sources.releases, self._history
        fresh = [cell for cell in fresh if cell not in history.recorded]
        self._without_release |= {head for _, head in fresh if head in history.void}
        heads = list(dict.fromkeys(head for _, head in fresh if head not in self._without_release))
        if source is None:
            self._without_release.update(heads)
            return {}, 0
        asked = heads[: max(1, budget // 2)]
        results = each(self._sources, "reading release sets", source.digests, asked)
        found: dict[Cell, Digest] = {}
        for head, result in zip(asked, results, strict=True):
            digests = settled(look, result)
            if isinstance(digests, Unknown):
                continue  # asked again in the next pass
            self._without_release.add(head)
            found |= {(repository, head): digest for repository, digest in (digests or {}).items()}
        return found, len(asked)

    def sweep(self, look: Look, heads: Sequence[Head], rules: Rules) -> None:
        """Read recorded tags again, those first that have waited longest; only what reads otherwise is shown."""
        now, recorded = self._sources.clock.monotonic_s(), self._history.recorded
        limit = None if rules.sweep_all else rules.sweep_reads_per_pass
        cells = self._sweep.due((head.commit for head in heads), now, rules.sweep_interval_s, limit)
        wanted = {c: AwaitBuild() for c in cells if recorded[c].how is How.BUILT}
        found = each(self._sources, "sweeping", lambda cell: self._tag(look, cell, wanted.get(cell)), cells)
        drifted: dict[Cell, TagState] = {}
        for cell, result in zip(cells, found, strict=True):
            self._sweep.read(cell, now, rules.sweep_interval_s)
            state = settled(look, result)
            if isinstance(state, Absent) or (isinstance(state, Present) and state.digest != recorded[cell].digest):
                drifted[cell] = state
        if drifted:
            look.snapshot = replace(look.snapshot, swept=drifted)

    def _tag(self, look: Look, cell: Cell, want: RetagFrom | AwaitBuild | None) -> TagState:
        repository, head = cell
        state = look.reads.tag(repository, Tag(head))
        if not isinstance(state, Present) or want is None:
            return state
        return self._verified((repository, head), state.digest, want)

    def _verified(self, cell: Cell, digest: Digest, want: RetagFrom | AwaitBuild) -> Present:
        repository, head = cell
        built = isinstance(want, AwaitBuild)
        purpose = Purpose.PULL_REQUEST if built else Purpose.BASELINE
        return Present(digest, self._sources.verifier.verify(purpose, repository, digest, head if built else None))

    def _polled(
        self, cell: Cell, state: TagState, want: RetagFrom | AwaitBuild | None, rules: Rules, now: float
    ) -> TagState:
        """Remember a waited-for tag, so that it is not asked for again before its time."""
        if isinstance(state, Present) or (isinstance(state, Absent) and isinstance(want, RetagFrom)):
            self._polls.pop(cell, None)
            return state
        before = self._polls.get(cell)
        wait_s = rules.poll_interval_s
        if isinstance(state, Absent) and before is not None:
            wait_s = min(before.wait_s * 2, rules.poll_max_s)
        jitter = self._sources.random.uniform(0.9, 1.1)
        self._polls[cell] = _Poll(state, now + wait_s * jitter, wait_s)
        return state

    # --- what is to be released

    def prove(self, look: Look, heads: Sequence[Head]) -> None:
        """Ask the verifier once more about every tag of a head that is complete and has no release set yet."""
        seen = look.snapshot
        if seen.policy.release_sets is None:
            return
        examiner = Examiner(seen, look.resting)
        cells = [
            (repository, head.commit)
            for head in heads
            if head.commit not in seen.released and releasable(seen, work := examiner.examine(head))
            for repository in work.judgements
        ]
        found = each(self._sources, "verifying", lambda cell: self._proof(cell, seen.recorded[cell].how), cells)
        proofs = {cell: settled(look, result) for cell, result in zip(cells, found, strict=True)}
        look.snapshot = replace(seen, proofs=proofs)

    def _proof(self, cell: Cell, how: How) -> Verdict:
        repository, head = cell
        digest = self._history.recorded[cell].digest
        if how is How.BUILT:
            return self._sources.verifier.verify(Purpose.PULL_REQUEST, repository, digest, head)
        return self._sources.verifier.verify(Purpose.BASELINE, repository, digest, None)


def _fair(fresh: list[Cell], again: list[Cell], budget: int) -> list[Cell]:
    """The reads of one pass: new tags newest head first, waited-for ones by how long they are due.

    Neither kind starves the other: where both want more, each has half.
    """
    for_fresh = max(budget - len(again), (budget + 1) // 2)
    taken = fresh[:for_fresh]
    return taken + again[: budget - len(taken)]
