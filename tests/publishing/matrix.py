"""Runs: a world, a process, what strikes it where, and then fresh processes until nothing changes any more.

A crash leaves only the world (with what is on the hosts): processes are deterministic, so a crash at a boundary leaves
exactly the world as it was there, and equal worlds have equal futures. So a run is recorded at every boundary, and each
*distinct* world that a crash can leave is brought to rest once, however many pairs lead to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from state.canonical import Json
from state.entry import Kind
from state.errors import WRITER_STOPS, ReconcilerError
from state.git import CommitId
from tests.publishing import check, content, ledger
from tests.publishing.check import Violation
from tests.publishing.gate import Crash, Gate, Strike
from tests.publishing.process import Process
from tests.publishing.world import World

HOSTS: Final = ("here", "there")
PASSES_MAX: Final = 12
PROCESSES_MAX: Final = 6


class Failed(Exception):
    """A run in which something did not hold."""

    def __init__(self, run: str, violation: Violation) -> None:
        super().__init__(f"{run}: {violation}")
        self.rule = violation.rule


class Left(NamedTuple):
    """What a crash at boundary `at` leaves."""

    at: int
    world: World


class Ran(NamedTuple):
    """A process's life: the calls it made, and the distinct worlds that it went through."""

    names: tuple[str, ...]
    left: tuple[Left, ...]
    wrote: int
    world: World
    """As it is at the end."""


def beginning() -> World:
    """Three heads are released, and the log's remote says so; two approvals wait to be taken up."""
    world = World()
    world.remote = _released()
    return world


@cache
def _released() -> CommitId | None:
    tip = None
    for head in content.RELEASES:
        row: dict[str, Json] = {
            "digest": content.MANIFESTS[head].digest,
            "head": head,
            "replaces": None,
            "repository": "ghcr.io/acme/releases",
            "result": "written",
        }
        body: dict[str, Json] = {"attachments": [], "intent": None, "publications": [row], "writes": []}
        tip = ledger.make(tip, Kind.OUTCOME, body, "writer-before")
    return tip


def live(world: World, host: str, strikes: tuple[Strike, ...] = (), *, passes: int = PASSES_MAX) -> Ran:
    """One process, until it dies, is fenced, or a pass changed nothing. It changes `world`."""
    left: dict[object, Left] = {}

    def watch(number: int) -> None:
        left.setdefault(world.key(), Left(number, world.copy()))

    gate = Gate(world, strikes, watch)
    try:
        process = Process(gate, host)
        for _ in range(passes):
            before, wrote = world.key(), gate.wrote
            try:
                process.run_pass()
            except WRITER_STOPS:
                raise
            except ReconcilerError:
                continue  # the product's loop makes the next pass, too
            if world.key() == before and gate.count > max((s.at for s in strikes), default=-1):
                if gate.wrote != wrote:
                    raise Violation(7, "at rest, yet a pass asked for changes")
                break
        else:
            if passes == PASSES_MAX:
                raise Violation(7, f"not at rest after {passes} passes")
    except (Crash, *WRITER_STOPS, ReconcilerError):
        pass
    watch(gate.count)
    return Ran(tuple(gate.names), tuple(left.values()), gate.wrote, world)


@dataclass
class Matrix:
    """Counts what it runs, and remembers which worlds were brought to rest already."""

    runs: int = 0
    settled: set[object] = field(default_factory=set)

    def settle(self, world: World, run: str, hosts: Iterable[str] = ("here",), *, again: bool = False) -> list[Left]:
        """Bring a copy of the world to rest on each host, and judge it; the worlds that crashes could leave on the way.

        With `again` fresh approvals are given at rest: they lead to a pull request where one may be, and only there.
        """
        left: list[Left] = []
        for host in hosts:
            if (key := (host, again, world.key())) in self.settled:
                continue
            self.settled.add(key)
            left += self._settled(world.copy(), f"{run}, then on host {host}", host, again=again)
        return left

    def _settled(self, world: World, run: str, host: str, *, again: bool) -> list[Left]:
        self.runs += 1
        try:
            left = self._rest(world, host)
            check.at_rest(world)
            if again:
                due = check.may_be_given_again(world)
                world.post(*(g.raw for g in content.AGAIN))
                self._rest(world, host)
                check.at_rest(world)
                if due and not self._open(world):
                    raise Violation(7, "fresh approvals led to nothing")
        except Violation as violation:
            raise Failed(run, violation) from violation
        return left

    def _rest(self, world: World, host: str) -> list[Left]:
        """Fresh processes, each after the other has ended, until one changes nothing."""
        left: list[Left] = []
        for _ in range(PROCESSES_MAX):
            before = world.key()
            ran = live(world, host)
            left += ran.left
            if world.key() == before:
                return left
        raise Violation(7, f"not at rest after {PROCESSES_MAX} processes")

    def _open(self, world: World) -> bool:
        return any(c.state == "open" for c in world.of_branch(content.WANTED.branch))

    def run(self, run: str, world: World, host: str, *strikes: Strike, passes: int = PASSES_MAX) -> Ran:
        """A process in a copy of the world, told with the run's name where something does not hold."""
        self.runs += 1
        try:
            return live(world.copy(), host, strikes, passes=passes)
        except Violation as violation:
            raise Failed(run, violation) from violation
