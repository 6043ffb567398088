"""One run of the simulation: the world, the processes over their logs, and what must hold at the end.

Everything follows from the seed and the schedule: no thread, no wall-clock time. A process is the product's real loop,
planner, applier and log; it dies by a crash or by being fenced, and is started again from the log alone.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from reconciler.looking import Rules
from reconciler.matrix import Cell
from reconciler.passes import PassReport
from state import log_verify
from state.log import GitLog
from state.log_read import LogReader
from state.observed import Policy
from tests.simulation import cluster, events, oracle, ports, replay
from tests.simulation.check import Checker
from tests.simulation.cluster import Cluster, ClusterChecks, JanitorRun
from tests.simulation.content import RELEASES
from tests.simulation.events_gitops import approve, plan_approved
from tests.simulation.faults import Fault, Strike, Weather
from tests.simulation.process import Process, own_machines
from tests.simulation.schedule import Item, Kind, Schedule
from tests.simulation.shrink import shrunk
from tests.simulation.told import Violation
from tests.simulation.world import HOLD, MAIN, RELEASE, REPOSITORY_ID, World

NAMES: Final = ("a", "b")
SWEEP_S: Final = 20
_PUBLISHING: Final = re.compile(r"(log|markers|changes)\.|gitops\.(tip|push)|policy")
"""Calls of a publish, to the log and to GitOps."""
SETTLE_STEPS: Final = 40
"""Within so many looks at a resting world everything must be in its right state."""


class SimulationFailed(Exception):
    """A run broke an invariant or did not come to rest; the trace tells how."""

    def __init__(self, seed: int, invariant: int, what: str, trace: list[str], items: list[Item]) -> None:
        super().__init__(f"seed {seed}: {what}")
        self.seed, self.invariant, self.what, self.trace, self.items = seed, invariant, what, trace, items


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run did."""

    trace: tuple[str, ...]
    steps: int
    """Outside calls, faults and crashes, after each of which the checks were made."""
    entries: int
    puts: int
    groups: int
    adopts: int
    passes: int
    restarts: int
    releases: int
    opened: int
    """GitOps pull requests."""
    deletes: int
    """Namespaces."""


