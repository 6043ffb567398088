"""From a signed approval to the open GitOps pull request, on the local forge: when each step was done."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from bench.measure import Bench, Row
from reconciler.demo.ci import publisher
from state.git import RefName
from tests.fixtures.approving import Approving
from tests.fixtures.proving import Proving
from tests.fixtures.shop import Running, changes, open_shop

STEPS: Final = {
    "marker_logged": "approval dropped to recorded in the log",
    "proposal_opened": "approval dropped to pull request open: intent pushed, branch pushed, judged twice",
    "pass_finished": "approval dropped to the end of its pass",
}


def run(bench: Bench) -> list[Row]:
    taken: dict[str, list[float]] = {event: [] for event in STEPS}
    with open_shop(bench.folder("publish") / "shop") as shop, publisher(shop.host) as ci:
        proving = Proving(shop, ci)
        proving.attests_mains()
        approving = Approving(shop, proving)
        with shop.reconciler() as running:
            for _, number in zip(range(bench.rounds + 1), _complete(approving, running), strict=False):
                began = len(running.events())
                dropped = running.clock.now()
                approving.skew_s = running.clock.skew_s
                approving.approves(number, "alice")
                running.one_pass()
                for event in running.events()[began:]:
                    if event["event"] in STEPS:
                        at = datetime.fromisoformat(event["ts"])
                        taken[event["event"]].append((at - dropped).total_seconds())
        opened = len(approving.opened())
    if opened != bench.rounds + 1:
        raise RuntimeError(f"expected {bench.rounds + 1} GitOps pull requests, got {opened}")
    return [
        Row(f"publish.{event}", what, statistics.median(taken[event][1:]), unit="s") for event, what in STEPS.items()
    ]


def _complete(approving: Approving, running: Running) -> Iterator[int]:
    """Pull requests whose head is complete, one after the other."""
    shop = approving.shop
    for n in range(1_000_000):
        branch = f"orders-{n}"
        number, head = shop.opens(branch, changes("orders", f"{n}\n"), author_id=21)
        shop.world.ci_builds("orders", head)
        approving.proving.attests("orders", head, head, ref=RefName.branch(branch))
        running.until_quiet()
        yield number
