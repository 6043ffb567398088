"""The reconciler's apply with all that belongs to it: a signed log that is synced, events, metrics, the premise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from bench.measure import seconds
from reconciler.absence import MAIN as MAIN_TAG
from reconciler.absence import PassReads
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.signer_ssh import SshSigner, generate_key_file
from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.apply import Applier
from reconciler.events import to_stream
from reconciler.looking import Look
from reconciler.ports import RepositoryIdentity
from reconciler.record import Recorder
from reconciler.tag_writes import Targets
from state.change import ChangeRecord, ImageChange, Why
from state.decision import Decision, RetagFrom
from state.git import CommitId, RefName
from state.log import GitLog
from state.observed import Listing, Mode, Policy, PullRequest, Snapshot
from state.oci import Digest, Manifest, Repository
from state.plan import Action, PinDecision, Plan, Retag
from state.verdict import Level

WORKERS: Final = 16
MAIN: Final = RefName.branch("main")
TIP: Final = CommitId("1" * 40)
FINGERPRINT: Final = Digest.of(b"inputs")


class CarryOut(Protocol):
    def __call__(self, heads: Sequence[CommitId], *, pinning: bool) -> float:
        """Retag each image for these heads, a pull request each; the seconds. `pinning` logs their decisions first."""


class MemoryForge:
    """A ForgeReader of pull requests in memory, so that the forge costs nothing."""

    def __init__(self) -> None:
        self.open: dict[int, PullRequest] = {}

    def repository(self) -> RepositoryIdentity:
        return RepositoryIdentity(1, "bench")

    def open_pull_requests(self) -> Listing:
        return Listing(True, tuple(self.open.values()))

    def pull_request(self, number: int) -> PullRequest | None:
        return self.open.get(number)

    def head_of(self, number: int) -> CommitId | None:
        return self.open[number].head if number in self.open else None

    def merged(self, number: int) -> bool | None:
        del number
        return None

    def last_pusher(self, number: int, head: CommitId) -> int | None:
        del number, head
        return None

    def ref_of(self, number: int) -> RefName:
        return RefName(f"refs/pull/{number}/head")


@contextmanager
def signed_log(folder: Path, *, fsync: bool = True) -> Iterator[GitLog]:
    """An active log in `folder`, with a key of its own."""
    generate_key_file(folder / "key")
    signer = SshSigner.from_file(folder / "key")
    log = GitLog(
        folder / "log.git",
        1,
        "reconciler",
        sign=signer.sign,
        public_key=signer.public_key(),
        writer="bench",
        now=SystemClock().now,
        tips_dir=folder / "tips",
        fsync=fsync,
    )
    with log:
        yield log


@contextmanager
def applying(folder: Path, registry: OrasRegistry, images: Mapping[Repository, Manifest]) -> Iterator[CarryOut]:
    """A way to retag these images, each in its repository, for many heads at once."""
    forge = MemoryForge()
    with (
        signed_log(folder) as log,
        ThreadExecutor(WORKERS) as executor,
        (folder / "events.jsonl").open("w") as events,
    ):
        verifier = NoneVerifier(baseline=Level.NONE, pull_request=Level.NONE)
        targets = Targets(forge, registry, registry, verifier, executor, PrometheusMetrics(), SystemClock())
        applier = Applier(targets, Recorder.opened(log), to_stream(events, SystemClock(), human=False))
        baselines = {repository: manifest.digest for repository, manifest in images.items()}

        def carry_out(heads: Sequence[CommitId], *, pinning: bool) -> float:
            forge.open = {n: PullRequest(n, head, MAIN, 1, 7) for n, head in enumerate(heads, start=1)}
            look = _look(forge, registry)
            for repository, manifest in images.items():  # as the observation does, which read the baselines
                look.reads.manifest(repository, MAIN_TAG)
                look.manifests[repository, manifest.digest] = manifest
            plan = _plan(forge.open, baselines, pinning=pinning)
            return seconds(lambda: _do(applier, plan, look, len(heads) * len(images)))

        yield carry_out


def _do(applier: Applier, plan: Plan, look: Look, expected: int) -> None:
    applied = applier.carry_out(plan, look, lambda: False, None)
    if applied.written != expected:
        raise RuntimeError(f"expected {expected} tags written, got {applied}")


def _look(forge: MemoryForge, registry: OrasRegistry) -> Look:
    policy = Policy(Digest.of(b"policy"), (MAIN,))
    return Look(Snapshot(1, Mode.FILL, False, policy, forge.open_pull_requests()), PassReads(registry))


def _plan(pull_requests: dict[int, PullRequest], baselines: Mapping[Repository, Digest], *, pinning: bool) -> Plan:
    actions: list[Action] = []
    for number, pr in pull_requests.items():
        if pinning:
            actions.append(PinDecision(decision(pr, baselines)))
        actions += (Retag(repository, pr.head, baseline, (number,)) for repository, baseline in baselines.items())
    return Plan(tuple(actions), ())


def decision(pr: PullRequest, baselines: Mapping[Repository, Digest]) -> Decision:
    """What is pinned for a head that changes none of these images."""
    unchanged = tuple(ImageChange(r, False, Why.INPUTS_EQUAL, (), FINGERPRINT, FINGERPRINT) for r in baselines)
    record = ChangeRecord(TIP, pr.head, (TIP,), TIP, unchanged)
    images = {r: RetagFrom(baseline, None) for r, baseline in baselines.items()}
    return Decision(pr.head, (pr.number,), (MAIN,), (record,), Digest.of(b"policy"), dict(images))
