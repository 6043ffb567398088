"""How requests, time and log grow with 10, 100 and 1,000 pull requests of four images each."""

from __future__ import annotations

import time
from typing import Final

from bench.measure import Bench, Row, Target, say
from bench.world import world

IMAGES: Final = 4
SIZES: Final = (10, 100, 1000)


def run(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        rows += _grown(bench, size)
    return rows


def _grown(bench: Bench, size: int) -> list[Row]:
    say(f"  growth: {size} pull requests")
    with world(bench.folder(f"world-{size}"), IMAGES) as made:
        made.open(range(1, size + 1))
        made.requests.taken()
        passes, start = 1, time.perf_counter()
        while not made.one_pass().plan.is_noop:
            passes += 1
        filled_s = time.perf_counter() - start
        asked = made.requests.taken().total()
        start = time.perf_counter()
        made.one_pass()
        quiet_s = time.perf_counter() - start
        quiet = made.requests.taken().total()
        log_mb = made.log_bytes() / 1e6
    name = f"growth.{size}"
    tags = size * IMAGES
    spent = f"{passes} passes, git included"
    return [
        Row(name, f"{size} PRs x {IMAGES} images until quiet", filled_s, unit="s", note=spent),
        Row(name, "requests to the registry for each tag", asked / tags, note=f"{asked} for {tags} tags"),
        Row(name, "a quiet pass", quiet_s, unit="s"),
        Row(name, "requests of a quiet pass", quiet, target=Target("<=", 0)),
        Row(name, "the log on disk, not packed", log_mb, unit="MB", note=f"{1000 * log_mb / size:.0f} kB for each PR"),
    ]
