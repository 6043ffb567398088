"""What a pass asks the registry, counted at the registry: when nothing changed, and for one new head of 50 images."""

from __future__ import annotations

from typing import Final

from bench.measure import Bench, Row, Target, say
from bench.world import world

IMAGES: Final = 50
BEFORE: Final = 10
_PREMISE: Final = IMAGES
_WRITES: Final = IMAGES
_READ_BACK: Final = IMAGES
_REST: Final = 3 * IMAGES


def run(bench: Bench) -> list[Row]:
    say(f"  requests: {BEFORE} pull requests with {IMAGES} images each")
    with world(bench.folder("world"), IMAGES) as made:
        made.open(range(1, BEFORE + 1))
        while not made.one_pass().plan.is_noop:
            pass
        made.requests.taken()
        made.one_pass()
        quiet = made.requests.taken()
        made.open(range(BEFORE + 1, BEFORE + 2))
        report = made.one_pass()
        if report.applied.written != IMAGES:
            raise RuntimeError(f"expected {IMAGES} tags written for the new head, got {report.applied}")
        new = made.requests.taken()
    limit = _PREMISE + _WRITES + _READ_BACK + _REST
    shown = ", ".join(f"{count} {kind}" for kind, count in sorted(new.items()))
    head = f"one new head, {IMAGES} unchanged images"
    return [
        Row("requests.quiet", "a pass in which nothing changed", quiet.total(), target=Target("<=", 0)),
        Row("requests.writes", f"{head}: PUT", new["PUT"], target=Target("<=", _WRITES)),
        Row("requests.head", f"{head}: all", new.total(), target=Target("<=", limit), note=shown),
    ]
