"""The simulated implementations of the ports. Each call is one step of the simulation (`Steps.call`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from random import Random
from types import MappingProxyType
from typing import Protocol, TypeVar

from reconciler.ports import RepositoryIdentity, StatusState
from state.canonical import Json
from state.change import ChangeRecord
from state.entry import Kind, Logged
from state.errors import ConfigError, Denied, RateLimited, StaleObservation, Unavailable
from state.git import CommitId, RefName
from state.log import GitLog
from state.observed import Catalogue, Image, Inventory, Listing, PullRequest
from state.oci import Digest
from state.quarantine import Acceptance
from tests.simulation.check import Checker
from tests.simulation.faults import LISTING, LOG, READ, Crash, Fault
from tests.simulation.world import REPOSITORY_ID, World

T = TypeVar("T")
R = TypeVar("R")

POLICY = Digest.of(b"policy")


class Steps(Protocol):
    """What decides, before each call, what else happens and which fault the call meets."""

    world: World
    check: Checker

    def before(self, process: str, call: str, subject: str, possible: tuple[Fault, ...]) -> Fault | None: ...

    def draw(self) -> Random: ...


class Port:
    """A port as one process has it."""

    def __init__(self, steps: Steps, process: str) -> None:
        self.steps = steps
        self.world = steps.world
        self.check = steps.check
        self.process = process

    def call(
        self,
        name: str,
        subject: str,
        effect: Callable[[], T],
        possible: tuple[Fault, ...] = READ,
        instead: Mapping[Fault, Callable[[], T]] = MappingProxyType({}),
    ) -> T:
        """One step: the world moves, a fault may strike before or after the effect, or something else happens."""
        fault = self.steps.before(self.process, name, subject, possible)
        match fault:
            case Fault.CRASH_BEFORE:
                raise Crash(name)
            case Fault.LOST:
                raise Unavailable(f"simulated: {name} {subject}: no answer")
            case Fault.LIMITED:
                raise RateLimited(f"simulated: {name}: too many calls", retry_after_s=self.steps.draw().uniform(1, 90))
            case Fault.DENIED:
                raise Denied(f"simulated: {name} {subject}: 403")
            case _:
                pass
        result = instead[fault]() if fault in instead else effect()
        match fault:
            case Fault.CRASH_AFTER:
                raise Crash(name)
            case Fault.LATE:
                raise Unavailable(f"simulated: {name} {subject}: the answer was lost")
            case Fault.PARTIAL:
                return self.partial(result)
            case _:
                return result

    def partial(self, result: T) -> T:
        raise NotImplementedError


# --- time, chance, work -----------------------------------------------------------------------------------------------


class SimClock:
    def __init__(self, world: World) -> None:
        self._time = world.time

    def now(self) -> datetime:
        return self._time.wall

    def monotonic_s(self) -> float:
        return self._time.monotonic


class SimRandom:
    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def token(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"


class SimExecutor:
    """Runs the calls one by one, in an order of its own; what happens between them happens between two steps."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> list[R | Exception]:
        todo = list(items)
        order = list(range(len(todo)))
        self._rng.shuffle(order)
        results: dict[int, R | Exception] = {}
        for at in order:
            try:
                results[at] = call(todo[at])
            except Exception as error:  # noqa: BLE001 - the contract: an error is the item's result
                results[at] = error
        return [results[at] for at in range(len(todo))]


# --- forge, git, GitOps ----------------------------------------------------------------------------------------------


class SimForge(Port):
    def repository(self) -> RepositoryIdentity:
        return self.call("forge.repository", "", lambda: RepositoryIdentity(REPOSITORY_ID, "acme/shop"))

    def open_pull_requests(self) -> Listing:
        def effect() -> Listing:
            return Listing(True, tuple(pr.seen(lagging=True) for pr in self.world.open_prs()))

        listing = self.call("forge.open_pull_requests", "", effect, LISTING)
        self.check.listed(self.process, listing)
        return listing

    def partial(self, result: T) -> T:
        assert isinstance(result, Listing)
        rng = self.steps.draw()
        return Listing(False, tuple(pr for pr in result.pull_requests if rng.random() < 0.5))  # type: ignore[return-value]

    def pull_request(self, number: int) -> PullRequest | None:
        def effect() -> PullRequest | None:
            pr = self.world.prs.get(number)
            return pr.seen(lagging=False) if pr is not None and pr.open else None

        found = self.call("forge.pull_request", f"#{number}", effect)
        self.check.pull_request_read(self.process, number, found)
        return found

    def head_of(self, number: int) -> CommitId | None:
        raise NotImplementedError

    def ref_of(self, number: int) -> RefName:
        return RefName(f"refs/pull/{number}/head")


