"""The simulated implementations of the ports. Each call is one step of the simulation (`Steps.call`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from random import Random
from typing import Protocol, TypeVar, cast

from reconciler.adapters.forge_reader import RestForge
from state.canonical import Json
from state.change import ChangeRecord
from state.entry import Kind, Logged
from state.errors import ConfigError, Denied, RateLimited, StaleObservation, Unavailable
from state.git import CommitId, RefName
from state.log import GitLog
from state.observed import Catalogue, Image, Inventory, Listing, PullRequest
from state.oci import Digest
from state.quarantine import Acceptance
from tests.publishing.world import GitOpsPullRequest
from tests.simulation.check import Checker
from tests.simulation.faults import LOG, PORT_WRITE, READ, Crash, Fault, Strike
from tests.simulation.gitops import GitOps, inventory
from tests.simulation.world import World

T = TypeVar("T")
R = TypeVar("R")

POLICY = Digest.of(b"policy")


class Steps(Protocol):
    """What decides, before each call, what else happens and which fault the call meets."""

    world: World
    check: Checker

    def before(self, process: str, call: str, subject: str, possible: tuple[Fault, ...]) -> Strike | None: ...


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
    ) -> T:
        """One step: the world moves, a fault may strike before or after the effect, or something else happens."""
        strike = self.steps.before(self.process, name, subject, possible)
        fault = strike.fault if strike else None
        match fault:
            case Fault.CRASH_BEFORE:
                raise Crash(name)
            case Fault.LOST:
                raise Unavailable(f"simulated: {name} {subject}: no answer")
            case Fault.LIMITED if strike is not None:
                raise RateLimited(f"simulated: {name}: too many calls", retry_after_s=strike.chance.uniform(1, 90))
            case Fault.DENIED:
                raise Denied(f"simulated: {name} {subject}: 403")
            case _:
                pass
        result = effect()
        if fault is Fault.LATE:
            raise Unavailable(f"simulated: {name} {subject}: the answer was lost")
        if fault is Fault.CRASH_AFTER:
            raise Crash(name)
        return result


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


class WatchedForge:
    """The product's reader; the checker hears what it answers."""

    def __init__(self, forge: RestForge, check: Checker, process: str) -> None:
        self._forge, self._check, self._process = forge, check, process
        self.repository = forge.repository
        self.head_of = forge.head_of
        self.ref_of = forge.ref_of
        self.merged = forge.merged
        self.last_pusher = forge.last_pusher

    def open_pull_requests(self) -> Listing:
        self._check.listing_begins(self._process)
        listing = self._forge.open_pull_requests()
        self._check.listed(self._process, listing)
        return listing

    def pull_request(self, number: int) -> PullRequest | None:
        found = self._forge.pull_request(number)
        self._check.pull_request_read(self._process, number, found)
        return found


class SimRefs(Port):
    """In place of `git ls-remote`."""

    def read(self, ref: RefName) -> CommitId | None:
        def effect() -> CommitId | None:
            pr = self.world.prs.get(int(ref.split("/")[2]))
            return pr.head if pr is not None else None

        return self.call("git.ls_remote", ref, effect)


class SimGate:
    """Implements `tests.publishing.outside.Outside` over the GitOps side of the world."""

    def __init__(self, steps: Steps, process: str) -> None:
        self.world = steps.world.gitops
        self._port = Port(steps, process)
        self._process, self._judge = process, steps.check.publishing

    def read(self, name: str, effect: Callable[[GitOps], T]) -> T:
        made = self._port.call(name, "", lambda: effect(self.world))
        if name == "gitops.tip branch":
            self._judge.tip_read(self._process, cast("CommitId | None", made))
        return made

    def write(self, name: str, effect: Callable[[], T], *, outside: bool = True) -> T:
        made = self._port.call(name, "", effect, PORT_WRITE if outside else ())
        if outside:
            self._judge.wrote(self._process)
        return made

    def pushed(self, branch: RefName, before: CommitId | None, commit: CommitId) -> None:
        self._judge.pushed(self.world, branch, before, commit)

    def opened(self, branch: RefName, text: str) -> None:
        self._judge.opened(self._process, self.world, branch, text)

    def closed(self, one: GitOpsPullRequest) -> None:
        self._judge.closed(self.world, one)


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
            return inventory(self.world.previewed)

        return self.call("gitops.inventory", "", effect)

    def ref_name(self) -> str:
        return "main"


# --- telling and remembering ------------------------------------------------------------------------------------------


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

    def __init__(
        self, steps: Steps, process: str, log: GitLog, told: Callable[[Logged, Mapping[str, bytes]], None]
    ) -> None:
        super().__init__(steps, process)
        self.log, self._told = log, told

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
            self.check.wire.logged(made, blobs or {})
            self._told(made, blobs or {})
            return made

        return self.call("log.append", kind.value, effect, LOG)

    def push(self) -> bool:
        """The one log repository is its own remote: what is appended is pushed, unless another writer came first."""

        def effect() -> bool:
            self.log.confirm()
            return True

        return self.call("log.push", "", effect, LOG)
