"""A process that appends to a log until it is killed, or as often as it is told; forked from one warm process.

Reads orders from standard input, one a line: `forever WRITER` or `race WRITER APPENDS`. Each forks a child that prints
`pid N`, then `ack ID` for each acknowledged entry, and `gone` comes when it has ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from state.entry import Kind
from state.errors import Fenced, LedgerMoved, Terminal, Transient
from tests.fixtures.log import LogBench


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def forever(bench: LogBench, writer: str) -> None:
    with bench.log(writer=writer, fsync=True) as log:
        say(f"epoch {log.tip()}")
        n = 0
        while True:
            n += 1
            say(f"ack {log.append(Kind.OBSERVATION, {'n': n}, {'x': os.urandom(64)}).id}")


def race(bench: LogBench, writer: str, appends: int) -> None:
    done = 0
    while done < appends:
        # Another machine does not see this lock: take it away, so that only the compare-and-swap is left.
        (bench.repo / "ameide-log-4711-reconciler.flock").unlink(missing_ok=True)
        log = bench.log(writer=writer, tips=bench.root / f"tips-{writer}")
        try:
            with log:
                for _ in range(7):
                    say(f"ack {log.append(Kind.CONFIG, {'by': writer, 'n': done}).id}")
                    done += 1
        except (Fenced, LedgerMoved, Transient):
            continue
        except Terminal as error:
            if "flock" not in str(error):
                raise


def main() -> None:
    bench = LogBench(Path(sys.argv[1]))
    children = 0
    for line in sys.stdin:
        order, writer, *rest = line.split()
        if order == "wait":
            for _ in range(children):
                os.wait()
            children = 0
            say("gone")
            continue
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            try:
                if order == "forever":
                    forever(bench, writer)
                else:
                    race(bench, writer, int(rest[0]))
            except BaseException as error:  # noqa: BLE001 - told to the test, whatever it is
                say(f"error {type(error).__name__}: {error}")
                os._exit(1)
            os._exit(0)
        children += 1


if __name__ == "__main__":
    main()
