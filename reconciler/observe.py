"""Ports → Snapshot: one look at one repository, within bounds.

What is immutable or recorded is not asked for again: git comparisons are cached by commit ids, and a tag that the log
records is output, not memory. A waited-for tag is asked for at growing intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TypeAlias, TypeVar

from reconciler.absence import MAIN, PassReads
from reconciler.admission import Head, admit
from reconciler.heads import Examiner
from reconciler.judgement import Held
from reconciler.planner import releasable
from reconciler.ports import (
    Clock,
    Executor,
    ForgeReader,
    Git,
    GitOps,
    Purpose,
    Random,
    RegistryReader,
    Releases,
    Verifier,
)
from state import canonical
from state.canonical import Json
from state.change import ChangeRecord
from state.decision import AwaitBuild, RetagFrom
from state.entry import Entry
from state.errors import ReconcilerError, Terminal, Unavailable
from state.git import CommitId, RefName
from state.history import Cell, History, stamp
from state.hold import Reason
from state.observed import (
    Absent,
    Baseline,
    BaselinePolicy,
    BaselineState,
    Catalogue,
    How,
    Inventory,
    Listing,
    Mode,
    Policy,
    Present,
    Snapshot,
    TagState,
    Unknown,
)
from state.oci import Digest, Manifest, Repository, Tag
from state.verdict import Outcome, Verdict

T = TypeVar("T")
R = TypeVar("R")
Tick: TypeAlias = Callable[[str, int, int], None]
"""(what, done, of how many)."""


def no_tick(what: str, done: int, total: int) -> None:
    """Tell nobody."""
    del what, done, total


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of one repository that an observation depends on."""

    mode: Mode
    suspended: bool
    policy: Policy
    max_writes_per_hour: int
    settle_s: float = 60
    poll_interval_s: float = 30
    """The first wait between two reads of a tag that CI is to make; it doubles up to `poll_max_s`."""
    poll_max_s: float = 300
    tag_reads_per_pass: int = 5000
    sweep_interval_s: float = 3600
    """Each recorded tag is read again after about so long, to see whether somebody moved or removed it."""
    sweep_reads_per_pass: int = 500
    sweep_all: bool = False
    """Read every recorded tag in this pass."""
    writes_per_pass: int = 1000
    faithful_limit: int = 50
    """How many first-parent commits a faithful baseline is looked for."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The readers that an observation asks."""

    forge: ForgeReader
    git: Git
    gitops: GitOps
    registry: RegistryReader
    verifier: Verifier
    executor: Executor
    clock: Clock
    random: Random
    releases: Releases | None = None
    """Where release sets are published, if they are."""
    tick: Tick = no_tick
    """Told how far long work is, from any thread: for a person's progress bar, and as the loop's sign of life."""
    stopping: Callable[[], bool] = bool
    """Asked before each read: a process that is to stop begins no further one."""


@dataclass(slots=True)
class _Poll:
    state: TagState
    due_s: float
    wait_s: float


@dataclass(slots=True)
class Look:
    """A snapshot with what the same pass goes on to use: its reads, and the baseline bytes by digest."""

    snapshot: Snapshot
    reads: PassReads
    manifests: dict[tuple[Repository, Digest], Manifest] = field(default_factory=dict)
    problems: list[ReconcilerError] = field(default_factory=list)
    """What could not be read, or was not what it claimed to be; the snapshot says `Unknown` there."""


