"""A start without a log: 1,000 open heads whose tags are there, repositories of 100,000 tags each, on distribution."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import pygit2

from bench.distribution import PROGRAM, distribution, fill, missing
from bench.measure import Bench, Row, Target, say
from bench.world import World, world
from reconciler.matrix import State
from state.oci import Repository

HEADS: Final = 1000
IMAGES: Final = 4
TAGS: Final = 100_000
READS: Final = 1000
"""Tags that one pass may read here, a fifth of what it may by default, so that one pass does not do."""

FIRST: Final = Row("cold.first", f"heads complete after one pass of {READS} reads, newest first", unit="")
PASSES: Final = Row("cold.passes", f"passes until {HEADS} heads x {IMAGES} images are recorded")
TIME: Final = Row("cold.time", "the same, git included", unit="s")
BUDGET: Final = Row(
    "cold.budget",
    f"most requests of one pass: {READS} tags and `:main` of {IMAGES} images",
    target=Target("<=", READS + IMAGES),
)


def run(bench: Bench) -> list[Row]:
    if lacking := missing(PROGRAM):
        return [row._replace(note=lacking) for row in (FIRST, PASSES, TIME, BUDGET)]
    folder = bench.folder("cold")
    with distribution(folder) as host, world(folder / "world", IMAGES, host) as made:
        made.open(range(1, HEADS + 1))
        heads = _heads(made.code)
        for n in range(IMAGES):
            say(f"  cold: {TAGS} tags of image {n + 1} of {IMAGES}")
            old = (f"old-{n:06d}" for n in range(TAGS - len(heads)))
            fill(folder / "storage", Repository(f"{host}/bench/image-{n:02d}"), (*heads, *old))
        return _started(made)


def _started(made: World) -> list[Row]:
    rules = replace(made.rules, tag_reads_per_pass=READS)
    complete, spent, passes, before = 0, 0.0, 0, made.requests_by_metrics()
    start = time.perf_counter()
    while True:
        report = made.repository.run_pass(rules, frozenset(), lambda: False)
        if report.problems:
            raise RuntimeError(f"a pass had problems: {report.problems[:3]}")
        passes += 1
        now = made.requests_by_metrics()
        spent, before = max(spent, now - before), now
        if passes == 1:
            ready = {n for n in {c.pr for c in report.cells} if _ready(report.cells, n)}
            complete = len(ready)
            if ready != set(range(HEADS - complete + 1, HEADS + 1)):
                raise RuntimeError("the first pass did not take the newest heads")
        say(f"  cold: pass {passes}, {sum(c.state is State.HELD for c in report.cells)} cells are not yet read")
        if report.converged:
            break
    seconds = time.perf_counter() - start
    return [
        FIRST._replace(ours=complete),
        PASSES._replace(ours=passes),
        TIME._replace(ours=seconds),
        BUDGET._replace(ours=spent),
    ]


def _ready(cells: object, number: int) -> bool:
    rows = [c for c in cells if c.pr == number]  # type: ignore[attr-defined]
    return all(c.state is State.RETAGGED for c in rows)


def _heads(code: Path) -> list[str]:
    repository = pygit2.Repository(str(code))
    return [str(repository.references[f"refs/pull/{n}/head"].target) for n in range(1, HEADS + 1)]
