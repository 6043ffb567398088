"""`python -m tests.chaos`: every part as a process behind a fault proxy, killed and started again, for some minutes.

A failure prints the seed, what was done so far, and where the logs of the processes are. With `--plant NAME` the
daemons run with that bug, which has to be found (tests/chaos/plants.py).
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.arguments import minutes, natural
from tests.chaos.blows import Blows
from tests.chaos.calm import Calm
from tests.chaos.people import People
from tests.chaos.plants import PLANTS
from tests.chaos.yard import Yard, open_yard

VERIFY_EVERY = 5
"""At each so many-th calm point, and at the last one, the log is verified by the command."""
RATES = (0, 0.05, 0.15, 0.3)
"""One of them for each proxy in each round: the chance of a fault for each request."""
APPROVED_FIRST = 2
"""So many plans are approved when a round begins; more while it goes on."""
DEEDS = (10, 22)
"""How many a round has; some find nothing to do."""
GENTLE_ROUNDS = 2
"""So many rounds after one another leave the daemons alive, and then as many do not."""


class Run:
    """One soak."""

    def __init__(self, yard: Yard, seed: int, console: Console) -> None:
        self.yard = yard
        self.chance = random.Random(seed)
        self.people = People(yard, self.chance)
        self.blows = Blows(yard, self.chance, self._stirs)
        self.calm = Calm(yard, self.people)
        self.schedule: list[str] = []
        self.rounds = 0
        self._console = console
        self._began = time.monotonic()

    def goes_on(self, minutes: float) -> None:
        """Rounds until the time is over, the last one ending calm. Raises AssertionError."""
        self.yard.starts()
        self.yard.until_leading()
        self.people.opens()
        self._rests(whole=False)
        while time.monotonic() - self._began < minutes * 60:
            self._round()
        self.calm.log_verifies()
        self._console.print(self.summary(), highlight=False, markup=False)

    def _round(self) -> None:
        self.rounds += 1
        gentle = (self.rounds // GENTLE_ROUNDS) % 2 == 1
        for proxy in self.yard.proxies.values():
            proxy.rate = self.chance.choice(RATES)
        if gentle or self.rounds % 2:  # whoever is paused leads until then, and the other one can take over
            self.yard.proxies["lease"].rate = 0
        before, deeds = len(self.schedule), self.chance.randint(*DEEDS)
        # One blow to who leads is sure to come, in the middle of the others.
        sure = self.blows.pauses_leader if self.rounds % 2 else self.blows.kills_daemon
        for _ in range(APPROVED_FIRST):  # by now every head has its plan
            self._does(self.people.approves)
        for n in range(deeds):
            weighed = [*self.people.deeds(), *self.blows.deeds(gentle=gentle)]
            deed = self.chance.choices([d for _, d in weighed], [w for w, _ in weighed])[0]
            self._does(sure if n == deeds // 2 and not gentle else deed)
            self._does(self.blows.tends)
            time.sleep(self.chance.uniform(0, 0.8))
        waited = self._rests(whole=self.rounds % VERIFY_EVERY == 0)
        c = self.calm.lives["c", 1, False].points[-1]
        self._console.print(
            f"{time.monotonic() - self._began:6.0f} s  round {self.rounds}: {len(self.schedule) - before} deeds, "
            f"calm after {waited:.1f} s; {len(self.people.open)} open, {self.calm.written['the reconciler']} tags, "
            f"{self.calm.pulls} GitOps pull requests, {len(self.people.log.entries)} entries; "
            f"{c.rss_kib // 1024} MiB, {c.handles} handles",
            highlight=False,
        )

    def _does(self, deed: Callable[[], str | None]) -> str | None:
        if (done := deed()) is not None:
            self.schedule.append(f"{time.monotonic() - self._began:7.1f} s  {done}")
        return done

    def _stirs(self) -> str | None:
        """A new head."""
        return self._does(self.people.opens) or self._does(self.people.pushes)

    def _rests(self, *, whole: bool) -> float:
        """To a calm point. Seconds until it was calm."""
        for proxy in self.yard.proxies.values():
            proxy.rate = 0
            proxy.forget_aims()
        while any(not s.runs for s in self.yard.servers.values()):
            self._does(self.blows.restarts_server)
        self._does(self.blows.tends)
        while any(h.unbuilt for h in self.people.open.values()):
            self._does(self.people.builds)
        waited = self.calm.until(lambda: self._does(self.blows.tends))
        self.calm.holds(whole=whole)
        self.schedule.append(f"{time.monotonic() - self._began:7.1f} s  calm")
        for head in [h for h in self.people.open.values() if h.spoiled]:
            self.people.closes_one(head.number)
        return waited

    def summary(self) -> str:
        kills = Counter({p.name: p.kills for p in self.yard.every()})
        faults: Counter[str] = Counter()
        for proxy in self.yard.proxies.values():
            faults.update(proxy.faults)
        lives = [life for life in self.calm.lives.values() if len(life.warm) > 1]
        worn = "; ".join(
            f"{life.name} over {len(life.warm)} calm points: {life.warm[0].rss_kib // 1024} → "
            f"{life.warm[-1].rss_kib // 1024} MiB, {life.warm[0].handles} → {life.warm[-1].handles} handles"
            for life in lives
        )
        return (
            f"{self.rounds} rounds, {sum(kills.values())} kills {dict(kills)}, blows {dict(self.blows.counted)},\n"
            f"{sum(faults.values())} faults {dict(faults)} in {sum(p.requests for p in self.yard.proxies.values())} "
            f"requests,\n{len(self.people.heads)} heads, tags written {dict(self.calm.written)}, "
            f"{self.people.markers} approvals, {self.people.revocations} revocations, {self.calm.pulls} GitOps pull "
            f"requests, {len(self.people.log.entries)} log entries,\n{worn}"
        )


def soak(given: argparse.Namespace, console: Console) -> str | None:
    """What was found, or None."""
    minutes, seed = given.minutes, given.seed
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    with open_yard(root, seed, plant=given.plant, embedded=given.embedded) as yard:
        run = Run(yard, seed, console)
        console.print(f"seed {seed}, registry {yard.registry_kind}, in {root}", highlight=False)
        try:
            run.goes_on(minutes)
        except (AssertionError, OSError) as error:
            console.print("\n".join(run.schedule[-200:]), highlight=False, markup=False)
            found = f"seed {seed}, round {run.rounds}: {error}"
            console.print(f"{found}\nlogs of the processes: {root / 'logs'}", highlight=False, markup=False)
            return found
    if not given.keep:
        shutil.rmtree(root, ignore_errors=True)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=minutes, default=20)
    parser.add_argument("--seed", type=natural, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--plant", choices=sorted(PLANTS), help="run with this bug; found is success")
    parser.add_argument("--embedded", action="store_true", help="the embedded registry, also where Debian's is there")
    parser.add_argument("--keep", action="store_true", help="keep the directory of a run that found nothing")
    given = parser.parse_args()
    if not Path("/proc/self/fd").is_dir():
        parser.error("needs Linux: what a process holds is read from /proc")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no process of the run is left
    found = soak(given, Console(soft_wrap=True))
    return int((found is not None) is (given.plant is None))


if __name__ == "__main__":
    sys.exit(main())
