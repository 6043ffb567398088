"""What one head needs (pure): its decision, and a judgement of each previewed image's tag.

The planner turns judgements into actions, the matrix shows them, and the observer asks which reads they still lack, so
all three always agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from reconciler.admission import Head
from reconciler.judgement import Fill, Held, Judgement, Take, judge, judge_recorded
from state.change import ChangeRecord
from state.decision import AwaitBuild, Decision, RetagFrom, Unresolved, Wanted
from state.git import CommitId, RefName
from state.hold import Reason
from state.observed import (
    Absent,
    Baseline,
    BaselinePolicy,
    BaselineState,
    Catalogue,
    Inventory,
    Snapshot,
    Unknown,
)
from state.oci import Repository
from state.plan import PinDecision, ResolveDecision
from state.quarantine import Breach
from state.verdict import Outcome


class Work(NamedTuple):
    """One head: its decision (pinned, or as it would be pinned now) and a judgement per previewed image.

    `held` holds the whole head; then `judgements` is empty. `pin` is what has to be logged before anything is done.
    """

    head: Head
    decision: Decision | None
    pin: PinDecision | ResolveDecision | None
    held: Reason | None
    judgements: Mapping[Repository, Judgement]
    missing: tuple[str, ...] = ()
    """Previewed components that the catalogue does not know."""
    breaches: tuple[Breach, ...] = ()
    """Recorded tags that read otherwise, and that the log does not name yet."""
    unread: Reason | None = None
    """Why it is not known what is previewed; then the judgements are of what was decided while it was."""


class Previewed(NamedTuple):
    """The images of one catalogue that are previewed, with their components, and components it does not know."""

    images: Mapping[Repository, tuple[str, ...]]
    missing: tuple[str, ...]


def previewed(catalogue: Catalogue, inventory: Inventory) -> Previewed:
    """Which image repositories the inventory wants, by the catalogue's component → image mapping."""
    images: dict[Repository, tuple[str, ...]] = {}
    missing = []
    for component in inventory.previewed:
        image = catalogue.components.get(component)
        if image is None:
            missing.append(component)
        else:
            repository = catalogue.images[image].repository
            images[repository] = (*images.get(repository, ()), component)
    return Previewed(images, tuple(missing))


def components_of(seen: Snapshot, work: Work) -> Mapping[Repository, tuple[str, ...]]:
    """Image repository → the previewed components that run it, over all bases of the head."""
    found: dict[Repository, set[str]] = {}
    for pr in work.head.pull_requests:
        catalogue = seen.catalogues.get(tip) if isinstance(tip := seen.bases.get(pr.base), CommitId) else None
        if isinstance(catalogue, Catalogue) and isinstance(seen.inventory, Inventory):
            for repository, names in previewed(catalogue, seen.inventory).images.items():
                found.setdefault(repository, set()).update(names)
    return {repository: tuple(sorted(names)) for repository, names in found.items()}


