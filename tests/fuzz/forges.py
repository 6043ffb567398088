"""Targets: what forges answer and deliver, and what an API server of Kubernetes answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from reconciler.adapters import kubernetes_objects, local_record
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.forge_access import _token_of
from reconciler.adapters.forge_client import ForgeClient, _answer
from reconciler.adapters.forge_github import PullRecord
from reconciler.adapters.forge_gitlab import MergeRequest
from reconciler.adapters.forge_pages import _sweep
from reconciler.adapters.forge_pull import ForgePull
from reconciler.adapters.forge_records import parsed
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.webhooks.hints import hint_of
from reconciler.webhooks.signatures import Sender, is_signed
from state.canonical import Json
from state.errors import InvalidValue, ReconcilerError, Terminal, Unavailable
from tests.fuzz.target import Target, answer, each

_SIGNED_AT: Final = datetime.fromtimestamp(1614265330, UTC)
_SECRETS: Final = ("It's a Secret to Everybody", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


class _NoToken:
    def token(self, *, fresh: bool = False) -> str:
        return "" if fresh else "unused"


def _client() -> ForgeClient:
    """No request is sent: answers are judged, and a limit in one must not be remembered for the next."""
    return ForgeClient(
        "https://forge.test",
        _NoToken(),
        name="shop",
        headers={},
        clock=SystemClock(),
        random=SystemRandom(),
        metrics=_METRICS,
    )


_METRICS: Final = PrometheusMetrics()


def refused(raw: bytes) -> None:
    """Also reads the rate limits that every answer carries."""
    got, client = answer(raw), _client()
    client._note_budget(got)
    error = client._refused(got, "GET /pulls")
    assert isinstance(error, ReconcilerError)
    assert "dTpwdw==" not in str(error)


def pages(raw: bytes) -> None:
    """One page a line of `----`, each a whole answer."""
    answers = [answer(part) for part in raw.split(b"\n----\n")]
    _sweep(lambda n: _answer(answers[min(n, len(answers)) - 1], "pulls"), "pulls", page_size=100, pages_max=10)


def pull_request(model: type[ForgePull]) -> Callable[[bytes], None]:
    def run(raw: bytes) -> None:
        read = parsed(model, _answer(answer(b"200\n\n" + raw), "pull request"), "pull request")
        each(read.value, read.change)

    return run


def installation_token(raw: bytes) -> None:
    _token_of(raw, "token")


def pull_request_ref(raw: bytes) -> None:
    assert local_record.decode(raw, 7).encode() == raw


def webhook(sender: Sender) -> Callable[[bytes], None]:
    def run(raw: bytes) -> None:
        got = answer(b"200\n" + raw)
        is_signed(sender, _SECRETS, {n.lower(): v for n, v in got.headers.items()}, got.content, _SIGNED_AT)
        hint_of(sender, got.content)

    return run


def cluster(raw: bytes) -> None:
    try:
        body: Json = json.loads(raw)
    except (ValueError, RecursionError):
        return
    for item in kubernetes_objects.page(body, "list").items:
        each(
            lambda item=item: kubernetes_objects.namespace(item, "namespace"),
            lambda item=item: kubernetes_objects.application(item, "application"),
            allowed=(Unavailable,),
        )


TARGETS: Final = (
    Target("forge-refusal", refused, ()),
    Target("forge-pages", pages, (Terminal, Unavailable)),
    Target("github-pull-request", pull_request(PullRecord), (Terminal, Unavailable)),
    Target("gitlab-merge-request", pull_request(MergeRequest), (Terminal, Unavailable)),
    Target("installation-token", installation_token, (Unavailable,)),
    Target("pull-request-ref", pull_request_ref, (InvalidValue,)),
    *(Target(f"webhook-{sender}", webhook(sender), (InvalidValue,)) for sender in Sender),
    Target("kubernetes-list", cluster, (Unavailable,)),
)
