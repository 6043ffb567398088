"""What an approval is judged on, read anew each time: the forge twice, the registry, the log (design §6)."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler import admission
from reconciler.absence import PassReads
from reconciler.approval.evaluate import Facts
from reconciler.ports import Executor, ForgeReader, RegistryReader
from reconciler.publishing.releases import PublishedSets
from state.errors import Unavailable
from state.history import History
from state.hold import REMEDY
from state.observed import Present, Snapshot, Unknown
from state.oci import Digest, Repository, Tag
from state.pin_plan import PinPlan
from state.publishing import NOBODY


@dataclass(frozen=True, slots=True)
class FactReader:
    """Reads the facts about one plan."""

    forge: ForgeReader
    registry: RegistryReader
    executor: Executor
    sets: PublishedSets
    history: History

    def read(self, plan: PinPlan, seen: Snapshot, *, promotion: bool) -> Facts:
        """Everything that `evaluate` goes by, as it is now. `seen` gives the rules alone.

        Raises Transient, Denied, Terminal or IntegrityError where something cannot be read: then nothing is decided.
        """
        # The registry first: what may change at any moment is read last, so that it is as fresh as it can be.
        release, tags = self.sets.current(plan.head), self._tags(plan)
        told = self.history.publishing.people.get((plan.pull_request, plan.head), NOBODY)
        pusher = self.forge.last_pusher(plan.pull_request, plan.head)
        second = self.forge.head_of(plan.pull_request)
        now = self.forge.pull_request(plan.pull_request)
        label = seen.policy.hold_label
        refusal = None if now is None else admission.refusal(now, seen)
        return Facts(
            repository_id=seen.repository_id,
            number=plan.pull_request,
            pull_request=now,
            second_witness=second,
            author_id=told.author_id if now is None else now.author_id,
            last_pusher_id=told.last_pusher_id if now is None else pusher,
            not_admitted=None if refusal is None else f"{refusal.value}: {REMEDY[refusal]}",
            held=now is not None and label is not None and label in now.labels,
            quarantined=plan.head in self.history.quarantined,
            release_set=None if release is None else release.manifest.digest,
            tags=tags,
            plan=plan,
            promotion=promotion,
            agents=frozenset(seen.policy.agents),
        )

    def _tags(self, plan: PinPlan) -> dict[Repository, Digest | None]:
        reads = PassReads(self.registry)
        images = sorted(plan.images())
        states = self.executor.map(lambda r: reads.tag(r, Tag(plan.head)), images)
        tags: dict[Repository, Digest | None] = {}
        for repository, state in zip(images, states, strict=True):
            if isinstance(state, Exception):
                raise state
            if isinstance(state, Unknown):
                raise Unavailable(f"{repository}:{plan.head.short}: {state.why}")
            tags[repository] = state.digest if isinstance(state, Present) else None
        return tags
