"""`python -m bench.curves > FILE`: how passes grow with pull requests and images, as tables and plots in Markdown.

Each size runs in a process of its own, so that memory is its own. Plots are Mermaid charts: forges draw them from text.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import click

from bench.distribution import PROGRAM, distribution, missing
from bench.fast_import import git
from bench.measure import say
from bench.scale_world import scale_world
from bench.world import world
from reconciler.passes import PassReport

SIZES: Final = {
    "memory": ((100, 100), (300, 100), (1000, 100), (3000, 100), (10_000, 100)),
    "registry": ((100, 50), (1000, 50)),
}
TITLES: Final = {
    "memory": "Forge, git and registry in memory: all tags of all heads are there, and are found",
    "registry": "CNCF distribution as a process, code in git, on disk: all tags of all heads are written",
}
QUIET: Final = 5
"""Quiet passes; their median counts."""
NEW: Final = 3
"""New heads, one after the other; their median counts."""


class Point(NamedTuple):
    """One size and what it took, in seconds of the clock."""

    pull_requests: int
    images: int
    first_s: float
    """Until nothing is open for all heads at once."""
    quiet_s: float
    """A pass in which nothing changed."""
    new_s: float
    """The passes until one more head is complete."""
    quiet_requests: int
    """To the registry; so are the next."""
    new_requests: int
    memory_mb: float
    """Resident, after a collection of garbage."""
    log_kb: float
    """The log on disk, for each head."""
    packed_kb: float
    """The same after `git gc`."""


class _Subject(NamedTuple):
    """What both worlds can do."""

    one_pass: Callable[[], PassReport]
    open: Callable[[range], None]
    asked: Callable[[], int]
    """Requests to the registry since the last time."""
    log: Path


@contextmanager
def _in_memory(folder: Path, images: int) -> Iterator[_Subject]:
    with scale_world(folder, images) as made:
        yield _Subject(made.one_pass, lambda numbers: made.open(numbers, filled=True), made.asked, made.log)


@contextmanager
def _on_distribution(folder: Path, images: int) -> Iterator[_Subject]:
    with distribution(folder) as host, world(folder / "world", images, host) as made:
        before = 0

        def asked() -> int:
            nonlocal before
            now = made.requests_by_metrics()
            found, before = now - before, now
            return found

        yield _Subject(made.one_pass, made.open, asked, made.log)


WORLDS: Final = {"memory": _in_memory, "registry": _on_distribution}


def measured(kind: str, pull_requests: int, images: int, folder: Path) -> Point:
    """One size, in this process."""
    with WORLDS[kind](folder, images) as subject:
        subject.open(range(1, pull_requests + 1))
        first_s = _until_quiet(subject)
        subject.asked()
        quiet = [_timed(subject.one_pass) for _ in range(QUIET)]
        quiet_requests = subject.asked()
        new = []
        for number in range(pull_requests + 1, pull_requests + 1 + NEW):
            subject.open(range(number, number + 1))
            new.append(_until_quiet(subject))
        new_requests = subject.asked() // NEW
        gc.collect()
        memory_mb = _resident_mb()
        heads = pull_requests + NEW
        log_kb = _size_kb(subject.log) / heads
    git(subject.log, "gc", "--quiet")
    packed_kb = _size_kb(subject.log) / heads
    middle = statistics.median
    return Point(
        pull_requests,
        images,
        first_s,
        middle(quiet),
        middle(new),
        quiet_requests,
        new_requests,
        memory_mb,
        log_kb,
        packed_kb,
    )


def _until_quiet(subject: _Subject) -> float:
    start = time.perf_counter()
    while not subject.one_pass().plan.is_noop:
        pass
    return time.perf_counter() - start


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _size_kb(folder: Path) -> float:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e3


# --- the page

_COLUMNS: Final = (
    "PRs × images",
    "tags",
    "first time",
    "quiet pass",
    "requests",
    "one new head",
    "requests",
    "memory",
    "log per head",
    "packed",
)


def page(kind: str, points: Sequence[Point]) -> str:
    """A table and its plots."""
    lines = [
        f"### {TITLES[kind]}",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|---{'|---:' * (len(_COLUMNS) - 1)}|",
    ]
    lines += (
        f"| {p.pull_requests:,} × {p.images} | {p.pull_requests * p.images:,} | {p.first_s:.1f} s | {p.quiet_s:.3f} s"
        f" | {p.quiet_requests} | {p.new_s:.2f} s | {p.new_requests} | {p.memory_mb:.0f} MB | {p.log_kb:.1f} kB"
        f" | {p.packed_kb:.1f} kB |"
        for p in points
    )
    charts = (
        ("Seconds of a quiet pass", [p.quiet_s for p in points]),
        ("Seconds until one new head is complete", [p.new_s for p in points]),
        ("MB in memory", [p.memory_mb for p in points]),
    )
    for title, values in charts:
        lines += ["", *_chart(title, points, values)]
    return "\n".join((*lines, ""))


def _chart(title: str, points: Sequence[Point], values: Sequence[float]) -> list[str]:
    names = ", ".join(f'"{p.pull_requests:,}"' for p in points)
    numbers = ", ".join(f"{value:.4g}" for value in values)
    return [
        "```mermaid",
        '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "#1f6feb"}}}}%%',
        "xychart-beta",
        f'    title "{title}"',
        f'    x-axis "pull requests × {points[0].images} images" [{names}]',
        f"    y-axis 0 --> {1.1 * max(values):.4g}",
        f"    bar [{numbers}]",
        "```",
    ]


@click.command()
@click.option("--only", type=click.Choice(sorted(SIZES)), help="One of the two worlds.")
@click.option("--largest", type=click.IntRange(1), help="Leave out sizes with more pull requests.")
@click.option("--dir", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A disk.")
@click.option("--size", type=(click.Choice(sorted(SIZES)), int, int), hidden=True)
def main(only: str | None, largest: int | None, directory: Path | None, size: tuple[str, int, int] | None) -> None:
    """Measure every size and print a page."""
    with tempfile.TemporaryDirectory(prefix="ameide-curves-", dir=directory, ignore_cleanup_errors=True) as root:
        if size is not None:
            print(json.dumps(measured(*size, Path(root))))
            return
        for kind in (only,) if only is not None else SIZES:
            if kind == "registry" and (lacking := missing(PROGRAM)):
                print(f"SKIPPED: {lacking}", file=sys.stderr)
                continue
            sizes = [s for s in SIZES[kind] if largest is None or s[0] <= largest]
            print(page(kind, [_in_a_process(kind, s, root) for s in sizes]), flush=True)


def _in_a_process(kind: str, size: tuple[int, int], root: str) -> Point:
    say(f"curves: {kind}, {size[0]} pull requests x {size[1]} images")
    command = [sys.executable, "-m", "bench.curves", "--dir", root, "--size", kind, str(size[0]), str(size[1])]
    made = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Point(*json.loads(made.stdout))


if __name__ == "__main__":
    main()
