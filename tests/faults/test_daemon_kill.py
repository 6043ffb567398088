"""kill -9 in the middle of passes, again and again, while pull requests come: the last start finishes everything."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from state.entry import Kind
from state.git import CommitId
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, changes, eventually, open_shop

KILLS = 10
SEED = 20_260_105
SHORTEST_PASS = 4 * len(IMAGE_NAMES)
"""Requests that a new head without changes needs at least, image by image: baseline, look, write, reading back."""


class Killer:
    """Kills a process at the n-th request that the registry answers from now on: before the answer, or a bit later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = 0
        self._pid = 0
        self._later_s = 0.0

    def aim(self, pid: int, requests: int, later_s: float) -> None:
        with self._lock:
            self._pid, self._left, self._later_s = pid, requests, later_s

    def told(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left != 0:
                return
            if self._later_s:
                threading.Timer(self._later_s, os.kill, (self._pid, signal.SIGKILL)).start()
            else:
                os.kill(self._pid, signal.SIGKILL)


class Forks:
    """Reconcilers in forks of one process."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.reconciler_forks"],
            env=shop.environment(),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self) -> int:
        """The process id of a new `reconciler run`."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(["reconciler", "run", "--config", str(self._shop.config)]) + "\n")
        self.popen.stdin.flush()
        return int(self._said("pid"))

    def ended(self) -> int:
        """Its exit code, once it has ended; minus the signal that killed it."""
        return int(self._said("exit"))

    def _said(self, word: str) -> str:
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        found, _, value = line.strip().partition(" ")
        assert found == word, line
        return value


@pytest.fixture
def killer() -> Killer:
    return Killer()


@pytest.fixture
def shop(tmp_path: Path, killer: Killer) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop", killer.told) as made:
        yield made


@pytest.fixture
def forks(shop: Shop) -> Iterator[Forks]:
    made = Forks(shop)
    with made.popen:
        try:
            yield made
        finally:
            made.popen.kill()


def test_killed_again_and_again_the_reconciler_brings_everything_about(
    shop: Shop, killer: Killer, forks: Forks
) -> None:
    chance = random.Random(SEED)
    wanted: dict[CommitId, dict[str, str]] = {}
    for n in range(KILLS):
        changed = chance.choice([None, *IMAGE_NAMES])
        files = {**DOCS, "n": str(n)} if changed is None else changes(changed, f"{n}\n")
        _, head = shop.opens(f"pr-{n}", files)
        wanted[head] = {image: shop.main(image) for image in IMAGE_NAMES}
        if changed is not None:
            wanted[head][changed] = shop.world.ci_builds(changed, head)
        # Every second time a moment later, so that it also hits what lies between requests: the entries of the log.
        later_s = chance.uniform(0.001, 0.06) if n % 2 else 0
        killer.aim(forks.start(), chance.randint(1, SHORTEST_PASS - len(IMAGE_NAMES)), later_s)
        assert forks.ended() == -signal.SIGKILL
    pid = forks.start()
    eventually("every tag of every head", lambda: all(shop.tags(head) == tags for head, tags in wanted.items()))
    eventually("every tag is recorded", lambda: outcomes(shop) == {(i, h) for h in wanted for i in IMAGE_NAMES})
    os.kill(pid, signal.SIGTERM)
    assert forks.ended() == 0

    assert shop.registry is not None
    puts = Counter(path for method, path, status in shop.registry.answered if (method, status) == ("PUT", 201))
    assert {puts[f"/v2/shop/{image}/manifests/{head}"] for head in wanted for image in IMAGE_NAMES} <= {0, 1}
    assert Counter(e.entry.body["head"] for e in shop.entries(Kind.DECISION)) == dict.fromkeys(wanted, 1)
    intents = sorted(e.id for e in shop.entries(Kind.INTENT))
    assert sorted(str(e.entry.body["intent"]) for e in shop.entries(Kind.OUTCOME) if e.entry.body["intent"]) == intents
    assert len(shop.entries(Kind.EPOCH)) == KILLS + 1
    assert not list(shop.root.rglob("*.lock"))
    assert shop.verified().branches[0].epochs == KILLS + 1


def outcomes(shop: Shop) -> set[tuple[str, str]]:
    """(image, head) of every tag that the log says is there."""
    return {
        (row["repository"].rpartition("/")[2], row["head"])  # type: ignore[index, call-overload, union-attr]
        for e in shop.entries(Kind.OUTCOME)
        for row in e.entry.body["writes"]  # type: ignore[union-attr]
        if row["result"] in ("written", "adopted")  # type: ignore[index, call-overload]
    }
