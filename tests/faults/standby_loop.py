"""Kills of whichever replica works, its HTTP host and a standby running, while developers open pull requests."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

from state.entry import Kind
from state.log_read import LogReader
from state.log_verify import verify
from tests.e2e.test_daemon import Process
from tests.fixtures.lease_api import run_lease_api
from tests.fixtures.log_remote import GitServer
from tests.fixtures.shop import IMAGE_NAMES, LOG_REF, Shop, eventually, open_shop
from tests.fixtures.standby import Replicas

REQUESTS_MAX = 40
"""So many come at least while a new head is filled: a kill is aimed at one of them, or lies in the next pass."""
WITHIN_S = 120.0


class Killer:
    """Ends a process once registry and log remote together have done its n-th request, before the answer is sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid, self._left = 0, 0
        self.killed = threading.Event()

    def aim(self, pid: int, nth: int) -> None:
        with self._lock:
            self._pid, self._left = pid, nth
            self.killed.clear()

    def told(self) -> None:
        with self._lock:
            if not self._pid:
                return
            self._left -= 1
            if self._left <= 0:
                os.kill(self._pid, signal.SIGKILL)
                self._pid = 0
                self.killed.set()


def standby_kills(root: Path, kills: int, seed: int) -> None:
    """So many kills; after each the other replica makes everything right. Whatever fails is told with the seed."""
    chance = random.Random(seed)
    killer = Killer()
    (root / "served").mkdir(parents=True)
    remote = GitServer(root / "served")
    try:
        with run_lease_api() as lease_api, open_shop(root / "shop", killer.told) as shop:
            remote.told = lambda _method, _path: killer.told()
            replicas = Replicas(shop, *lease_api, remote)
            running = {name: Process(shop, replicas.config(name)) for name in ("a", "b")}
            try:
                for n in range(kills):
                    _one_kill(replicas, running, killer, chance, f"seed {seed}, kill {n}")
                for process in running.values():
                    eventually("it has started", lambda p=process: p.events("listening"), within_s=WITHIN_S)  # type: ignore[misc]
                    assert process.ends(signal.SIGTERM) == 0, process.log
            finally:
                for process in running.values():
                    process.popen.kill()
                    process.popen.communicate()
            _adds_up(replicas)
    finally:
        remote.close()


def _one_kill(
    replicas: Replicas, running: dict[str, Process], killer: Killer, chance: random.Random, where: str
) -> None:
    shop = replicas.shop
    leader = eventually(f"{where}: one leads", lambda: _leader(running), within_s=WITHIN_S)
    killer.aim(running[leader].popen.pid, chance.randint(1, REQUESTS_MAX))
    heads = []
    while not killer.killed.is_set():
        name = f"pr-{chance.getrandbits(40):x}"
        heads.append(shop.opens(name, {"README.md": name})[1])
        eventually(
            f"{where}: the kill or the tags",
            lambda: killer.killed.is_set() or all(None not in shop.tags(h).values() for h in heads),
            within_s=WITHIN_S,
        )
    assert running[leader].popen.wait(20) == -signal.SIGKILL
    running[leader].popen.communicate()
    eventually(f"{where}: every tag", lambda: all(None not in shop.tags(h).values() for h in heads), within_s=WITHIN_S)
    running[leader] = Process(shop, replicas.config(leader))


def _leader(running: dict[str, Process]) -> str | None:
    return next((name for name, process in running.items() if process.readiness()[0] == 200), None)


def _adds_up(replicas: Replicas) -> None:
    shop: Shop = replicas.shop
    report = verify(replicas.remote, allowed_signers_file=shop.allowed_signers)
    assert report.clean, report.problems
    entries = list(LogReader(replicas.remote, LOG_REF).entries())
    decided = Counter(str(e.entry.body["head"]) for e in entries if e.entry.kind is Kind.DECISION)
    assert not [head for head, times in decided.items() if times > 1], "a head was decided twice"
    intents = Counter(str(e.id) for e in entries if e.entry.kind is Kind.INTENT)
    outcomes = Counter(str(e.entry.body["intent"]) for e in entries if e.entry.kind is Kind.OUTCOME)
    outcomes.pop("None", None)
    assert outcomes == intents, "one outcome for each intent"
    assert shop.registry is not None
    puts = Counter(
        path
        for method, path, status in shop.registry.answered
        if (method, status) == ("PUT", 201) and path.rpartition("/")[2] in decided
    )
    assert puts, "nothing was written"
    assert max(puts.values()) == 1, "a tag was written twice"
    for head in decided:
        assert all(tag == shop.main(image) for image, tag in shop.tags(head).items()), head  # type: ignore[arg-type]
    assert len(IMAGE_NAMES) * len(decided) == len(puts)
