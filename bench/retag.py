"""200 retags in one repository on distribution: the adapter, the whole apply, skopeo, and with a slow line between."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from bench.applying import CarryOut, applying
from bench.delay import delayed
from bench.distribution import PROGRAM, distribution, missing
from bench.measure import Bench, Contender, Row, Target, fastest, seconds, versus
from bench.raw import RawClient, SelectClient, Step, ThreadClient
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.demo.images import build_and_push
from state.git import CommitId
from state.oci import MANIFEST_MEDIA_TYPES, OCI_INDEX, Manifest, Repository, Tag

TAGS: Final = 200
WORKERS: Final = 16
SKOPEO_TAGS: Final = 10
ONE_WAY_MS: Final = 25.0
_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
Wave: TypeAlias = "Callable[[Image, CommitId], Step]"
"""What a raw client sends for every head before it goes on to the next wave.

Waves, since distribution rewrites a manifest's link at each PUT and not atomically: a tag that is read meanwhile is
answered with 500 now and then.
"""

LOOP: Final = Row("retag.put", f"{TAGS} PUTs, {WORKERS} threads", unit="s", target=Target("<=", 1.25))
APPLY: Final = Row("retag.apply", f"{TAGS} retags: HEAD, PUT, HEAD, signed log", unit="s", target=Target("<=", 1.5))
PINNED: Final = Row("retag.decide", f"the same, and {TAGS} new decisions logged", unit="s")
SKOPEO: Final = Row("retag.skopeo", "one retag, times faster", unit="ms", target=Target(">=", 20))
SLOW: Final = Row("retag.slow", f"PUTs, {2 * ONE_WAY_MS:g} ms round trip", unit="/s", target=Target(">=", 0.85))


class Image(NamedTuple):
    """The image that is retagged: where it is, and its bytes."""

    repository: Repository
    manifest: Manifest

    def at(self, host: str) -> Image:
        """The same by another address of the same registry."""
        return Image(Repository(f"{host}/{self.repository.path}"), self.manifest)


def run(bench: Bench) -> list[Row]:
    if lacking := missing(PROGRAM):
        return [row._replace(note=lacking) for row in (LOOP, APPLY, PINNED, SKOPEO, SLOW)]
    with distribution(bench.folder("distribution")) as host:
        image = _push_image(Repository(f"{host}/bench/image"))
        rows = [_loop(bench, image), *_apply(bench, image), _skopeo(bench, image)]
        with delayed(host, ONE_WAY_MS) as slow_host:
            rows.append(_slow(bench, image.at(slow_host)))
        return rows


def new_heads() -> list[CommitId]:
    """As many commit ids as there are retags, never used before."""
    return [CommitId(secrets.token_hex(20)) for _ in range(TAGS)]


def _push_image(repository: Repository) -> Image:
    """Push `:main` as BuildKit makes it by default: an index of two platforms and an attestation manifest for each."""
    with _adapter(repository.host) as registry:
        rows = []
        for part in ("images", "attestations"):
            build_and_push(repository, Tag(part), part)
            pushed = registry.manifest(repository, Tag(part))
            assert pushed is not None
            rows += json.loads(pushed.raw)["manifests"]
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}).encode()
        made = Manifest.of(OCI_INDEX, index)
        registry.put_manifest(repository, Tag("main"), made)
    return Image(repository, made)


@contextmanager
def _adapter(host: str) -> Iterator[OrasRegistry]:
    limits = Limits(writes_per_s=None, connections=WORKERS)
    made = OrasRegistry(host, plain_http=True, limits=limits, clock=SystemClock(), random=SystemRandom())
    try:
        yield made
    finally:
        made.close()


def _loop(bench: Bench, image: Image) -> Row:
    with ExitStack() as stack:
        peers = _raw(stack, image, (_put,), (8, 16))
        found = fastest(versus(LOOP.figure, bench.rounds, _put_loop(stack, image), peers))
    return LOOP._replace(ours=found.ours, peer=found.peer, ratio=found.ratio, note=f"raw: {found.peer_name}")


def _slow(bench: Bench, image: Image) -> Row:
    with ExitStack() as stack:
        peers = _raw(stack, image, (_put,), (WORKERS,))
        found = fastest(versus(SLOW.figure, bench.rounds, _put_loop(stack, image), peers))
    ours, peer = TAGS / found.ours, TAGS / found.peer
    return SLOW._replace(ours=ours, peer=peer, ratio=1 / found.ratio, note=f"raw: {found.peer_name}")


def _apply(bench: Bench, image: Image) -> Iterator[Row]:
    with ExitStack() as stack:
        registry = stack.enter_context(_adapter(image.repository.host))
        carry_out = stack.enter_context(applying(bench.folder("apply"), registry, {image.repository: image.manifest}))
        peers = _raw(stack, image, (_premise, _put, _read_back), (8, 16))
        for row, pinning in ((APPLY, False), (PINNED, True)):
            ours = partial(_carried_out, carry_out, pinning=pinning)
            found = fastest(versus(row.figure, bench.rounds, ours, peers))
            yield row._replace(ours=found.ours, peer=found.peer, ratio=found.ratio, note=f"raw: {found.peer_name}")
            peers = {found.peer_name: peers[found.peer_name]}


def _skopeo(bench: Bench, image: Image) -> Row:
    if lacking := missing("skopeo"):
        return SKOPEO._replace(note=lacking)
    source = f"docker://{image.repository}"
    common = ["skopeo", "copy", "--all", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]

    def copy(heads: Sequence[CommitId]) -> None:
        for head in heads:
            subprocess.run([*common, f"{source}:main", f"{source}:{head}"], check=True)

    with ExitStack() as stack:
        put_all, name = _put_loop(stack, image), "skopeo copy --all, one after the other"
        peers = {name: lambda: seconds(lambda: copy(new_heads()[:SKOPEO_TAGS]))}
        found = versus(SKOPEO.figure, bench.rounds, put_all, peers)[name]
    ours, peer = 1000 * found.ours / TAGS, 1000 * found.peer / SKOPEO_TAGS
    return SKOPEO._replace(ours=ours, peer=peer, ratio=TAGS / SKOPEO_TAGS / found.ratio, note=name)


# --- contenders


def _put_loop(stack: ExitStack, image: Image) -> Contender:
    registry = stack.enter_context(_adapter(image.repository.host))
    executor = stack.enter_context(ThreadExecutor(WORKERS))

    def put_all(heads: Sequence[CommitId]) -> None:
        put = partial(registry.put_manifest, image.repository, manifest=image.manifest)
        for result in executor.map(lambda head: put(Tag(head)), heads):
            if isinstance(result, Exception):
                raise result

    def contender() -> float:
        heads = new_heads()
        return seconds(lambda: put_all(heads))

    return contender


def _carried_out(carry_out: CarryOut, *, pinning: bool) -> float:
    return carry_out(new_heads(), pinning=pinning)


def _raw(stack: ExitStack, image: Image, waves: Sequence[Wave], connections: Sequence[int]) -> dict[str, Contender]:
    """Every raw client at every number of connections."""
    host = image.repository.host
    clients: dict[str, RawClient] = {}
    for count in connections:
        clients[f"http.client, {count} threads"] = ThreadClient(host, count)
        clients[f"one thread, {count} sockets"] = SelectClient(host, count)
    for client in clients.values():
        stack.callback(client.close)
    return {name: partial(_by_raw, client, image, waves) for name, client in clients.items()}


def _by_raw(client: RawClient, image: Image, waves: Sequence[Wave]) -> float:
    heads = new_heads()
    calls = [client.ready([wave(image, head) for head in heads]) for wave in waves]
    return seconds(lambda: [call() for call in calls])


def _put(image: Image, head: CommitId) -> Step:
    headers = {"Content-Type": image.manifest.media_type}
    return Step("PUT", _path(image, head), headers, image.manifest.raw, 201, image.manifest.digest)


def _premise(image: Image, head: CommitId) -> Step:
    return Step("HEAD", _path(image, head), _ACCEPT, b"", 404)


def _read_back(image: Image, head: CommitId) -> Step:
    return Step("HEAD", _path(image, head), _ACCEPT, b"", 200, image.manifest.digest)


def _path(image: Image, head: CommitId) -> str:
    return f"/v2/{image.repository.path}/manifests/{head}"