class Examiner:
    """Examines the heads of one snapshot. Holds nothing but memos of what many heads share.

    Args:
        resting: what examining the heads at rest would give (`reconciler.rest`), as far as no read of this snapshot
            says otherwise.
    """

    def __init__(self, seen: Snapshot, resting: Mapping[CommitId, Work] = MappingProxyType({})) -> None:
        self._seen = seen
        self._resting = resting
        self.disturbed: Final = frozenset(
            head for states in (seen.tags, seen.swept) for _, head in (states if resting else ())
        )
        """Heads whose tags were read, where there are any at rest."""
        self._previewed: dict[RefName, Previewed | Reason] = {}

    def rests(self, head: CommitId) -> bool:
        """Whether the head is at rest: everything is decided and recorded, and nothing is to be done or told."""
        return head in self._resting and head not in self.disturbed

    def examine(self, head: Head) -> Work:
        """The head's decision and judgements, from the snapshot alone."""
        if self.rests(head.commit):
            return self._resting[head.commit]
        seen = self._seen
        pinned = seen.decisions.get(head.commit)
        wanted, unread = self.wanted(head)
        decision: Decision | None = pinned
        pin: PinDecision | ResolveDecision | None = None
        doubtful: Mapping[Repository, Reason]
        if unread is None:
            decision, pin, doubtful = self._decision(head, pinned, wanted)
        elif pinned is None:
            return Work(head, None, None, unread, {})
        else:
            # What was decided stays decided while the catalogue or the inventory cannot be read; the rest waits for it.
            wanted = _with_decided(wanted, pinned)
            doubtful = self._waiting(head, pinned, wanted, unread)
        if decision is None:
            return Work(head, None, None, Reason.CHANGED_PATHS_UNKNOWN, {}, wanted.missing)
        judgements: dict[Repository, Judgement] = {}
        tags, recorded = seen.tags, seen.recorded
        known = {b.repository: b for b in seen.quarantined.get(head.commit, ())}
        for repository in wanted.images:
            key = (repository, head.commit)
            if (doubt := doubtful.get(repository)) is not None:
                judgements[repository] = Held(doubt)
            elif (breach := known.get(repository)) is not None:
                judgements[repository] = _breached(breach)
            elif (done := recorded.get(key)) is not None:
                judgements[repository] = judge_recorded(
                    done,
                    (seen.swept if done.settled else tags).get(key),
                    overdue=key in seen.overdue,
                    released=head.commit in seen.released,
                )
            else:
                judgement = judge(decision.images.get(repository, _NOT_DECIDED), tags.get(key))
                if isinstance(judgement, Held) and judgement.reason is Reason.BASELINE_REFUSED and not judgement.detail:
                    judgement = judgement._replace(detail=self._why_refused(repository, head.commit))
                judgements[repository] = judgement
        fresh = _breaches(judgements, known) if tags or seen.swept else ()
        if known or fresh:
            for repository, judgement in judgements.items():
                if isinstance(judgement, Fill | Take) and (repository, head.commit) not in recorded:
                    judgements[repository] = Held(Reason.QUARANTINED)
        return Work(head, decision, pin, None, judgements, wanted.missing, fresh, unread)

    def changes_needed(self, head: Head) -> tuple[tuple[CommitId, RefName], ...]:
        """The (base commit, base branch) pairs that the head has to be compared with and has not been yet."""
        if self.rests(head.commit):
            return ()
        pinned = self._seen.decisions.get(head.commit)
        wanted, unread = self.wanted(head)
        if unread is not None or (pinned is not None and self._covers(pinned, head, wanted)):
            return ()
        # Two branches at one commit are one comparison.
        return tuple({tip: (tip, base) for base, tip in self._tips(head).items()}.values())

    def baselines_needed(self, head: Head) -> tuple[Repository, ...]:
        """Image repositories whose baseline has to be read for the head's decision."""
        if self.rests(head.commit):
            return ()
        work = self.examine(head)
        pinned = self._seen.decisions.get(head.commit)
        if work.decision is None or self.wanted(head)[1] is not None:
            return ()
        return tuple(
            r
            for r in work.judgements
            if isinstance(work.decision.images.get(r), Unresolved | RetagFrom)
            and (pinned is None or isinstance(pinned.images.get(r, _NOT_DECIDED), Unresolved))
        )

    def _why_refused(self, repository: Repository, head: CommitId) -> str:
        """What the verifier said of the baseline that an undecided image would have."""
        state = self._seen.faithful.get((repository, head)) or self._seen.main.get(repository)
        return state.verdict.reason if isinstance(state, Baseline) else ""

    # --- what is wanted

    def _tips(self, head: Head) -> dict[RefName, CommitId]:
        tips = {}
        for pr in head.pull_requests:
            tip = self._seen.bases.get(pr.base)
            if isinstance(tip, CommitId):
                tips[pr.base] = tip
        return tips

    def wanted(self, head: Head) -> tuple[Previewed, Reason | None]:
        """What is previewed by the bases that can be read, and why another one cannot be."""
        parts: list[Previewed] = []
        unread: Reason | None = None
        for base in dict.fromkeys(pr.base for pr in head.pull_requests):
            part = self._previewed_at(base)
            if isinstance(part, Reason):
                unread = unread or part
            else:
                parts.append(part)
        return (parts[0] if len(parts) == 1 else _merged(parts)), unread

    def _previewed_at(self, base: RefName) -> Previewed | Reason:
        if (memo := self._previewed.get(base)) is None:
            memo = self._previewed[base] = self._read_previewed(base)
        return memo

    def _read_previewed(self, base: RefName) -> Previewed | Reason:
        tip = self._seen.bases.get(base)
        if not isinstance(tip, CommitId):
            return Reason.CHANGED_PATHS_UNKNOWN
        catalogue = self._seen.catalogues.get(tip)
        if not isinstance(catalogue, Catalogue):
            return Reason.CATALOGUE_INVALID
        if not isinstance(self._seen.inventory, Inventory):
            return Reason.INVENTORY_UNKNOWN
        return previewed(catalogue, self._seen.inventory)

    # --- the decision

    @staticmethod
    def _covers(pinned: Decision, head: Head, wanted: Previewed) -> bool:
        return (
            all(pr.base in pinned.bases for pr in head.pull_requests) and wanted.images.keys() <= pinned.images.keys()
        )

    def _decision(
        self, head: Head, pinned: Decision | None, wanted: Previewed
    ) -> tuple[Decision | None, PinDecision | ResolveDecision | None, Mapping[Repository, Reason]]:
        """The decision in force, what has to be logged for it, and decided images that another base puts in doubt."""
        if pinned is not None and self._covers(pinned, head, wanted):
            if not any(isinstance(pinned.images[r], Unresolved) for r in wanted.images):
                return pinned, None, {}
            return (*self._resolve(head, pinned, wanted, pinned.changes, ()), {})
        records = self._records(head)
        if pinned is None:
            if records is None:
                return None, None, {}
            fresh = self._fresh(head, tuple(dict.fromkeys(records.values())), wanted)
            return fresh, PinDecision(fresh), {}
        # Only a base that the decision did not consider can put it in doubt: where its own base moved on, it stands.
        elsewhere = {pr.base for pr in head.pull_requests}.difference(pinned.bases)
        retagged = [r for r, w in pinned.images.items() if isinstance(w, RetagFrom)]
        if records is None:
            return pinned, None, self._waiting(head, pinned, wanted, Reason.CHANGED_PATHS_UNKNOWN)
        changed = _changed(record for base, record in records.items() if base in elsewhere)
        doubtful = {r: Reason.DECISION_MISMATCH for r in retagged if changed.get(r, False)}
        unseen = tuple(r for r in dict.fromkeys(records.values()) if r not in pinned.changes)
        return (*self._resolve(head, pinned, wanted, pinned.changes + unseen, unseen), doubtful)

    @staticmethod
    def _waiting(head: Head, pinned: Decision, wanted: Previewed, unread: Reason) -> Mapping[Repository, Reason]:
        """What a decision leaves open while a base cannot be read: what it does not decide, and what that base may."""
        elsewhere = any(pr.base not in pinned.bases for pr in head.pull_requests)
        doubtful = {}
        for repository in wanted.images:
            match pinned.images.get(repository, _NOT_DECIDED):
                case Unresolved():
                    doubtful[repository] = unread
                case RetagFrom() if elsewhere:
                    doubtful[repository] = Reason.CHANGED_PATHS_UNKNOWN
                case _:
                    pass
        return doubtful

    def _records(self, head: Head) -> dict[RefName, ChangeRecord] | None:
        """The comparison with each base, in order of base; None unless all of them are known."""
        tips = self._tips(head)
        records = {}
        for base in sorted({pr.base for pr in head.pull_requests}):
            tip = tips.get(base)
            record = self._seen.changes.get((tip, head.commit)) if tip is not None else None
            if not isinstance(record, ChangeRecord):
                return None
            records[base] = record
        return records

    def _fresh(self, head: Head, records: tuple[ChangeRecord, ...], wanted: Previewed) -> Decision:
        images: dict[Repository, Wanted] = {}
        for repository, changed in sorted(_changed(records).items()):
            images[repository] = self._decide(repository, head.commit, changed, repository in wanted.images)
        return Decision(
            head=head.commit,
            pull_requests=head.numbers,
            bases=tuple(sorted({pr.base for pr in head.pull_requests})),
            changes=records,
            policy=self._seen.policy.digest,
            images=images,
        )

    def _resolve(
        self,
        head: Head,
        pinned: Decision,
        wanted: Previewed,
        records: tuple[ChangeRecord, ...],
        unseen: tuple[ChangeRecord, ...],
    ) -> tuple[Decision, ResolveDecision | None]:
        changed = _changed(records)
        now: dict[Repository, Wanted] = {}
        for repository in sorted(wanted.images):
            before = pinned.images.get(repository)
            if repository in changed and (before is None or isinstance(before, Unresolved)):
                now[repository] = self._decide(repository, head.commit, changed[repository], is_previewed=True)
        decided = {r: w for r, w in now.items() if not isinstance(w, Unresolved)}
        if not decided:
            # Why an image is still undecided may have changed; that is shown, and not worth an entry.
            return pinned.resolved(now), None
        return pinned.resolved(now, unseen), ResolveDecision(head.commit, head.numbers, decided, unseen)

    def _decide(self, repository: Repository, head: CommitId, changed: bool, is_previewed: bool) -> Wanted:
        if changed:
            return AwaitBuild()
        if not is_previewed:
            return Unresolved(Reason.NOT_PREVIEWED)
        main = self._seen.main.get(repository)
        if self._seen.policy.baseline is BaselinePolicy.MAIN:
            return _from_baseline(main, Reason.BASELINE_MISSING)
        return _from_baseline(self._seen.faithful.get((repository, head)), Reason.NO_FAITHFUL_BASELINE)


