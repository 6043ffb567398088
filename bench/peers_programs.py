"""The command-line programs that do parts of the same work: where they are, their versions, how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from bench.distribution import missing
from bench.measure import Bench, Contender, Row, Target, versus
from tools import go_tools

SKOPEO: Final = "skopeo"
_TIMEOUT_S: Final = 120
_ATTEMPTS: Final = 3


class Program(NamedTuple):
    """`lacking` says what to do if it is not here; empty if it is."""

    name: str
    path: str
    version: str
    lacking: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def program(name: str) -> Program:
    """skopeo is the system's; the others are those that `tools/go_tools.py` builds, in the versions pinned there."""
    if name == SKOPEO:
        if lacking := missing(SKOPEO):
            return Program(name, "", "", lacking)
        said = subprocess.run([SKOPEO, "--version"], check=True, capture_output=True, text=True).stdout
        return Program(name, shutil.which(SKOPEO) or "", said.split()[2])
    version = go_tools.version_of(name).removeprefix("v")
    if found := go_tools.find(name):
        return Program(name, str(found), version)
    return Program(name, "", version, f"{name} is not here: python3 tools/go_tools.py {name}")


class Against(NamedTuple):
    """One way in which a peer does the work."""

    peer: Program
    what: str
    contender: Contender
    target: Target | None = None

    @property
    def heading(self) -> tuple[str, str]:
        """What and note of its row."""
        return self.what, self.peer.lacking or f"{self.peer}; times faster"


def compared(figure: str, bench: Bench, ours: Contender, against: Sequence[Against]) -> Iterator[Row]:
    """A row for each, the ratio being how many times faster ours is; what is not here tells how to get it."""
    peers = {str(one.heading): one.contender for one in against if not one.peer.lacking}
    found = versus(figure, bench.rounds, ours, peers)
    for one in against:
        what, note = one.heading
        row = Row(figure, what, unit="s", target=one.target, note=note)
        measured = found.get(str(one.heading))
        if measured:
            row = row._replace(ours=measured.ours, peer=measured.peer, ratio=1 / measured.ratio)
        yield row


def run_all(commands: Sequence[Sequence[str]], at_a_time: int, home: Path) -> list[str]:
    """Run each command as a process, so many side by side; what each printed. `home` keeps the user's settings out.

    One that fails is run again, as a script would: distribution answers 500 to who reads a manifest while somebody else
    stores it again. Raises RuntimeError with what the first one said that failed three times.
    """
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}

    def one(command: Sequence[str]) -> str:
        for _ in range(_ATTEMPTS):
            done = subprocess.run(command, env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False)
            if not done.returncode:
                return done.stdout.decode()
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.returncode} {done.stderr.decode()[-500:]}")

    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(one, commands))


def plain_regctl(host: str) -> list[str]:
    """How regctl is told that this registry speaks plain HTTP."""
    return ["--host", f"reg={host},tls=disabled"]
