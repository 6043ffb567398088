"""Ports → Snapshot: one look at one repository, within bounds.

What is immutable or recorded is not asked for again: git comparisons are cached by commit ids, and a tag that the log
records is output, not memory. A waited-for tag is asked for at growing intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from reconciler.absence import MAIN, PassReads
from reconciler.admission import Head, admit
from reconciler.heads import Examiner
from reconciler.looking import Look, Rules, Sources, each, known, refuse_to_go_on, settled
from reconciler.ports import Git, Purpose
from reconciler.rest import Rest
from reconciler.stages import Stage, stage
from reconciler.tag_reads import TagReads
from state import canonical
from state.canonical import Json
from state.change import ChangeRecord
from state.entry import Entry
from state.errors import Terminal
from state.git import CommitId, RefName
from state.history import Cell, History, stamp
from state.observed import (
    Absent,
    Baseline,
    BaselinePolicy,
    BaselineState,
    Catalogue,
    Inventory,
    Listing,
    Policy,
    Snapshot,
    Unknown,
)
from state.oci import Manifest, Repository, Tag
from state.verdict import Outcome

Admitted: TypeAlias = Callable[[Listing, frozenset[int]], frozenset[tuple[int, int, CommitId]]]
"""(a listing, ids of agents) → (head repository id, number, head) of what is admitted by name."""


class Observer:
    """Looks at one repository, pass after pass. Keeps only caches: losing it costs reads, never a decision."""

    def __init__(
        self, sources: Sources, history: History, read_entry: Callable[[CommitId], Entry], rest: Rest | None = None
    ) -> None:
        self._sources = sources
        self._history = history
        self._read_entry = read_entry
        self._tags = TagReads(sources, history)
        self._rest = Rest() if rest is None else rest

    def look(
        self,
        rules: Rules,
        backing_off: frozenset[CommitId],
        hints: frozenset[int] = frozenset(),
        admitted: Admitted | None = None,
    ) -> Look:
        """One look. `hints` are pull requests that something happened to: their tags are read now.

        `admitted` says which of a listing's pull requests a recorded admission lets in, given the ids of agents.

        Raises Transient, Denied or Terminal if the forge cannot be listed; whatever else cannot be read is `Unknown`.
        """
        source = self._sources
        with stage(Stage.LIST):
            identity = source.forge.repository()
            listing = source.forge.open_pull_requests()
        self._revive(listing)
        look = Look(
            Snapshot(
                repository_id=identity.id,
                mode=rules.mode,
                suspended=rules.suspended,
                policy=self._policy(rules),
                listing=listing,
                decisions=dict(self._history.decisions),
                recorded=dict(self._history.recorded),
                released=dict(self._history.released),
                unreleasable=frozenset(self._history.unreleasable),
                quarantined={head: q.breaches for head, q in self._history.quarantined.items()},
                admitted_forks=(
                    admitted(listing, frozenset(rules.policy.agents)) if admitted is not None else frozenset()
                ),
                backing_off=backing_off,
                writes_left=self._writes_left(rules),
                overdue=self._overdue(rules),
            ),
            PassReads(source.registry),
        )
        heads = admit(look.snapshot).heads
        if heads:
            with stage(Stage.TRUSTED):
                self._read_trusted(look, heads)
            look.resting = self._rest.works(look.snapshot, self._history.versions)
            with stage(Stage.COMPARE):
                self._read_changes(look, heads)
            with stage(Stage.BASELINES):
                self._read_baselines(look, heads, rules)
            with stage(Stage.TAGS):
                self._tags.read(look, heads, rules, hints)
                self._tags.sweep(look, heads, rules)
                self._tags.prove(look, heads)
            look.problems += look.reads.problems.values()
        refuse_to_go_on(self._sources)
        self._forget(look)
        return look

    def _policy(self, rules: Rules) -> Policy:
        """The rules with the verification that is in force: the digest covers the keys and roots themselves."""
        verifier = self._sources.verifier
        verification: dict[str, Json] = {p.value: verifier.policy(p) for p in Purpose}
        whole: dict[str, Json] = {"rules": rules.policy.digest, "verification": verification}
        return replace(rules.policy, digest=canonical.digest(whole))

    # --- what the repositories say

    def _read_trusted(self, look: Look, heads: Sequence[Head]) -> None:
        source = self._sources
        bases: dict[RefName, CommitId | Unknown] = {}
        catalogues: dict[CommitId, Catalogue | Unknown] = {}
        for base in sorted({pr.base for head in heads for pr in head.pull_requests}):
            tip = known(look, partial(_tip, source.git, base))
            bases[base] = tip
            if isinstance(tip, CommitId) and tip not in catalogues:
                catalogues[tip] = known(look, partial(source.git.catalogue, tip))
        inventory: Inventory | Unknown = known(look, source.gitops.inventory)
        look.snapshot = replace(look.snapshot, bases=bases, catalogues=catalogues, inventory=inventory)

    def _read_changes(self, look: Look, heads: Sequence[Head]) -> None:
        examiner = Examiner(look.snapshot, look.resting)
        changes: dict[tuple[CommitId, CommitId], ChangeRecord | Unknown] = {}
        for n, head in enumerate(heads):
            needed = examiner.changes_needed(head)
            if needed:
                refuse_to_go_on(self._sources)
                self._sources.tick("comparing heads", n, len(heads))
            for tip, _ in needed:
                changes[tip, head.commit] = known(look, partial(self._compare, look.snapshot, head, tip))
        look.snapshot = replace(look.snapshot, changes=changes)

    def _compare(self, seen: Snapshot, head: Head, tip: CommitId) -> ChangeRecord:
        source = self._sources
        source.git.fetch(head.commit, source.forge.ref_of(head.numbers[0]))
        catalogue = seen.catalogues[tip]
        if not isinstance(catalogue, Catalogue):
            raise Terminal(f"no catalogue at {tip}")
        return source.git.changes(tip, head.commit, catalogue)

    # --- baselines

    def _read_baselines(self, look: Look, heads: Sequence[Head], rules: Rules) -> None:
        examiner = Examiner(look.snapshot, look.resting)
        needed = {head: examiner.baselines_needed(head) for head in heads}
        repositories = sorted({r for wanted in needed.values() for r in wanted})
        found = each(self._sources, "reading baselines", lambda r: self._baseline(look, r, MAIN), repositories)
        main: dict[Repository, BaselineState] = {
            r: settled(look, state) for r, state in zip(repositories, found, strict=True)
        }
        look.snapshot = replace(look.snapshot, main=main)
        if rules.policy.baseline is BaselinePolicy.FAITHFUL:
            cells = [(r, head) for head, wanted in needed.items() for r in wanted]
            states = each(
                self._sources, "finding builds", lambda cell: self._faithful(look, cell[0], cell[1], rules), cells
            )
            faithful: dict[Cell, BaselineState] = {
                (r, h.commit): settled(look, s) for (r, h), s in zip(cells, states, strict=True)
            }
            look.snapshot = replace(look.snapshot, faithful=faithful)

    def _baseline(self, look: Look, repository: Repository, tag: Tag) -> BaselineState:
        manifest = look.reads.manifest(repository, tag)
        if not isinstance(manifest, Manifest):
            return manifest
        look.manifests[repository, manifest.digest] = manifest
        verdict = self._sources.verifier.verify(Purpose.BASELINE, repository, manifest.digest, None)
        return Baseline(manifest.digest, verdict, manifest.digest)

    def _faithful(self, look: Look, repository: Repository, head: Head, rules: Rules) -> BaselineState:
        """The newest build of main whose inputs equal the head's, looked for from the merge base back."""
        seen, git = look.snapshot, self._sources.git
        compared = [r for (_, commit), r in seen.changes.items() if commit == head.commit]
        pinned = seen.decisions.get(head.commit)
        records = [*(r for r in compared if isinstance(r, ChangeRecord)), *(pinned.changes if pinned else ())]
        found = [
            (r, i.fingerprint)
            for r in records
            for i in r.images
            if i.repository == repository and i.fingerprint is not None
        ]
        if not found:
            return Unknown("the head was not compared for this image")
        record, wanted = found[0]
        # A pinned comparison may be of a tip that is none any more; its catalogue is still a fact.
        catalogue = seen.catalogues.get(record.catalogue_commit)
        if not isinstance(catalogue, Catalogue):
            catalogue = git.catalogue(record.catalogue_commit)
        image = next(i for i in catalogue.images.values() if i.repository == repository)
        commits = git.faithful_commits(image, record.base, record.merge_bases[0], wanted, rules.faithful_limit)
        main = look.snapshot.main.get(repository)
        refused: BaselineState = Absent()
        for commit in commits:
            state = self._baseline(look, repository, Tag(commit))
            if isinstance(state, Unknown):
                return state
            if isinstance(state, Baseline):
                state = state._replace(main_digest=main.digest if isinstance(main, Baseline) else None)
                if state.verdict.outcome is not Outcome.REFUSED:
                    return state
                refused = state if isinstance(refused, Absent) else refused
        return refused

    # --- what we remember

    def _revive(self, listing: Listing) -> None:
        for head in {pr.head for pr in listing.pull_requests} & self._history.ended.keys():
            self._history.revive(head, self._read_entry)

    def _writes_left(self, rules: Rules) -> int:
        hour_ago = self._sources.clock.now() - timedelta(hours=1)
        left = rules.max_writes_per_hour - self._history.writes_since(hour_ago)
        return max(0, min(left, rules.writes_per_pass))

    def _overdue(self, rules: Rules) -> frozenset[Cell]:
        limit = stamp(self._sources.clock.now() - timedelta(seconds=rules.settle_s))
        return frozenset(cell for cell, at in self._history.written_at.items() if at < limit)

    def _forget(self, look: Look) -> None:
        listing = look.snapshot.listing
        alive = {pr.head for pr in listing.pull_requests}
        if listing.complete:
            self._tags.forget(alive)
            tips = (tip for tip in look.snapshot.bases.values() if isinstance(tip, CommitId))
            self._sources.git.retain(frozenset((*alive, *tips)))


def _tip(git: Git, base: RefName) -> CommitId:
    tip = git.branch_tip(base)
    if tip is None:
        raise Terminal(f"the base branch {base.short} does not exist in the code repository")
    return tip