class SimGit(Port):
    def branch_tip(self, branch: RefName) -> CommitId | None:
        tip = self.call("git.branch_tip", branch.short, lambda: self.world.tips[branch])
        self.check.tip_read(self.process, branch, tip)
        return tip

    def fetch(self, commit: CommitId, ref: RefName) -> None:
        def effect() -> None:
            if self.world.ids_refused and self.world.prs[int(ref.split("/")[2])].head != commit:
                raise StaleObservation(f"simulated: {ref} no longer leads to {commit.short}")

        self.call("git.fetch", commit.short, effect)

    def catalogue(self, commit: CommitId) -> Catalogue:
        def effect() -> Catalogue:
            if not self.world.code.commits[commit].catalogue_valid:
                raise ConfigError(f"simulated: the catalogue at {commit.short} is broken")
            return self.world.code.catalogue(commit)

        return self.call("git.catalogue", commit.short, effect)

    def changes(self, base: CommitId, head: CommitId, catalogue: Catalogue) -> ChangeRecord:
        del catalogue
        return self.call("git.changes", f"{base.short} {head.short}", lambda: self.world.code.record(base, head))

    def retain(self, commits: frozenset[CommitId]) -> None:
        del commits

    def faithful_commits(
        self, image: Image, base: CommitId, merge_base: CommitId, fingerprint: Digest, limit: int
    ) -> tuple[CommitId, ...]:
        del base

        def effect() -> tuple[CommitId, ...]:
            found: list[CommitId] = []
            for commit in self.world.code.first_parents(merge_base):
                if len(found) == limit or self.world.code.fingerprint(commit, image.name) != fingerprint:
                    break
                found.append(commit)
            return tuple(found)

        return self.call("git.faithful_commits", image.name, effect)


class SimGitOps(Port):
    def inventory(self) -> Inventory:
        def effect() -> Inventory:
            return Inventory(CommitId("1" * 40), tuple(sorted(self.world.previewed)), {})

        return self.call("gitops.inventory", "", effect)

    def ref_name(self) -> str:
        return "main"


# --- telling and remembering ------------------------------------------------------------------------------------------


class SimStatus(Port):
    def report(self, head: CommitId, state: StatusState, summary: str) -> None:
        def effect() -> None:
            self.check.status_set(self.process)

        self.call("status.report", f"{head.short} {state.value} {summary}", effect)


class SimAcceptances(Port):
    def pending(self) -> Sequence[Acceptance]:
        return tuple(self.world.acceptances)

    def done(self, acceptance: Acceptance) -> None:
        self.world.acceptances.remove(acceptance)


class SimMetrics:
    def count(self, name: str, by: float = 1, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, **labels: str) -> None: ...

    def timed(self, name: str, **labels: str) -> AbstractContextManager[None]:
        del name, labels
        return nullcontext()


class SimLog(Port):
    """The real log; a step per append and push."""

    def __init__(self, steps: Steps, process: str, log: GitLog) -> None:
        super().__init__(steps, process)
        self.log = log

    def entries(self) -> Iterable[Logged]:
        return self.log.entries()

    def read(self, entry: CommitId) -> Logged:
        return self.log.read(entry)

    def blob(self, oid: str) -> bytes:
        return self.log.blob(oid)

    def tip(self) -> CommitId | None:
        return self.log.tip()

    def confirm(self) -> None:
        self.log.confirm()

    def append(self, kind: Kind, body: Mapping[str, Json], blobs: Mapping[str, bytes] | None = None) -> Logged:
        def effect() -> Logged:
            made = self.log.append(kind, body, blobs)
            self.check.appended(self.process, made, blobs or {})
            return made

        return self.call("log.append", kind.value, effect, LOG)

    def push(self) -> bool:
        return self.call("log.push", "", self.log.push, LOG)