class Observer:
    """Looks at one repository, pass after pass. Keeps only caches: losing it costs reads, never a decision."""

    def __init__(self, sources: Sources, history: History, read_entry: Callable[[CommitId], Entry]) -> None:
        self._sources = sources
        self._history = history
        self._read_entry = read_entry
        self._polls: dict[Cell, _Poll] = {}
        self._without_release: set[CommitId] = set()
        """Heads that were looked up among the release sets, and had none: their tags are read one by one."""
        self._swept: dict[Cell, float] = {}
        """When each recorded tag is to be read again."""

    def look(self, rules: Rules, backing_off: frozenset[CommitId], hints: frozenset[int] = frozenset()) -> Look:
        """One look. `hints` are pull requests that something happened to: their tags are read now.

        Raises Transient, Denied or Terminal if the forge cannot be listed; whatever else cannot be read is `Unknown`.
        """
        source = self._sources
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
                quarantined={head: q.breaches for head, q in self._history.quarantined.items()},
                backing_off=backing_off,
                writes_left=self._writes_left(rules),
                overdue=self._overdue(rules),
            ),
            PassReads(source.registry),
        )
        heads = admit(look.snapshot).heads
        if heads:
            self._read_trusted(look, heads)
            self._read_changes(look, heads)
            self._read_baselines(look, heads, rules)
            self._read_tags(look, heads, rules, hints)
            self._sweep(look, heads, rules)
            self._read_proofs(look, heads)
            look.problems += look.reads.problems.values()
        self._refuse_to_go_on()
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
            tip = _known(look, partial(_tip, source.git, base))
            bases[base] = tip
            if isinstance(tip, CommitId) and tip not in catalogues:
                catalogues[tip] = _known(look, partial(source.git.catalogue, tip))
        inventory: Inventory | Unknown = _known(look, source.gitops.inventory)
        look.snapshot = replace(look.snapshot, bases=bases, catalogues=catalogues, inventory=inventory)

    def _read_changes(self, look: Look, heads: Sequence[Head]) -> None:
        examiner = Examiner(look.snapshot)
        changes: dict[tuple[CommitId, CommitId], ChangeRecord | Unknown] = {}
        for n, head in enumerate(heads):
            needed = examiner.changes_needed(head)
            if needed:
                self._refuse_to_go_on()
                self._sources.tick("comparing heads", n, len(heads))
            for tip, _ in needed:
                changes[tip, head.commit] = _known(look, partial(self._compare, look.snapshot, head, tip))
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
        examiner = Examiner(look.snapshot)
        needed = {head: examiner.baselines_needed(head) for head in heads}
        repositories = sorted({r for wanted in needed.values() for r in wanted})
        found = self._each("reading baselines", lambda r: self._baseline(look, r, MAIN), repositories)
        main: dict[Repository, BaselineState] = {
            r: _settled(look, state) for r, state in zip(repositories, found, strict=True)
        }
        look.snapshot = replace(look.snapshot, main=main)
        if rules.policy.baseline is BaselinePolicy.FAITHFUL:
            cells = [(r, head) for head, wanted in needed.items() for r in wanted]
            states = self._each("finding builds", lambda cell: self._faithful(look, cell[0], cell[1], rules), cells)
            faithful: dict[Cell, BaselineState] = {
                (r, h.commit): _settled(look, s) for (r, h), s in zip(cells, states, strict=True)
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

    # --- tags

    def _read_tags(self, look: Look, heads: Sequence[Head], rules: Rules, hints: frozenset[int]) -> None:
        now = self._sources.clock.monotonic_s()
        examiner = Examiner(look.snapshot)
        tags: dict[Cell, TagState] = {}
        fresh: list[Cell] = []
        again: list[tuple[float, Cell]] = []
        wanted: dict[Cell, RetagFrom | AwaitBuild] = {}
        for head in heads:
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
        fresh = [cell for cell in fresh if cell not in released and cell[1] in self._without_release]
        due = _fair(fresh, [cell for _, cell in sorted(again)], max(0, budget - asked))
        found = self._each("reading tags", lambda cell: self._tag(look, cell, wanted.get(cell)), due)
        for cell, state in zip(due, found, strict=True):
            tags[cell] = self._polled(cell, _settled(look, state), wanted.get(cell), rules, now)
        cells = [cell for cell in released if cell in wanted]
        known = self._each("verifying", lambda cell: self._verified(cell, released[cell], wanted[cell]), cells)
        for cell, verified in zip(cells, known, strict=True):
            tags[cell] = _settled(look, verified)
        look.snapshot = replace(look.snapshot, tags=tags)

    def _released(self, look: Look, fresh: list[Cell], budget: int) -> tuple[dict[Cell, Digest], int]:
        """What release sets say of tags that were never read: a read for a head instead of one for each image.

        Also how many reads that took. A head that has none, or whose tags were read before, is not asked for again.
        """
        source = self._sources.releases
        heads = list(dict.fromkeys(head for _, head in fresh if head not in self._without_release))
        if source is None:
            self._without_release.update(heads)
            return {}, 0
        asked = heads[: max(1, budget // 2)]
        results = self._each("reading release sets", source.digests, asked)
        found: dict[Cell, Digest] = {}
        for head, result in zip(asked, results, strict=True):
            digests = _settled(look, result)
            if isinstance(digests, Unknown):
                continue  # asked again in the next pass
            self._without_release.add(head)
            for cell in fresh:
                if cell[1] == head and digests is not None and cell[0] in digests:
                    found[cell] = digests[cell[0]]
        return found, len(asked)

    def _sweep(self, look: Look, heads: Sequence[Head], rules: Rules) -> None:
        """Read recorded tags again, those first that have waited longest; only what reads otherwise is shown."""
        now, history = self._sources.clock.monotonic_s(), self._history
        alive = {head.commit for head in heads}
        settled = {c: r for c, r in history.recorded.items() if c[1] in alive and r.settled}
        uniform = self._sources.random.uniform
        for cell in settled.keys() - self._swept.keys():
            # Spread around one interval from now: a start finds all tags at once, and a new one was just read.
            self._swept[cell] = now + rules.sweep_interval_s * uniform(0.5, 1.5)
        self._swept = {cell: due for cell, due in self._swept.items() if cell in settled}
        waiting = sorted((due, cell) for cell, due in self._swept.items() if due <= now or rules.sweep_all)
        cells = [cell for _, cell in (waiting if rules.sweep_all else waiting[: rules.sweep_reads_per_pass])]
        wanted = {c: AwaitBuild() for c in cells if settled[c].how is How.BUILT}
        found = self._each("sweeping", lambda cell: self._tag(look, cell, wanted.get(cell)), cells)
        drifted: dict[Cell, TagState] = {}
        for cell, result in zip(cells, found, strict=True):
            self._swept[cell] = now + rules.sweep_interval_s * uniform(0.9, 1.1)
            state = _settled(look, result)
            if isinstance(state, Absent) or (isinstance(state, Present) and state.digest != settled[cell].digest):
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

    def _read_proofs(self, look: Look, heads: Sequence[Head]) -> None:
        """Ask the verifier once more about every tag of a head that is complete and has no release set yet."""
        seen = look.snapshot
        if seen.policy.release_sets is None:
            return
        examiner = Examiner(seen)
        cells = [
            (repository, head.commit)
            for head in heads
            if head.commit not in seen.released and releasable(seen, work := examiner.examine(head))
            for repository in work.judgements
        ]
        found = self._each("verifying", lambda cell: self._proof(cell, seen.recorded[cell].how), cells)
        proofs = {cell: _settled(look, result) for cell, result in zip(cells, found, strict=True)}
        look.snapshot = replace(seen, proofs=proofs)

    def _proof(self, cell: Cell, how: How) -> Verdict:
        repository, head = cell
        digest = self._history.recorded[cell].digest
        if how is How.BUILT:
            return self._sources.verifier.verify(Purpose.PULL_REQUEST, repository, digest, head)
        return self._sources.verifier.verify(Purpose.BASELINE, repository, digest, None)

    # --- side by side

    def _each(self, what: str, read: Callable[[T], R], items: Sequence[T]) -> list[R | Exception]:
        """Each item's result or error. Every read that ends is a sign of life; none begins once we are to stop."""
        done = count(1)

        def one(item: T) -> R:
            self._refuse_to_go_on()
            try:
                return read(item)
            finally:
                self._sources.tick(what, next(done), len(items))

        results = self._sources.executor.map(one, items)
        self._refuse_to_go_on()
        return results

    def _refuse_to_go_on(self) -> None:
        if self._sources.stopping():
            raise Unavailable("the process is stopping; nothing was decided from what was read so far")

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
            self._polls = {cell: poll for cell, poll in self._polls.items() if cell[1] in alive}
            self._without_release &= alive
            tips = (tip for tip in look.snapshot.bases.values() if isinstance(tip, CommitId))
            self._sources.git.retain(frozenset((*alive, *tips)))


def _fair(fresh: list[Cell], again: list[Cell], budget: int) -> list[Cell]:
    """The reads of one pass: new tags newest head first, waited-for ones by how long they are due.

    Neither kind starves the other: where both want more, each has half.
    """
    for_fresh = max(budget - len(again), (budget + 1) // 2)
    taken = fresh[:for_fresh]
    return taken + again[: budget - len(taken)]


def _tip(git: Git, base: RefName) -> CommitId:
    tip = git.branch_tip(base)
    if tip is None:
        raise Terminal(f"the base branch {base.short} does not exist in the code repository")
    return tip


def _known(look: Look, read: Callable[[], T]) -> T | Unknown:
    """The value, or Unknown where it cannot be read."""
    try:
        return read()
    except ReconcilerError as error:
        return _unknown(look, error)


def _settled(look: Look, result: T | Exception) -> T | Unknown:
    """The same for a result of the executor. What is not an error of ours is a bug, and stops the pass."""
    if isinstance(result, ReconcilerError):
        return _unknown(look, result)
    if isinstance(result, Exception):
        raise result
    return result


def _unknown(look: Look, error: ReconcilerError) -> Unknown:
    look.problems.append(error)
    return Unknown(f"{type(error).__name__}: {error}")
