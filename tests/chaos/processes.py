"""Processes of a run: started, killed, stopped, looked at through /proc; each on a port that it always has."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import requests

from tests.fixtures.shop import eventually

ROOT: Final = Path(__file__).parents[2]
_BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Ports that no outgoing connection takes while their server is down. Source: ip(7), ip_local_port_range."""
START_S: Final = 60.0
MARK: Final = "CHAOS_RUN"
"""In the environment of every process, so that those left behind are found; the product reads no such variable."""


def fixed_port() -> int:
    while True:
        port = random.SystemRandom().choice(_BELOW_EPHEMERAL)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Wear(NamedTuple):
    """What a process holds."""

    rss_kib: int
    handles: int
    """Without those of packs, of which there is a bound."""
    packs: int
    threads: int
    children: int
    zombies: int


class Process:
    """One server that is started again and again on the same port and the same files."""

    def __init__(self, name: str, arguments: list[str], root: Path, environment: Mapping[str, str], port: int) -> None:
        self.name = name
        self.port = port
        self.kills = 0
        self.ended: list[int] = []
        """The exit code of each end that was not ours."""
        self.stopped = False
        self.starts = 0
        self.log = root / "logs" / f"{name}.log"
        self.log.parent.mkdir(exist_ok=True)
        self._arguments = arguments
        self._environment = dict(environment)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start it, and return at once."""
        self.starts += 1
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._arguments, stdout=log, stderr=log, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL
            )

    def until_listening(self) -> None:
        eventually(f"{self.name} listens", self._listens, within_s=START_S)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def runs(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """kill -9; it may have ended by itself before."""
        if self.runs:
            assert self._popen is not None
            self._popen.kill()
            self._popen.wait()
            self.kills += 1
        self._popen = None
        self.stopped = False

    def sends(self, number: signal.Signals) -> None:
        assert self._popen is not None
        self._popen.send_signal(number)
        self.stopped = number is signal.SIGSTOP

    def ends(self, within_s: float) -> int | None:
        """Its exit code where it ends so soon."""
        assert self._popen is not None
        with suppress(subprocess.TimeoutExpired):
            code = self._popen.wait(within_s)
            self._popen = None
            return code
        return None

    def ended_by_itself(self) -> int | None:
        """The exit code, once, of a process that has ended without us."""
        if self._popen is None or (code := self._popen.poll()) is None:
            return None
        self._popen = None
        return code

    def wear(self) -> Wear | None:
        """What it holds now; None where it has just ended."""
        with suppress(OSError, KeyError):  # of one that ended there is little left to read
            return self._wear()
        return None

    def _wear(self) -> Wear:
        fields = dict(
            line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if ":" in line
        )
        children = [state for parent, state in _parents() if parent == self.pid]
        handles = [_target(at) for at in Path(f"/proc/{self.pid}/fd").iterdir()]
        packs = sum("/objects/pack/" in at for at in handles)
        return Wear(
            int(fields["VmRSS"].split()[0]),
            len(handles) - packs,
            packs,
            int(fields["Threads"]),
            len(children),
            children.count("Z"),
        )


class Daemon(Process):
    """`ameide reconciler run` with its HTTP host; `plant` is a bug to run it with."""

    def __init__(
        self, name: str, config: Path, root: Path, environment: Mapping[str, str], port: int, *, plant: str | None
    ) -> None:
        program = ["-m", "tests.chaos.plants", plant] if plant else ["-c", "from reconciler.cli import main; main()"]
        arguments = [sys.executable, *program, "reconciler", "run", "--config", str(config)]
        self.tmp = root / "tmp" / name
        self.tmp.mkdir(parents=True)
        super().__init__(name, arguments, root, {**environment, "TMPDIR": str(self.tmp)}, port)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer; 0 where there is none."""
        try:
            with requests.Session() as session:
                session.trust_env = False
                answer = session.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
                return answer.status_code, answer.text
        except requests.RequestException:
            return 0, ""

    @property
    def answers(self) -> bool:
        return self.runs and not self.stopped and self.get("/healthz")[0] != 0

    @property
    def ready(self) -> bool:
        return self.runs and not self.stopped and self.get("/readyz")[0] == 200


def _target(link: Path) -> str:
    """Where it leads; nothing where it was closed meanwhile."""
    with suppress(OSError):
        return str(link.readlink())
    return ""


def _parents() -> list[tuple[int, str]]:
    """(parent, state) of every process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            found.append((int(parent), state))
    return found


def left_behind(mark: str, known: frozenset[int]) -> list[str]:
    """Marked processes that none of the known ones is the ancestor of."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() not in (path / "environ").read_bytes():
                continue
            line, at = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"), int(path.name)
            while at > 1 and at not in known:
                at = int(Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()[1])
            if at <= 1:
                found.append(f"{path.name} {line[:120]}")
    return found
