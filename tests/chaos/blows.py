"""What is done to the processes: kill -9 and a new start, also in the middle of a request; SIGSTOP of whoever leads."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from tests.chaos.calm import Broken
from tests.chaos.processes import Daemon
from tests.chaos.proxy import Aim, FaultProxy, Request
from tests.chaos.yard import Yard

TAKEN_OVER_S: Final = 25.0
"""A long pause lasts until the other one leads, or so long."""
AIM_S: Final = 15.0
"""A deed waits so long for the request that it is aimed at, then it is done all the same."""
_EXIT_DEPENDENCY: Final = 3
"""What a daemon ends with that lost its lease, or could not reach what it needs to start."""


class Blows:
    """Each returns what was done, or None where it could not be done now."""

    def __init__(self, yard: Yard, chance: random.Random, stirs: Callable[[], str | None]) -> None:
        """`stirs` brings work for whoever leads: a blow that is aimed at a write comes to one so."""
        self.yard = yard
        self._stirs = stirs
        self.counted: Counter[str] = Counter()
        self._chance = chance

    # --- the servers

    def kills_server(self) -> str | None:
        name = self._chance.choice(sorted(self.yard.servers))
        server = self.yard.servers[name]
        if not server.runs:
            return None
        when = self._strikes(self.yard.proxies[name], _any, server.kill) if self._chance.random() < 0.5 else ""
        server.kill()
        self._count(f"kill {name}")
        return f"kills {name}{when}"

    def restarts_server(self) -> str | None:
        down = [s for s in self.yard.servers.values() if not s.runs]
        if not down:
            return None
        server = self._chance.choice(down)
        server.start()
        server.until_listening()
        return f"starts {server.name}"

    # --- the daemons

    def tends(self) -> str | None:
        """Start again what has ended, as an orchestrator does. Raises Broken for an end that is not meant to be."""
        done = []
        for daemon in self.yard.daemons.values():
            if (code := daemon.ended_by_itself()) is not None:
                if code != _EXIT_DEPENDENCY or daemon.name == "c":
                    raise Broken(f"{daemon.name} ended with {code}: {daemon.log.read_text()[-3000:]}")
                self._count("stepped down")
                done.append(f"{daemon.name} has stepped down")
            if not daemon.runs:
                daemon.start()
                done.append(f"starts {daemon.name}")
        return ", ".join(done) or None

    def kills_daemon(self) -> str | None:
        daemon = self._leads_mostly()
        if daemon is None or not daemon.runs:
            return None
        name, fits = self._chance.choice(_WRITES)
        when = ""
        if self._chance.random() < 0.7:
            when = self._strikes(self.yard.proxies[name], fits, daemon.kill)
        daemon.kill()
        self._count(f"kill daemon {daemon.name}")
        return f"kills {daemon.name}{when}"

    def ends_daemon(self) -> str | None:
        """SIGTERM, as an update does."""
        daemon = self._leads_mostly()
        if daemon is None or not daemon.answers:  # before that nobody has told the system what SIGTERM is to do
            return None
        daemon.sends(signal.SIGTERM)
        code = daemon.ends(60)
        if code not in {0, _EXIT_DEPENDENCY}:
            raise Broken(f"{daemon.name} ended with {code} after SIGTERM: {daemon.log.read_text()[-3000:]}")
        self._count("SIGTERM")
        return f"ends {daemon.name}"

    def pauses_leader(self) -> str | None:
        """SIGSTOP right at a write, which does not arrive; until the other one leads, or for a moment; then SIGCONT."""
        began = time.monotonic()
        while (daemon := self.yard.leader()) is None:
            if time.monotonic() - began > TAKEN_OVER_S:
                return None
            time.sleep(0.2)
        long = self._chance.random() < 0.7
        name, fits = _WRITES[0] if self._chance.random() < 0.6 else self._chance.choice(_WRITES)
        over = threading.Event()

        def stops() -> None:
            if daemon.runs:
                daemon.sends(signal.SIGSTOP)
            over.wait(60)

        when = self._strikes(self.yard.proxies[name], fits, stops, waits=lambda: daemon.stopped, after=False, nth_max=1)
        if not daemon.stopped and daemon.runs:
            daemon.sends(signal.SIGSTOP)
        began = time.monotonic()
        while long and self.yard.leader() is None and time.monotonic() - began < TAKEN_OVER_S:
            time.sleep(0.2)
        time.sleep(self._chance.uniform(1, 3))
        # Its peer closes the connection of the held request first: nothing of it is left on the way.
        over.set()
        time.sleep(0.1)
        if daemon.runs:
            daemon.sends(signal.SIGCONT)
        self._count("long pause" if long else "short pause")
        return f"stopped {daemon.name} for {time.monotonic() - began:.0f} s{when}"

    def _leads_mostly(self) -> Daemon | None:
        either = self.yard.daemons[self._chance.choice("ab")]
        return self.yard.leader() if self._chance.random() < 0.7 else either

    def _strikes(
        self,
        proxy: FaultProxy,
        fits: Callable[[Request], bool],
        deed: Callable[[], None],
        *,
        waits: Callable[[], bool] | None = None,
        after: bool | None = None,
        nth_max: int = 4,
    ) -> str:
        """Aim at a request of the next seconds; how it went, for the schedule."""
        struck = threading.Event()

        def told() -> None:
            struck.set()
            deed()

        late = self._chance.random() < 0.6 if after is None else after
        nth = self._chance.randint(1, nth_max)
        aim = Aim(fits, nth, told, after=late)
        proxy.aim(aim)
        self._stirs()
        hit = struck.wait(AIM_S)
        if hit and waits is not None:
            until = time.monotonic() + 2
            while not waits() and time.monotonic() < until:
                time.sleep(0.01)
        proxy.forget(aim)
        return f" {'after' if late else 'before'} request {nth}" if hit else ""

    def _count(self, what: str) -> None:
        self.counted[what] += 1

    def deeds(self, *, gentle: bool) -> list[tuple[int, Callable[[], str | None]]]:
        """With how often each comes; `gentle` leaves the daemons and what they lead by alone."""
        servers = [(5, self.kills_server), (8, self.restarts_server)]
        return servers if gentle else [*servers, (7, self.kills_daemon), (2, self.ends_daemon), (4, self.pauses_leader)]


def _any(_request: Request) -> bool:
    return True


_WRITES: Final[list[tuple[str, Callable[[Request], bool]]]] = [
    ("registry", lambda r: r.method == "PUT" and "/manifests/" in r.path),
    ("registry", lambda r: r.method in {"GET", "HEAD"}),
    ("log", lambda r: r.method == "POST" and "receive-pack" in r.path),
    ("gitops", lambda r: r.method == "POST" or "receive-pack" in r.path),
    ("code", lambda r: r.method == "POST"),
]
"""Where a daemon is struck: at a tag, a look, an append to the log, a GitOps pull request, a status."""
