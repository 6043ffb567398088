"""From a forge's delivery to a finished head: 50 unchanged images on distribution, no polling."""

from __future__ import annotations

import hmac
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pygit2
import requests

from bench.distribution import PROGRAM, distribution, missing
from bench.measure import Bench, Row, fastest, seconds, versus
from bench.raw import Step, ThreadClient
from bench.retag import new_heads
from bench.world import REPOSITORY_ID, World, world
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter
from reconciler.loop import Loop
from reconciler.matrix import DONE
from reconciler.passes import PassReport
from reconciler.web.apps import public_app
from reconciler.web.host import Host
from reconciler.web.webhooks import PREFIX, Hook, Webhooks
from reconciler.webhooks.signatures import Sender
from state.git import CommitId
from state.oci import MANIFEST_MEDIA_TYPES, Manifest

IMAGES: Final = 50
WORKERS: Final = 16
_SECRET: Final = "between the forge and us"  # noqa: S105 - of this figure
_DEADLINE_S: Final = 120

FILL: Final = Row("webhook.fill", f"delivery to {IMAGES} recorded tags: look, decide, fill, log", unit="s")


def run(bench: Bench) -> list[Row]:
    if lacking := missing(PROGRAM):
        return [FILL._replace(note=lacking)]
    folder = bench.folder("webhook")
    with distribution(folder) as host, world(folder / "world", IMAGES, host) as made, _listening(made) as deliver:
        images = [_main(host, f"bench/image-{n:02d}") for n in range(IMAGES)]
        raw = ThreadClient(host, WORKERS)
        number = iter(range(1, 1_000_000))

        def ours() -> float:
            opened = next(number)
            made.open(range(opened, opened + 1))
            head = _head(made, opened)
            took = seconds(lambda: deliver(opened, head))
            if _main(host, f"bench/image-{IMAGES - 1:02d}", head).digest != images[-1].digest:
                raise RuntimeError(f"{head}: the last image is not tagged")
            return took

        def peer() -> float:
            tag = new_heads()[0]
            return seconds(raw.ready([_put(n, image, tag) for n, image in enumerate(images)]))

        try:
            name = f"{IMAGES} PUTs, http.client x {WORKERS}"
            found = fastest(versus(FILL.figure, bench.rounds, ours, {name: peer}))
        finally:
            raw.close()
    return [FILL._replace(ours=found.ours, peer=found.peer, ratio=found.ratio, note=f"raw: {found.peer_name}")]


class _Deliver:
    """Posts a signed delivery and waits for the pass that shows its head complete."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._url = f"http://{address[0]}:{address[1]}{PREFIX}bench"
        self._done = threading.Condition()
        self._complete: frozenset[CommitId] = frozenset()
        self._session = requests.Session()
        self._session.trust_env = False

    def __call__(self, number: int, head: CommitId) -> None:
        body = json.dumps(
            {"repository": {"id": REPOSITORY_ID}, "number": number, "pull_request": {"number": number}}
        ).encode()
        signature = f"sha256={hmac.digest(_SECRET.encode(), body, 'sha256').hex()}"
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": signature}
        answer = self._session.post(self._url, data=body, headers=headers, timeout=10)
        if answer.status_code != 202:
            raise RuntimeError(f"the delivery was answered {answer.status_code}")
        with self._done:
            if not self._done.wait_for(lambda: head in self._complete, _DEADLINE_S):
                raise RuntimeError(f"{head}: not complete within {_DEADLINE_S} s")

    def report(self, _: str, report: PassReport) -> None:
        short = {c.head for c in report.cells if c.state not in DONE}
        with self._done:
            self._complete = frozenset(c.head for c in report.cells) - short
            self._done.notify_all()

    def close(self) -> None:
        self._session.close()


@contextmanager
def _listening(made: World) -> Iterator[_Deliver]:
    """The loop in a thread, woken by nothing but the webhook endpoint on a real socket."""
    clock, metrics = SystemClock(), PrometheusMetrics()
    emitter = Emitter(lambda _: None, clock)
    loop: Loop | None = None

    def hint(name: str, number: int | None) -> None:
        if loop is not None:
            loop.hint(name, number)

    hooks = {"bench": Hook(Sender.GITHUB, lambda: REPOSITORY_ID, lambda: (_SECRET,))}
    webhooks = Webhooks(hooks, hint, clock=clock, metrics=metrics, emitter=emitter)
    outside = public_app(emitter, {PREFIX: webhooks.handle})
    health = _Health()
    with Host(
        private=None,
        public="127.0.0.1:0",
        health=health,
        metrics=metrics.exposition,
        emitter=emitter,
        outside=outside,
    ) as host:
        assert host.public_address is not None
        deliver = _Deliver(host.public_address)
        loop = Loop(
            [made.repository],
            lambda _: made.rules,
            clock,
            SystemRandom(),
            emit=emitter,
            metrics=metrics,
            on_report=deliver.report,
        )
        thread = threading.Thread(target=loop.run, name="bench-loop")
        thread.start()
        try:
            yield deliver
        finally:
            loop.stop()
            thread.join()
            deliver.close()


class _Health:
    """Of a host without a private listener."""

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, str]:
        return True, "ready"


def _head(made: World, number: int) -> CommitId:
    return CommitId(str(pygit2.Repository(str(made.code)).references[f"refs/pull/{number}/head"].target))


def _main(host: str, path: str, tag: str = "main") -> Manifest:
    connection = http.client.HTTPConnection(host)
    try:
        connection.request("GET", f"/v2/{path}/manifests/{tag}", headers={"Accept": ", ".join(MANIFEST_MEDIA_TYPES)})
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}:{tag}: {answer.status}")
        return Manifest.of(answer.headers["Content-Type"], raw)
    finally:
        connection.close()


def _put(number: int, image: Manifest, tag: str) -> Step:
    path = f"/v2/bench/image-{number:02d}/manifests/{tag}"
    return Step("PUT", path, {"Content-Type": image.media_type}, image.raw, 201, image.digest)
