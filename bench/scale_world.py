"""Passes over many pull requests: forge, git and registry in memory; planner, apply, matrix and signed log real."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench.applying import MAIN, TIP, MemoryForge, signed_log
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.events import to_stream
from reconciler.looking import Rules, Sources
from reconciler.passes import PassReport, Reporting, Repository
from reconciler.ports import StatusState
from state.change import ChangeRecord, ImageChange, Why
from state.git import CommitId, RefName
from state.observed import Catalogue, Image, Inventory, Mode, Pin, Policy, PullRequest
from state.oci import OCI_INDEX, OCI_MANIFEST, Digest, Manifest, Tag
from state.oci import Repository as OciRepository
from state.quarantine import Acceptance
from state.verdict import Level

PLATFORMS: Final = ("linux/amd64",)
WORKERS: Final = 4
ALL: Final = 10**9


class MemoryRegistry:
    """A registry in memory that counts what it is asked. A head in `filled` has each tag without having been put."""

    def __init__(self, manifests: Mapping[OciRepository, Manifest]) -> None:
        self._manifests = manifests
        self._tags: set[tuple[OciRepository, Tag]] = set()
        self._lock = threading.Lock()
        self.filled: set[str] = set()
        self.asked = 0

    def _has(self, repository: OciRepository, tag: str) -> bool:
        with self._lock:
            self.asked += 1
            return tag == "main" or tag in self.filled or (repository, tag) in self._tags

    def resolve(self, repository: OciRepository, tag: Tag) -> Digest | None:
        return self._manifests[repository].digest if self._has(repository, tag) else None

    def manifest(self, repository: OciRepository, reference: Tag | Digest) -> Manifest | None:
        return self._manifests[repository] if self._has(repository, str(reference)) else None

    def tags(self, repository: OciRepository) -> Sequence[Tag] | None:
        del repository
        with self._lock:
            self.asked += 1
        return (Tag("main"), *(Tag(head) for head in sorted(self.filled)))

    def put_manifest(
        self, repository: OciRepository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        del manifest
        if confirm is not None:
            confirm()
        with self._lock:
            self.asked += 1
            self._tags.add((repository, tag))

    def put_tags(
        self,
        repository: OciRepository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag]:
        for tag in tags:
            self.put_manifest(repository, tag, manifest, confirm)
        return frozenset(tags)


class _Git:
    """Every head leaves every image unchanged."""

    def __init__(self, images: Mapping[str, Image]) -> None:
        self._catalogue = Catalogue(TIP, images, {name: name for name in images})
        same = Digest.of(b"inputs")
        self._changes = tuple(
            ImageChange(i.repository, False, Why.INPUTS_EQUAL, (), same, same)
            for i in sorted(images.values(), key=lambda i: i.repository)
        )

    def branch_tip(self, branch: RefName) -> CommitId | None:
        del branch
        return TIP

    def fetch(self, commit: CommitId, ref: RefName) -> None: ...

    def catalogue(self, commit: CommitId) -> Catalogue:
        del commit
        return self._catalogue

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        del catalogue
        return ChangeRecord(base, head, (TIP,), TIP, self._changes)

    def faithful_commits(
        self, image: Image, base: CommitId, merge_base: CommitId, fingerprint: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        del image, base, merge_base, fingerprint, limit
        return ()

    def retain(self, commits: frozenset[CommitId]) -> None: ...


class _GitOps:
    def __init__(self, images: Mapping[str, Image]) -> None:
        pins = {name: (Pin(f"apps/{name}.yaml", "image.ref", "dev"),) for name in images}
        self._inventory = Inventory(TIP, tuple(images), pins)

    def inventory(self) -> Inventory:
        return self._inventory

    def ref_name(self) -> str:
        return "refs/heads/main"


class _Statuses:
    """Statuses in memory."""

    def __init__(self) -> None:
        self.sent = 0

    def report(self, head: CommitId, state: StatusState, summary: str) -> None:
        del head, state, summary
        self.sent += 1


class _NoAcceptances:
    def pending(self) -> Sequence[Acceptance]:
        return ()

    def done(self, acceptance: Acceptance) -> None: ...


class ScaleWorld:
    """A repository under reconciliation, without pull requests yet; nothing outside of it costs anything."""

    def __init__(self, repository: Repository, registry: MemoryRegistry, forge: MemoryForge, log: Path) -> None:
        self.repository, self.registry, self.forge, self.log = repository, registry, forge, log
        policy = Policy(Digest.of(b"rules"), (MAIN,), max_heads=ALL)
        self._rules = Rules(
            Mode.FILL,
            False,
            policy,
            ALL,
            tag_reads_per_pass=ALL,
            writes_per_pass=ALL,
            sweep_reads_per_pass=0,
        )

    def open(self, numbers: range, *, filled: bool) -> None:
        """Open pull requests with a head each; with `filled` all of their tags are there already."""
        for number in numbers:
            head = CommitId(f"{number:040x}")
            self.forge.open[number] = PullRequest(number, head, MAIN, 1, 7)
            if filled:
                self.registry.filled.add(head)

    def one_pass(self) -> PassReport:
        """One pass. Raises RuntimeError if anything in it went wrong."""
        report = self.repository.run_pass(self._rules, frozenset(), lambda: False)
        if report.problems or report.applied.failed:
            raise RuntimeError(f"a pass had problems: {report.problems[:3]} {report.applied}")
        return report

    def asked(self) -> int:
        """Requests to the registry since the last time."""
        found, self.registry.asked = self.registry.asked, 0
        return found


@contextmanager
def scale_world(folder: Path, images: int) -> Iterator[ScaleWorld]:
    """A world with so many previewed images, each published under `:main`."""
    named = {
        name: Image(name, OciRepository(f"registry.example/bench/{name}"), (f"primitives/{name}",), PLATFORMS)
        for name in (f"image-{n:03d}" for n in range(images))
    }
    config = Digest.of(b"config")
    manifests = {i.repository: _manifest(config, n) for n, i in enumerate(named.values())}
    registry, forge = MemoryRegistry(manifests), MemoryForge()
    clock, metrics = SystemClock(), PrometheusMetrics()
    with ExitStack() as stack:
        log = stack.enter_context(signed_log(folder))
        executor = stack.enter_context(ThreadExecutor(WORKERS))
        sources = Sources(
            forge=forge,
            git=_Git(named),
            gitops=_GitOps(named),
            registry=registry,
            verifier=NoneVerifier(baseline=Level.NONE, pull_request=Level.NONE),
            executor=executor,
            clock=clock,
            random=SystemRandom(),
        )
        events = stack.enter_context(Path(os.devnull).open("w"))
        reporting = Reporting(to_stream(events, clock, human=False), metrics, _Statuses())
        repository = Repository("bench", sources, registry, log, reporting, acceptances=_NoAcceptances())
        yield ScaleWorld(repository, registry, forge, folder / "log.git")


def _manifest(config: Digest, number: int) -> Manifest:
    platform = {"os": "linux", "architecture": "amd64"}
    row = {"mediaType": OCI_MANIFEST, "digest": config, "size": number + 1, "platform": platform}
    return Manifest.of(OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [row]}).encode())
