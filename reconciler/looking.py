"""What a look goes by and what it gives: the rules, the readers, the snapshot, and reads side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeAlias, TypeVar

from reconciler.absence import PassReads
from reconciler.heads import Work
from reconciler.ports import (
    Clock,
    Executor,
    ForgeReader,
    Git,
    GitOps,
    Random,
    RegistryReader,
    Releases,
    Verifier,
)
from state.errors import ReconcilerError, Unavailable
from state.git import CommitId
from state.observed import Mode, Policy, Snapshot, Unknown
from state.oci import Digest, Manifest, Repository

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
class Look:
    """A snapshot with what the same pass goes on to use: its reads, and the baseline bytes by digest."""

    snapshot: Snapshot
    reads: PassReads
    manifests: dict[tuple[Repository, Digest], Manifest] = field(default_factory=dict)
    resting: Mapping[CommitId, Work] = field(default_factory=dict)
    """What is known of heads at rest (`reconciler.rest`)."""
    problems: list[ReconcilerError] = field(default_factory=list)
    """What could not be read, or was not what it claimed to be; the snapshot says `Unknown` there."""


def each(sources: Sources, what: str, read: Callable[[T], R], items: Sequence[T]) -> list[R | Exception]:
    """Each item's result or error. Every read that ends is a sign of life; none begins once we are to stop."""
    done = count(1)

    def one(item: T) -> R:
        refuse_to_go_on(sources)
        try:
            return read(item)
        finally:
            sources.tick(what, next(done), len(items))

    results = sources.executor.map(one, items)
    refuse_to_go_on(sources)
    return results


def refuse_to_go_on(sources: Sources) -> None:
    """Raise Unavailable once the process is to stop."""
    if sources.stopping():
        raise Unavailable("the process is stopping; nothing was decided from what was read so far")


def known(look: Look, read: Callable[[], T]) -> T | Unknown:
    """The value, or Unknown where it cannot be read."""
    try:
        return read()
    except ReconcilerError as error:
        return unknown(look, error)


def settled(look: Look, result: T | Exception) -> T | Unknown:
    """The same for a result of the executor. What is not an error of ours is a bug, and stops the pass."""
    if isinstance(result, ReconcilerError):
        return unknown(look, result)
    if isinstance(result, Exception):
        raise result
    return result


def unknown(look: Look, error: ReconcilerError) -> Unknown:
    """What could not be read, told among the problems of the look."""
    look.problems.append(error)
    return Unknown(f"{type(error).__name__}: {error}")
