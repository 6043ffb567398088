"""Fuzz targets, one process each, and say what was found and how to see it again.

    python -m tests.fuzz                         every target, a minute each (make fuzz)
    python -m tests.fuzz --seconds 5 --jobs 2    what CI runs
    python -m tests.fuzz --seconds 600 marker    one target, long
    python -m tests.fuzz --replay FILE marker    one input, without a fuzzer: the whole traceback
    python -m tests.fuzz --minimise              take what was found into the kept corpus

Fuzzing needs Atheris on the path (`make fuzz` installs it); replaying and minimising do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from tests.arguments import positive
from tests.fuzz.engine import INSTRUMENTED, Run, log_of, start
from tests.fuzz.minimise import minimise

if TYPE_CHECKING:
    from tests.fuzz.target import Target

WORK = Path(".fuzz")


def main() -> int:
    arguments = _arguments()
    fuzzes = arguments.replay is None and not arguments.minimise
    if fuzzes and importlib.util.find_spec("atheris") is None:
        sys.stderr.write("tests.fuzz: atheris is missing; run `make fuzz`, which installs it\n")
        return 2
    targets = _loaded(arguments.targets, instrumented=fuzzes)
    if targets is None:
        return 2
    if arguments.replay is not None:
        for target in targets:
            target.run(arguments.replay.read_bytes())
        return 0
    if arguments.minimise:
        for target in targets:
            left = minimise(target, _kept(target), (WORK / "corpus" / target.name).glob("*"))
            _say(f"{target.name:26} {left:3} found inputs kept")
        return 0
    return _fuzzed(targets, arguments.seconds, arguments.jobs)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all of them, if none is named")
    parser.add_argument(
        "--seconds", type=positive, default=60, metavar="N", help="for each target (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="targets at a time (default: %(default)s)"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this one input and end")
    parser.add_argument("--minimise", action="store_true", help="rewrite the kept corpus from what was found so far")
    return parser.parse_args()


def _loaded(names: list[str], *, instrumented: bool) -> list[Target] | None:
    if instrumented:
        import atheris  # type: ignore[import-not-found,unused-ignore]

        with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=list(INSTRUMENTED)):
            from tests.fuzz.table import TARGETS
    else:
        from tests.fuzz.table import TARGETS
    if unknown := sorted(set(names) - set(TARGETS)):
        sys.stderr.write(f"tests.fuzz: no target {', '.join(unknown)}; there are {', '.join(TARGETS)}\n")
        return None
    return [TARGETS[name] for name in names or TARGETS]


def _kept(target: Target) -> Path:
    from tests.fuzz.table import CORPUS

    return CORPUS / target.name


def _fuzzed(targets: list[Target], seconds: int, jobs: int) -> int:
    began, failed = time.monotonic(), 0
    waiting, running = list(targets), dict[int, "Target"]()
    _say(f"{'target':26} {'inputs':>9} {'a second':>8} {'new':>5} {'MB':>5}")
    while waiting or running:
        while waiting and len(running) < jobs:
            target = waiting.pop(0)
            running[start(target, seconds, _kept(target), WORK)] = target
        pid, status = os.wait()
        target = running.pop(pid)
        run = Run(target, log_of(target, WORK), os.waitstatus_to_exitcode(status))
        failed += run.status != 0
        _tell(run)
    _say(f"{len(targets)} targets, {failed} with findings, in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _tell(run: Run) -> None:
    _say(
        f"{run.target.name:26} {run.stat('number_of_executed_units'):9} {run.stat('average_exec_per_sec'):8}"
        f" {run.stat('new_units_added'):5} {run.stat('peak_rss_mb'):5}"
    )
    if run.status != 0:
        _say(f"  FOUND (status {run.status}); the whole of it is in {run.log}")
        for line in run.log.read_text(errors="replace").splitlines()[-60:]:
            _say(f"    {line}")
        for path in run.found():
            _say(f"  again: .venv/bin/python -m tests.fuzz --replay {path} {run.target.name}")


if __name__ == "__main__":
    sys.exit(main())
