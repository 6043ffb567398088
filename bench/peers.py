"""A release's retags, verification and listing against the command-line programs that do the same, in one run."""

from __future__ import annotations

from bench import peers_list, peers_retag, peers_verify
from bench.distribution import PROGRAM, distribution, missing
from bench.measure import Bench, Row


def run(bench: Bench) -> list[Row]:
    if lacking := missing(PROGRAM):
        return [Row(f"peers.{name}", "", note=lacking) for name in ("retag", "tags", "verify", "list")]
    folder = bench.folder("distribution")
    with distribution(folder) as host:
        return [
            *peers_retag.run(bench, host),
            *peers_verify.run(bench, host),
            *peers_list.run(bench, host, folder / "storage"),
        ]
