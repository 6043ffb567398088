"""The retag set of a release: each of 50 images gets `:<head>` from `:main`; and one image that gets 50 tags."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from bench.applying import WORKERS, CarryOut, applying
from bench.measure import Bench, Row, Target, seconds
from bench.peers_programs import SKOPEO, Against, Program, compared, plain_regctl, program, run_all
from reconciler.absence import MAIN
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.demo.images import build_and_push
from state.git import CommitId
from state.oci import Manifest, Repository, Tag

IMAGES: Final = 50
TAGS: Final = 50
T = TypeVar("T")
R = TypeVar("R")
_ONE_EACH: Final = ("crane", "oras", "regctl", SKOPEO)
"""Those that do one image in each process."""
_IN_TURN: Final = "one process after the other"
_ABREAST: Final = f"{WORKERS} processes side by side"


class Work(NamedTuple):
    """These images, indexes of two platforms at `:main`, get that many new tags each."""

    registry: OrasRegistry
    executor: ThreadExecutor
    folder: Path
    images: Mapping[Repository, Manifest]
    tags: int

    def applied(self, carry_out: CarryOut) -> float:
        """By the reconciler: `:main` read, decision and intent logged, premise read, written, read back, outcome."""
        reading = seconds(lambda: self._all(lambda repository: self.registry.manifest(repository, MAIN), self.images))
        return reading + carry_out(_new_heads(self.tags), pinning=self.tags == 1)

    def put(self) -> float:
        """By the reconciler's adapter: `:main` read and written to the tags."""
        heads = _new_heads(self.tags)

        def retag() -> None:
            read = self._all(lambda one: (one, self.registry.manifest(one, MAIN)), self.images)
            writes = [(one, head, manifest) for one, manifest in read if manifest for head in heads]
            self._all(lambda write: self.registry.put_manifest(write[0], Tag(write[1]), write[2]), writes)

        return seconds(retag)

    def by(self, peer: Program, what: str, at_a_time: int, target: Target | None = None) -> Against:
        """By a program. That the tags are there is looked at after the clock has stopped."""

        def contender() -> float:
            heads = _new_heads(self.tags)
            commands = _commands(peer, self.images, heads, self.folder)
            took = seconds(lambda: run_all(commands, at_a_time, self.folder))
            self._all(lambda repository: self._check(repository, heads), self.images)
            return took

        return Against(peer, what, contender, target)

    def _check(self, repository: Repository, heads: Sequence[CommitId]) -> None:
        for head in heads:
            if self.registry.resolve(repository, Tag(head)) != self.images[repository].digest:
                raise RuntimeError(f"{repository}:{head} is not what `:main` is")

    def _all(self, call: Callable[[T], R], over: Iterable[T]) -> list[R]:
        done: list[R] = []
        for result in self.executor.map(call, list(over)):
            if isinstance(result, Exception):
                raise result
            done.append(result)
        return done


def run(bench: Bench, host: str) -> Iterator[Row]:
    limits = Limits(writes_per_s=None, connections=WORKERS)
    with ExitStack() as stack:
        registry = OrasRegistry(host, plain_http=True, limits=limits, clock=SystemClock(), random=SystemRandom())
        stack.callback(registry.close)
        executor = stack.enter_context(ThreadExecutor(WORKERS))
        images = dict(_pushed(registry, Repository(f"{host}/peers/image-{n:02d}")) for n in range(IMAGES))
        carry_out = stack.enter_context(applying(bench.folder("apply"), registry, images))
        yield from _sets(bench, Work(registry, executor, bench.folder("peers"), images, 1), carry_out)
        one = dict(list(images.items())[:1])
        carry_out = stack.enter_context(applying(bench.folder("apply-one"), registry, one))
        yield from _tags(bench, Work(registry, executor, bench.folder("peers-one"), one, TAGS), carry_out)


def _sets(bench: Bench, work: Work, carry_out: CarryOut) -> Iterator[Row]:
    peers = [program(name) for name in _ONE_EACH]
    together = work.by(program("regsync"), "one process for all", 1)
    in_turn = [work.by(peer, _IN_TURN, 1, Target(">=", 1)) for peer in peers]
    abreast = [work.by(peer, _ABREAST, WORKERS) for peer in peers]
    against = [*in_turn, *abreast, together]
    rows = list(compared("peers.retag", bench, lambda: work.applied(carry_out), against))
    yield from rows
    alone = [one for group in (in_turn, abreast) if (one := _fastest(rows, group)) is not None]
    yield from compared("peers.put", bench, work.put, [*alone, together])


def _tags(bench: Bench, work: Work, carry_out: CarryOut) -> Iterator[Row]:
    against = [
        work.by(program("oras"), "one process for all", 1),
        work.by(program("crane"), _ABREAST, WORKERS),
        work.by(program("regsync"), "one process for all", 1),
    ]
    yield from compared("peers.tags", bench, lambda: work.applied(carry_out), against)
    yield from compared("peers.tags-put", bench, work.put, against[:1])


def _fastest(rows: Sequence[Row], group: Sequence[Against]) -> Against | None:
    """Of those of the group that are here."""
    times = {(row.what, row.note): row.peer for row in rows if row.peer is not None}
    measured = [(took, one) for one in group if (took := times.get(one.heading)) is not None]
    return min(measured, key=lambda found: found[0])[1] if measured else None


def _pushed(registry: OrasRegistry, repository: Repository) -> tuple[Repository, Manifest]:
    made = registry.manifest(repository, build_and_push(repository, MAIN, secrets.token_hex(20)))
    assert made is not None
    return repository, made


def _new_heads(number: int) -> list[CommitId]:
    return [CommitId(secrets.token_hex(20)) for _ in range(number)]


def _commands(
    peer: Program, images: Mapping[Repository, Manifest], heads: Sequence[CommitId], folder: Path
) -> list[list[str]]:
    """What retags `:main` of each image to each head."""
    host = next(iter(images)).host
    if peer.name == "regsync":
        return [[peer.path, "once", "--config", str(_regsync_config(host, images, heads, folder))]]
    if peer.name == "oras":
        several = ["--concurrency", str(WORKERS)]
        return [[peer.path, "tag", "--plain-http", *several, f"{one}:main", *heads] for one in images]
    each = {
        "crane": lambda one, head: ["tag", "--insecure", f"{one}:main", head],
        "regctl": lambda one, head: [*plain_regctl(host), "image", "copy", f"{one}:main", f"{one}:{head}"],
        SKOPEO: lambda one, head: [*_SKOPEO_COPY, f"docker://{one}:main", f"docker://{one}:{head}"],
    }[peer.name]
    return [[peer.path, *each(one, head)] for one in images for head in heads]


_SKOPEO_COPY: Final = (
    "--insecure-policy", "copy", "--all", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"
)  # fmt: skip


def _regsync_config(host: str, images: Iterable[Repository], heads: Sequence[CommitId], folder: Path) -> Path:
    """As many requests at a time as ours has, where regsync's own default is three."""
    file = folder / "regsync.yml"
    file.write_text(
        json.dumps({
            "version": 1,
            "creds": [{"registry": host, "tls": "disabled", "reqConcurrent": WORKERS}],
            "defaults": {"parallel": WORKERS},
            "sync": [
                {"source": f"{one}:main", "target": f"{one}:{head}", "type": "image"}
                for one in images
                for head in heads
            ],
        })
    )  # fmt: skip
    return file