class Simulation:
    """One run; `run` drives it to its end."""

    def __init__(self, seed: int, directory: Path, items: Sequence[Item] | None = None) -> None:
        self.seed, self.directory = seed, directory
        self.weather = Weather.drawn(Random(f"weather {seed}"))
        self.schedule = Schedule(seed, self.weather, items)
        self.world = World(Random(f"world {seed}"), publishes=self.weather.narrow)
        self.events = events.Events(Random(f"events {seed}"), self.world)
        self.check = Checker(self.world)
        self.trace: list[str] = [str(self.weather)]
        self.running: list[str] = []
        self.round, self.step = 0, 0
        self.steps = 0
        self.calm = False
        self.still = False
        """No sweep is due: whatever is asked for now has another reason."""
        self.passes = 0
        self.restarts = 0
        self.processes = {name: Process(self, name) for name in NAMES}
        self.cluster = Cluster(self.world)
        self.cluster_checks = ClusterChecks(self.cluster, self.world)
        self.janitor = JanitorRun(self, self.cluster, self.cluster_checks)
        self.policy = Policy(
            digest=ports.POLICY,
            base_branches=(MAIN, RELEASE),
            hold_label=HOLD,
            baseline=self.world.baseline,
            release_sets=RELEASES if self.world.releasing else None,
        )

    # --- what the ports ask

    def rules(self, name: str) -> Rules:
        del name  # there is one repository
        world = self.world
        return Rules(
            world.mode,
            world.suspended,
            self.policy,
            world.max_writes_per_hour,
            sweep_interval_s=SWEEP_S,
            sweep_reads_per_pass=0 if self.still else 500,
        )

    def before(self, process: str, call: str, subject: str, possible: tuple[Fault, ...]) -> Strike | None:
        """Each step begins here: the world moves, another process may act, a fault may strike."""
        self.steps += 1
        if self.calm:
            self.check.publishing.step_begins(process)
            self.trace.append(f"{process} {call} {subject}")
            return None
        self.step += 1
        strike, doing = None, f"{call} {subject}"
        struck = self.schedule.before_step(
            self.round,
            self.step,
            possible,
            alone=len(self.running) == 1,
            aim=process == cluster.PROCESS or events.aim_at(doing, self.world) is not None,
            publishing=bool(_PUBLISHING.match(doing)),
        )
        for item in struck:
            match item.kind:
                case Kind.EVENT:
                    self._happen(item, self.events.happens)
                case Kind.AIMED if process == cluster.PROCESS:
                    self._happen(item, self.cluster.aimed)
                case Kind.AIMED:
                    self._happen(item, partial(self.events.aimed, doing))
                case Kind.CLUSTER:
                    self._happen(item, self.cluster.happens)
                case Kind.TAKEOVER if len(self.running) == 1:
                    self._takeover(process, item)
                case Kind.FAULT if item.fault is not None:
                    strike = Strike(item.fault, item.chance())
                    self.steps += 1
                case _:
                    pass
        self.trace.append(f"{process} {call} {subject}" + (f" -> {strike.fault.value}" if strike else ""))
        self.check.publishing.step_begins(process)
        return strike

    def _happen(self, item: Item, something: Callable[[], str]) -> None:
        self.world.rng.seed(item.seed)
        self.trace.append(f"* {something()}")
        self.check.world_moved()
        self.cluster_checks.world_moved()
        if self.world.rng.random() < 0.1:
            for process in self.processes.values():
                if process.alive:
                    process.loop.hint(None, self.world.rng.randint(1, 4))

    def _takeover(self, running: str, item: Item) -> None:
        """Another process becomes active, or has its turn, in the middle of this one's step."""
        other = next(p for p in self.processes.values() if p.name != running)
        chance = item.chance()
        if not other.alive:
            other.start()
        for _ in range(chance.randint(0, 2)):
            if other.alive:
                other.step(chance.getrandbits(64))

    # --- the run

    def run(self) -> Ran:
        """Drive the run. Raises SimulationFailed."""
        try:
            self._live()
            self._come_to_rest()
            self._judge_log()
        except Violation as violation:
            raise self._failed(violation.invariant, str(violation)) from violation
        except Exception as error:
            raise self._failed(0, f"unexpected {type(error).__name__}: {error}") from error
        check = self.check
        counts = (check.puts, check.groups, check.adopts, self.passes, self.restarts)
        outside = (check.releases, check.publishing.opened_count, self.cluster_checks.deletes)
        return Ran(tuple(self.trace), self.steps, len(check.entries), *counts, *outside)

    def _failed(self, invariant: int, what: str) -> SimulationFailed:
        return SimulationFailed(self.seed, invariant, what, self.trace, self.schedule.items)

    def _live(self) -> None:
        calm = self.weather.calm
        rather = dict.fromkeys(range(calm - 3, calm + 1), plan_approved) if self.world.releasing else {}
        rather[0] = events.pr_opened
        for number in self.schedule.rounds():
            self.round, self.step = number, 0
            for item in self.schedule.before_round(self.round):
                match item.kind:
                    case Kind.EVENT:
                        self._happen(item, partial(self.events.happens, rather.get(number)))
                    case Kind.CLUSTER:
                        self._happen(item, self.cluster.happens)
                    case Kind.PASS:
                        self._turn(item)
                    case Kind.JANITOR:
                        self.trace.append(f"janitor {self.janitor.once()}")
                    case _:
                        pass

    def _turn(self, item: Item) -> None:
        chance = item.chance()
        alive = [p for p in self.processes.values() if p.alive]
        if alive and chance.random() < 0.95:
            process = chance.choice(alive)
        else:
            process = self._restarted(chance.choice(list(self.processes.values())))
        self.world.time.advance(chance.uniform(0, max(1.0, 2 * process.step(chance.getrandbits(64)))))

    def _restarted(self, process: Process) -> Process:
        self.restarts += 1
        process.start()
        return process

    def _come_to_rest(self) -> None:
        """No faults and no events any more: everything must be in its right state soon, and stay there."""
        self.calm = True
        events.settle(self.world)
        self.trace.append("* the world rests")
        process = next((p for p in self.processes.values() if p.alive and p.log is self._newest()), None)
        process = process or self._restarted(self.processes["a"])
        process = self._approved(self._settled(process))
        for item in self.schedule.at_rest():
            self.world.rng.seed(item.seed)
            for meddling in events.meddling(self.world):
                self.still = False
                self.trace += [f"* {meddling.__name__} {meddling(self.world)}" for _ in range(3)]
                process = self._settled(process)

        if self.weather.cluster:
            cluster.at_rest(self.janitor, self.cluster, self.cluster_checks, self.world)

    def _approved(self, process: Process) -> Process:
        """Two people approve every plan that holds: each has its pull request then, unless a person said no."""
        gitops = self.world.gitops
        for digest in [gitops.newest[n] for n in sorted(gitops.newest)]:
            if self.world.prs[gitops.plans[digest].pull_request].open:
                self.trace.append(f"* {approve(self.world, gitops.plans[digest], ('alice', 'bob'), life_s=86_000)}")
        process = self._settled(process)
        if missing := self.check.publishing.missing():
            raise Violation(0, "; ".join(missing))
        return process

    def _settled(self, process: Process) -> Process:
        """The process, perhaps begun anew, once everything is in its right state. Raises Violation."""
        wrong = ["no pass was made"]
        for _ in range(SETTLE_STEPS):
            self.world.time.advance(max(31.0, process.step()))
            if not process.alive:
                process = self._restarted(process)
            elif process.report is not None:
                wrong = self._wrong(process.report)
                if not wrong:
                    break
        else:
            raise Violation(0, f"not at rest after {SETTLE_STEPS} steps: {'; '.join(wrong[:5])}")
        self._stays(process)
        return process

    def _newest(self) -> GitLog | None:
        views = self.check.views
        return next((self.processes[n].log for n, v in views.items() if v.epoch == self.check.epoch), None)

    def _wrong(self, report: PassReport) -> list[str]:
        wrong = oracle.differences(self.world, self.check, report.cells)
        if not report.plan.is_noop:
            wrong.append(f"the plan has {len(report.plan.actions)} actions")
        wrong += self.check.publishing.differences()
        if self.check.open_intents:
            wrong.append(f"{len(self.check.open_intents)} intents have no outcome")
        return wrong

    def _stays(self, process: Process) -> None:
        """Further steps change nothing, and ask the registry for nothing that is recorded."""
        entries, puts = len(self.check.entries), self.check.puts
        self.check.registry_calls.clear()
        self.still = True
        cells: tuple[Cell, ...] = ()
        for _ in range(3):
            self.world.time.advance(max(31.0, process.step()))
            if process.report is None or (wrong := self._wrong(process.report)):
                raise Violation(0, f"did not stay at rest: {'; '.join(wrong) if process.report else 'no pass'}")
            cells = process.report.cells
        if (len(self.check.entries), self.check.puts) != (entries, puts):
            raise Violation(0, f"at rest, yet {self.check.entries[-1].entry.kind.value} was appended")
        if asked := oracle.needless(cells, self.check.registry_calls, self.check.publishing.waited_for()):
            raise Violation(0, f"at rest, yet the registry was asked for {asked}")

    def _judge_log(self) -> None:
        report = log_verify.verify(self.directory / "log.git")
        if not report.clean:
            raise Violation(8, f"the log does not verify: {report.problems[:3]}")
        replay.replay(LogReader(self.directory / "log.git", f"log/{REPOSITORY_ID}/reconciler"))


def simulate(seed: int, items: Sequence[Item] | None = None) -> Ran:
    """One run in a directory of its own; with `items` of these alone. Raises SimulationFailed."""
    memory = Path("/dev/shm")  # noqa: S108 - only where the log lies; mkdtemp makes a name of its own in it
    directory = Path(tempfile.mkdtemp(prefix="ameide-simulation-", dir=memory if memory.is_dir() else None))
    try:
        with own_machines(directory):
            return Simulation(seed, directory, items).run()
    finally:
        shutil.rmtree(directory)


def shortest(failure: SimulationFailed) -> SimulationFailed:
    """The same failure with as little happening as possible, and its trace."""
    found = failure

    def fails(items: Sequence[Item]) -> bool:
        nonlocal found
        try:
            simulate(failure.seed, items)
        except SimulationFailed as again:
            if again.invariant == failure.invariant:
                found = again
                return True
        return False

    shrunk(failure.items, fails)
    return found
