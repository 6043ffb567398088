"""The planner on 1,000 pull requests with 50 images each, against reading the same snapshot as JSON once."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from bench.applying import MAIN, TIP, decision
from bench.measure import Bench, Contender, Row, Target, Versus, seconds, versus
from reconciler.planner import plan
from state import canonical, parts
from state.canonical import Json
from state.change import ChangeRecord
from state.decision import Decision
from state.git import CommitId
from state.observed import (
    Absent,
    Baseline,
    Catalogue,
    How,
    Image,
    Inventory,
    Listing,
    Mode,
    Pin,
    Policy,
    PullRequest,
    Recorded,
    Snapshot,
)
from state.oci import Digest, Repository
from state.verdict import Outcome, Verdict

Call: TypeAlias = Callable[[], object]
PULL_REQUESTS: Final = 1000
IMAGES: Final = 50
_SIZE: Final = f"{PULL_REQUESTS} PRs x {IMAGES} images"
_LIMIT: Final = Target("<=", 3)
_POLICY: Final = Digest.of(b"policy")
_BASELINE: Final = Digest.of(b"baseline")
_VERDICT: Final = Verdict(Outcome.UNCHECKED, _POLICY, "verification level is none")


def run(bench: Bench) -> list[Row]:
    mixed, cold = _snapshot(new_of_ten=1), _snapshot(new_of_ten=10)
    seen, log_part = _parts_json(mixed), _log_json(mixed)
    whole, cold_json = b"[%b,%b]" % (seen, log_part), _parts_json(cold)
    sizes = {"whole": len(whole), "seen": len(seen), "cold": len(cold_json)}
    notes = {name: f"json.loads of the snapshot, {size / 1e6:.0f} MB" for name, size in sizes.items()}
    notes["seen"] += ", without what the log says"
    readings = {"whole": partial(json.loads, whole), "seen": partial(json.loads, seen)}
    cold_reading = partial(json.loads, cold_json)
    mostly, first = "9 of 10 heads decided, mostly recorded", "all heads new"
    found = versus(mostly, bench.rounds, _timed(partial(plan, mixed)), {n: _timed(r) for n, r in readings.items()})
    found |= versus(first, bench.rounds, _timed(partial(plan, cold)), {"cold": _timed(cold_reading)})
    return [
        _time("planner.time", mostly, found["whole"], notes["whole"]),
        _memory("planner.memory", mostly, partial(plan, mixed), readings["whole"], notes["whole"]),
        _time("planner.cold", first, found["cold"], notes["cold"]),
        _memory("planner.cold", first, partial(plan, cold), cold_reading, notes["cold"]),
        _time("planner.seen", mostly, found["seen"], notes["seen"])._replace(target=None),
    ]


def _timed(call: Call) -> Contender:
    return partial(seconds, call)


def _time(figure: str, what: str, found: Versus, note: str) -> Row:
    ours, peer = 1000 * found.ours, 1000 * found.peer
    return Row(figure, f"{_SIZE}, {what}", ours, peer, "ms", found.ratio, _LIMIT, note)


def _memory(figure: str, what: str, ours: Call, peer: Call, note: str) -> Row:
    mine, theirs = _peak_mb(ours), _peak_mb(peer)
    return Row(figure, f"{_SIZE}, {what}", mine, theirs, "MB", mine / theirs, _LIMIT, note)


def _peak_mb(call: Call) -> float:
    tracemalloc.start()
    try:
        kept = call()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak / 1e6


def _parts_json(seen: Snapshot) -> bytes:
    """The parts that the log keeps of a snapshot, as one array."""
    return b"[%b]" % b",".join(parts.split(seen).values())


def _log_json(seen: Snapshot) -> bytes:
    """The rest of it: decisions and records, which the parts leave out since the log itself says them."""
    decisions = [made.to_json() for made in seen.decisions.values()]
    records: list[Json] = [
        {"digest": r.digest, "head": h, "how": r.how.value, "proven": r.proven, "repository": i, "settled": r.settled}
        for (i, h), r in seen.recorded.items()
    ]
    return canonical.dumps([*decisions, *records])


def _snapshot(*, new_of_ten: int) -> Snapshot:
    """`new_of_ten` of ten heads are compared and not decided; of the others' tags one in ten is still to be filled."""
    images = {name: _image(name) for name in (f"component-{n:02d}" for n in range(IMAGES))}
    repositories = tuple(image.repository for image in images.values())
    numbered = range(1, PULL_REQUESTS + 1)
    pull_requests = tuple(PullRequest(n, CommitId(f"{n:040x}"), MAIN, 1, 7) for n in numbered)
    changes: dict[tuple[CommitId, CommitId], ChangeRecord] = {}
    decisions: dict[CommitId, Decision] = {}
    recorded: dict[tuple[Repository, CommitId], Recorded] = {}
    tags: dict[tuple[Repository, CommitId], Absent] = {}
    for pr in pull_requests:
        pinned = decision(pr, dict.fromkeys(repositories, _BASELINE))
        new = pr.number % 10 < new_of_ten
        if new:
            changes[TIP, pr.head] = pinned.changes[0]
        else:
            decisions[pr.head] = pinned
        for n, repository in enumerate(repositories):
            if new or (n + pr.number) % 10 == 0:
                tags[repository, pr.head] = Absent()
            else:
                recorded[repository, pr.head] = Recorded(_BASELINE, How.RETAGGED)
    return Snapshot(
        repository_id=1,
        mode=Mode.FILL,
        suspended=False,
        policy=Policy(_POLICY, (MAIN,)),
        listing=Listing(True, pull_requests),
        bases={MAIN: TIP},
        catalogues={TIP: Catalogue(TIP, images, {name: name for name in images})},
        inventory=Inventory(
            TIP, tuple(images), {name: (Pin(f"apps/{name}.yaml", "image.ref", "dev"),) for name in images}
        ),
        changes=changes,
        main={repository: Baseline(_BASELINE, _VERDICT, _BASELINE) for repository in repositories},
        tags=tags,
        decisions=decisions,
        recorded=recorded,
        writes_left=PULL_REQUESTS * IMAGES,
    )


def _image(name: str) -> Image:
    inputs = (f"primitives/domain/{name}", "packages/sdk_go")
    return Image(name, Repository(f"ghcr.io/acme/primitive-domain-{name}"), inputs, ("linux/amd64", "linux/arm64"))