_NOT_DECIDED = Unresolved(Reason.CHANGED_PATHS_UNKNOWN)


def _breached(breach: Breach) -> Held:
    reason = Reason.TAG_LOST if breach.found is None else Reason.TAG_CONFLICT
    return Held(reason, breach.found, breach.recorded)


def _breaches(judgements: Mapping[Repository, Judgement], known: Mapping[Repository, Breach]) -> tuple[Breach, ...]:
    """The tags that were just found to read otherwise than recorded."""
    return tuple(
        Breach(repository, judgement.recorded, judgement.digest)
        for repository, judgement in judgements.items()
        if isinstance(judgement, Held) and judgement.recorded is not None and repository not in known
    )


def _merged(parts: list[Previewed]) -> Previewed:
    images: dict[Repository, tuple[str, ...]] = {}
    for part in parts:
        for repository, components in part.images.items():
            images[repository] = tuple(sorted({*images.get(repository, ()), *components}))
    return Previewed(images, tuple(sorted({m for part in parts for m in part.missing})))


def _with_decided(wanted: Previewed, pinned: Decision) -> Previewed:
    """With every image that the decision is about, except those that nothing previewed then."""
    images: dict[Repository, tuple[str, ...]] = {}
    for repository, decided in sorted(pinned.images.items()):
        if not isinstance(decided, Unresolved) or decided.reason is not Reason.NOT_PREVIEWED:
            images[repository] = ()
    return wanted._replace(images={**images, **wanted.images})


def _changed(records: Iterable[ChangeRecord]) -> dict[Repository, bool]:
    """Changed against any base counts as changed: the strictest pull request at a head decides."""
    changed: dict[Repository, bool] = {}
    for record in records:
        for image in record.images:
            changed[image.repository] = changed.get(image.repository, False) or image.changed
    return changed


def _from_baseline(state: BaselineState | None, when_absent: Reason) -> Wanted:
    match state:
        case Baseline(digest, verdict, main):
            if verdict.outcome is Outcome.REFUSED:
                return Unresolved(Reason.BASELINE_REFUSED)
            return RetagFrom(digest, main if main != digest else None)
        case Absent():
            return Unresolved(when_absent)
        case Unknown() | None:
            return Unresolved(Reason.BASELINE_UNKNOWN)
