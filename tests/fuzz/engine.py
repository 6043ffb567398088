"""libFuzzer, by Atheris, on one target in a process of its own; and what it said at its end.

Source: llvm.org/docs/LibFuzzer.html (options, exit statuses by kind of finding); github.com/google/atheris.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from tests.fuzz.mutation import mutator
from tests.fuzz.target import Target

INSTRUMENTED: Final = ("state", "reconciler")
"""Packages whose branches guide the search. With the parser of YAML, Python too, an input takes five times as long."""
INPUT_TIMEOUT_S: Final = 5
"""Of one input of at most `Target.max_len` bytes; most take less than a millisecond."""
MEMORY_MAX_MB: Final = 1024
"""Of the whole process, of which the loaded libraries take a fourth."""
_CRASHED: Final = 77
"""libFuzzer's own status for a crash."""
_STAT: Final = re.compile(r"^stat::(\w+):\s*(\d+)", re.MULTILINE)
_FOUND: Final = re.compile(r"Test unit written to (\S+)")


class Run(NamedTuple):
    """One fuzzed target."""

    target: Target
    log: Path
    status: int
    """0: nothing was found."""

    def stat(self, name: str) -> int:
        """A final figure of libFuzzer's, such as `number_of_executed_units`; 0 where it did not come to that."""
        return int(dict(_STAT.findall(self.log.read_text(errors="replace"))).get(name, 0))

    def found(self) -> tuple[Path, ...]:
        """The inputs that were saved."""
        return tuple(Path(path) for path in _FOUND.findall(self.log.read_text(errors="replace")))


def start(target: Target, seconds: int, kept: Path, work: Path) -> int:
    """Fork a process that fuzzes `target`; its pid. What is new goes to `work`, with its log and what it found."""
    corpus = work / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    (work / "found").mkdir(exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _fuzz(target, seconds, [corpus, kept], work)
    return pid


def log_of(target: Target, work: Path) -> Path:
    return work / f"{target.name}.log"


def _fuzz(target: Target, seconds: int, corpora: list[Path], work: Path) -> NoReturn:
    import atheris  # type: ignore[import-not-found,unused-ignore]  # only there where somebody fuzzes

    found = work / "found"
    with log_of(target, work).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    warnings.simplefilter("error")

    def one(raw: bytes) -> None:
        try:
            with suppress(*target.allowed):
                target.run(raw)
        except Exception:  # noqa: BLE001 - saved here: Atheris would leave through exit(), where a forked process may hang
            path = found / f"{target.name}-crash-{hashlib.sha256(raw).hexdigest()[:12]}"
            path.write_bytes(raw)
            traceback.print_exc()
            sys.stderr.write(f"Test unit written to {path}\n")
            sys.stderr.flush()
            os._exit(_CRASHED)

    options = [
        f"-max_total_time={seconds}",
        f"-max_len={target.max_len}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-rss_limit_mb={MEMORY_MAX_MB}",
        f"-artifact_prefix={found}/{target.name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [target.name, *options, *map(str, corpora)],
        one,
        # Looked up when it is called: Setup puts another function in its place.
        custom_mutator=mutator(lambda raw, size: atheris.Mutate(raw, size)),  # noqa: PLW0108
    )
    atheris.Fuzz()
    os._exit(0)
