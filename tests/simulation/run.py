"""One run of the simulation: the world, two processes over one log, the scheduler, and what must hold at the end.

Everything follows from the seed: no thread, no wall-clock time. A process is the product's real loop, planner, applier
and log; it dies by a crash or by being fenced, and is started again from the log alone.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
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
from tests.simulation import events, oracle, ports, replay
from tests.simulation.check import Checker
from tests.simulation.faults import Fault, Weather
from tests.simulation.process import Process, own_machines
from tests.simulation.told import Violation
from tests.simulation.world import HOLD, MAIN, RELEASE, REPOSITORY_ID, World

NAMES: Final = ("a", "b")
SWEEP_S: Final = 20
SETTLE_STEPS: Final = 40
"""Within so many looks at a resting world everything must be in its right state."""


class SimulationFailed(Exception):
    """A run broke an invariant or did not come to rest; the trace tells how."""

    def __init__(self, seed: int, invariant: int, what: str, trace: list[str]) -> None:
        super().__init__(f"seed {seed}: {what}")
        self.seed, self.invariant, self.what, self.trace = seed, invariant, what, trace


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run did."""

    trace: tuple[str, ...]
    entries: int
    puts: int
    groups: int
    adopts: int
    passes: int
    restarts: int


class Simulation:
    """One run; `run` drives it to its end."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed, self.directory = seed, directory
        self.rng = Random(seed)
        self.weather = Weather.drawn(self.rng)
        self.world = World(Random(self.rng.getrandbits(64)))
        self.check = Checker(self.world)
        self.trace: list[str] = [str(self.weather)]
        self.running: list[str] = []
        self.calm = False
        self.still = False
        """No sweep is due: whatever is asked for now has another reason."""
        self.passes = 0
        self.restarts = 0
        self.processes = {name: Process(self, name) for name in NAMES}
        self.policy = Policy(
            digest=ports.POLICY, base_branches=(MAIN, RELEASE), hold_label=HOLD, baseline=self.world.baseline
        )

    # --- what the ports ask

    def draw(self) -> Random:
        return self.rng

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

    def before(self, process: str, call: str, subject: str, possible: tuple[Fault, ...]) -> Fault | None:
        """Each step begins here: the world moves, another process may act, a fault may strike."""
        if self.calm:
            self.trace.append(f"{process} {call} {subject}")
            return None
        while self.rng.random() < self.weather.event:
            self._happen()
        if len(self.running) == 1 and self.rng.random() < self.weather.takeover:
            self._takeover(process)
        fault = self.weather.strikes(self.rng, possible)
        self.trace.append(f"{process} {call} {subject}" + (f" -> {fault.value}" if fault else ""))
        return fault

    def _happen(self) -> None:
        what = events.happen(self.world)
        self.trace.append(f"* {what}")
        if self.rng.random() < 0.1:
            for process in self.processes.values():
                if process.alive:
                    process.loop.hint(None, self.rng.randint(1, 4))

    def _takeover(self, running: str) -> None:
        """Another process becomes active, or has its turn, in the middle of this one's step."""
        other = next(p for p in self.processes.values() if p.name != running)
        if not other.alive:
            other.start()
        for _ in range(self.rng.randint(0, 2)):
            if other.alive:
                other.step()

    # --- the run

    def run(self) -> Ran:
        """Drive the run. Raises SimulationFailed."""
        try:
            self._live()
            self._come_to_rest()
            self._judge_log()
        except Violation as violation:
            raise SimulationFailed(self.seed, violation.invariant, str(violation), self.trace) from violation
        except Exception as error:
            what = f"unexpected {type(error).__name__}: {error}"
            raise SimulationFailed(self.seed, 0, what, self.trace) from error
        check = self.check
        counts = (check.puts, check.groups, check.adopts, self.passes, self.restarts)
        return Ran(tuple(self.trace), len(check.entries), *counts)

    def _live(self) -> None:
        for _ in range(6):
            self._happen()
        for _ in range(self.weather.rounds):
            for _ in range(self.rng.randint(0, 4)):
                self._happen()
            process = self._somebody()
            self.world.time.advance(self.rng.uniform(0, max(1.0, 2 * process.step())))

    def _somebody(self) -> Process:
        alive = [p for p in self.processes.values() if p.alive]
        if alive and self.rng.random() < 0.95:
            return self.rng.choice(alive)
        return self._restarted(self.rng.choice(list(self.processes.values())))

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
        process = self._settled(process)
        if self.rng.random() < 0.5:
            # Then somebody meddles with tags, and later an operator accepts what is there.
            for meddling in (events.tampered, events.accepted):
                self.still = False
                self.trace += [f"* {meddling.__name__} {meddling(self.world)}" for _ in range(3)]
                process = self._settled(process)

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
        if asked := oracle.needless(cells, self.check.registry_calls):
            raise Violation(0, f"at rest, yet the registry was asked for {asked}")

    def _judge_log(self) -> None:
        report = log_verify.verify(self.directory / "log.git")
        if not report.clean:
            raise Violation(8, f"the log does not verify: {report.problems[:3]}")
        replay.replay(LogReader(self.directory / "log.git", f"log/{REPOSITORY_ID}/reconciler"))


def simulate(seed: int) -> Ran:
    """One run in a directory of its own. Raises SimulationFailed."""
    memory = Path("/dev/shm")  # noqa: S108 - only where the log lies; mkdtemp makes a name of its own in it
    directory = Path(tempfile.mkdtemp(prefix="ameide-simulation-", dir=memory if memory.is_dir() else None))
    try:
        with own_machines():
            return Simulation(seed, directory).run()
    finally:
        shutil.rmtree(directory)
