"""All tags of one repository that has 10,000. `python -m bench.peers_list REPOSITORY` prints them, as peers do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.distribution import fill
from bench.measure import Bench, Row, Target, seconds
from bench.peers_programs import SKOPEO, Against, Program, compared, plain_regctl, program, run_all
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.demo.images import build_and_push
from state.oci import Repository, Tag

TAGS: Final = 10_000


def tags(repository: Repository) -> list[Tag]:
    """By a client that has no connection yet."""
    client = OrasRegistry(repository.host, plain_http=True, clock=SystemClock(), random=SystemRandom())
    try:
        return list(client.tags(repository) or ())
    finally:
        client.close()


def run(bench: Bench, host: str, storage: Path) -> Iterator[Row]:
    folder, repository = bench.folder("list"), Repository(f"{host}/peers/listed")
    build_and_push(repository, Tag("main"), "listed")
    fill(storage, repository, (f"v-{n:05d}" for n in range(1, TAGS)))
    asked = (
        (SKOPEO, ["list-tags", "--tls-verify=false", f"docker://{repository}"]),
        ("crane", ["ls", "--insecure", str(repository)]),
        ("oras", ["repo", "tags", "--plain-http", str(repository)]),
        ("regctl", [*plain_regctl(host), "tag", "ls", str(repository)]),
    )

    def ours() -> float:
        found: list[Tag] = []
        took = seconds(lambda: found.extend(tags(repository)))
        if len(found) != TAGS:
            raise RuntimeError(f"expected {TAGS} tags, got {len(found)}")
        return took

    def by(*command: str) -> float:
        printed: list[str] = []
        took = seconds(lambda: printed.extend(run_all([command], 1, folder)))
        if printed[0].count("v-") != TAGS - 1:
            raise RuntimeError(f"expected {TAGS} tags of {command}, got {len(printed[0])} characters")
        return took

    def started() -> float:
        return by(sys.executable, "-m", "bench.peers_list", str(repository))

    def against(peer: Program, arguments: list[str]) -> Against:
        return Against(peer, f"{TAGS} tags", lambda: by(peer.path, *arguments), Target(">=", 1))

    peers = [against(program(name), arguments) for name, arguments in asked]
    yield from compared("peers.list", bench, ours, peers)
    yield from compared("peers.start", bench, started, [one._replace(target=None) for one in peers])


if __name__ == "__main__":
    print("\n".join(tags(Repository(sys.argv[1]))))
