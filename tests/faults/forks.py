"""Runs of the program as forks of one warm process, each killed at a chosen boundary (see boundary_forks)."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.faults.stopped_calls import SUPPORTED


class Ran(NamedTuple):
    """How one run of the program ended."""

    code: int
    came_to: list[str]
    """Every boundary it came to before it was killed, by kind, in order."""
    killed: str | None
    """The boundary it was killed before, or the answer; None if it was not killed."""


def needs_linux() -> None:
    if not SUPPORTED:
        pytest.skip("needs Linux on x86_64 or aarch64: processes are stopped by a seccomp(2) listener")


class Forks:
    """One run at a time. `said_by` is what the program writes to its standard error."""

    def __init__(self, environment: Mapping[str, str], said_by: Path) -> None:
        self._said_by = said_by
        with said_by.open("wb") as to:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.boundary_forks"],
                env=dict(environment),
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=to,
                text=True,
            )

    def start(self, arguments: Sequence[str], root: Path, **kill: Any) -> int:
        """Start `ameide` with these arguments; its process id. `kill`: `at`, or `kind` and `nth`, and `family`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"arguments": list(arguments), "root": str(root), **kill}) + "\n")
        self._process.stdin.flush()
        return int(self._answer("pid"))

    def ends_within(self, seconds: float) -> bool:
        """Whether the run ends so soon; returns at once when it does."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def ended(self) -> Ran:
        """How the run that was started has ended."""
        return Ran(**json.loads(self._answer("ended")))

    def run(self, arguments: Sequence[str], root: Path, **kill: Any) -> Ran:
        self.start(arguments, root, **kill)
        return self.ended()

    def said(self) -> str:
        """The end of what it told people."""
        return self._said_by.read_text()[-2000:]

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=20)
            self._process.kill()

    def _answer(self, word: str) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found, _, value = line.strip().partition(" ")
        assert found == word, line
        return value


@contextmanager
def forks(environment: Mapping[str, str], said_by: Path) -> Iterator[Forks]:
    needs_linux()
    made = Forks(environment, said_by)
    try:
        yield made
    finally:
        made.close()


def killed_along_the_way(world: Callable[[Path], Callable[..., Ran]], root: Path, kills: int | None) -> int:
    """Run a command in a fresh world, killed before each of its boundaries, or at so many, evenly along its way.

    `world` makes one below a folder, and gives what runs the command there and, without `at`, checks how it ended.
    The number of kills.
    """
    whole = len(world(root / "whole")().came_to)
    wanted = range(1, whole + 1) if kills is None else [whole * n // (kills + 1) for n in range(1, kills + 1)]
    for at in wanted:
        run = world(root / str(at))
        ran = run(at=at)
        assert ran.code == -9, f"boundary {at} of {whole} was not come to"
        try:
            run()
        except AssertionError as error:
            raise AssertionError(f"after a kill at boundary {at} of {whole}, {ran.killed}: {error}") from error
    return len(wanted)
