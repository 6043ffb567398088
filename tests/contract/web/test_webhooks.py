"""The webhook endpoint on real sockets."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter
from reconciler.web.apps import public_app
from reconciler.web.host import PUBLIC_BODY_MAX_BYTES
from reconciler.web.webhooks import PREFIX, Hook, Webhooks
from reconciler.webhooks.signatures import Sender
from tests.contract.web.test_host import Running

SECRET = "correct horse battery staple"
OPENED = {"repository": {"id": 7}, "number": 3, "pull_request": {"number": 3}}


@dataclass
class Endpoint:
    running: Running
    secret_file: Path
    hinted: list[tuple[str, int | None]]
    metrics: PrometheusMetrics
    own_id: int | None = 7

    def post(
        self, body: bytes, *, name: str = "shop", secret: str = SECRET, kind: str = "application/json", **headers: str
    ) -> requests.Response:
        signature = f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}"
        sent = {"X-Hub-Signature-256": signature, "Content-Type": kind, **headers}
        return self.running.ask("public", f"/webhooks/{name}", "POST", data=body, headers=sent)

    def counted(self, repository: str, result: str) -> bool:
        line = f'ameide_webhooks_total{{repository="{repository}",result="{result}"}}'
        return line in self.metrics.exposition().decode()

    def refusals(self) -> list[object]:
        return [line["repository"] for line in self.running.lines if line["event"] == "webhook_refused"]


@pytest.fixture
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Endpoint]:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    hinted: list[tuple[str, int | None]] = []
    lines: list[dict[str, object]] = []
    metrics = PrometheusMetrics()
    emitter = Emitter(lambda record: lines.append(dict(record)), SystemClock())
    sender = getattr(request, "param", Sender.GITHUB)
    webhooks = Webhooks(
        {"shop": Hook(sender, lambda: made.own_id, SecretFile(file, "webhook secret file").lines)},
        lambda name, number: hinted.append((name, number)),
        clock=SystemClock(),
        metrics=metrics,
        emitter=emitter,
    )
    running = Running(outside=public_app(emitter, {PREFIX: webhooks.handle}))
    running.lines = lines  # type: ignore[assignment]
    made = Endpoint(running, file, hinted, metrics)
    yield made
    running.host.stop()


def delivery(**changed: object) -> bytes:
    return json.dumps({**OPENED, **changed}).encode()


WEBHOOKS = Path(__file__).parents[2] / "data" / "webhooks"
RECORDED = {
    Sender.GITHUB: ("pull_request_opened", "repository", ("pull_request", "number")),
    Sender.GITEA: ("pull_request", "repository", ("pull_request", "number")),
    Sender.GITLAB: ("merge_request", "project", ("object_attributes", "iid")),
}
"""A recorded delivery of each, where it names the repository, and where the pull request."""


def numbered(sender: Sender, action: str, number: int) -> dict[str, object]:
    """The recorded delivery, about another pull request of our repository."""
    file, repository, (section, key) = RECORDED[sender]
    made: dict[str, dict[str, object]] = json.loads((WEBHOOKS / sender.value / f"{file}.json").read_bytes())
    made[repository]["id"] = 7
    made[section] |= {key: number, **({"action": action} if sender is Sender.GITLAB else {})}
    return {**made, **({} if sender is Sender.GITLAB else {"action": action})}


def signed(sender: Sender, body: bytes) -> dict[str, str]:
    made = hmac.digest(SECRET.encode(), body, "sha256").hex()
    return {
        Sender.GITHUB: {"X-Hub-Signature-256": f"sha256={made}"},
        Sender.GITEA: {"X-Gitea-Signature": made},
        Sender.GITLAB: {"X-Gitlab-Token": SECRET},
    }[sender]


@pytest.mark.parametrize(("endpoint", "sender"), [(s, s) for s in Sender], indirect=["endpoint"])
def test_deliveries_again_late_and_out_of_order_mark_the_same_pull_requests(endpoint: Endpoint, sender: Sender) -> None:
    story = [("opened", 3), ("synchronize", 3), ("opened", 4), ("closed", 3)]
    for action, number in [*reversed(story), *story, story[0], story[0]]:
        body = json.dumps(numbered(sender, action, number)).encode()
        headers = {"Content-Type": "application/json", **signed(sender, body)}
        answer = endpoint.running.ask("public", "/webhooks/shop", "POST", data=body, headers=headers)
        assert answer.status_code == 202
    assert set(endpoint.hinted) == {("shop", 3), ("shop", 4)}
    assert len(endpoint.hinted) == 10  # each is one mark, whatever it says


def test_a_signed_delivery_is_taken_and_hints_at_its_pull_request(endpoint: Endpoint) -> None:
    assert endpoint.post(delivery()).status_code == 202
    assert endpoint.hinted == [("shop", 3)]
    assert endpoint.counted("shop", "taken")


@pytest.mark.parametrize(
    ("name", "secret", "headers"),
    [
        ("shop", "wrong", {}),
        ("shop", SECRET, {"X-Hub-Signature-256": ""}),
        ("other", SECRET, {}),
        ("", SECRET, {}),
        ("shop/x", SECRET, {}),
    ],
)
def test_an_unsigned_one_hints_at_nothing(endpoint: Endpoint, name: str, secret: str, headers: dict[str, str]) -> None:
    answer = endpoint.post(delivery(), name=name, secret=secret, **headers)
    assert answer.status_code == (404 if name in {"", "shop/x"} else 401)
    assert endpoint.hinted == []


def test_an_unknown_name_is_answered_as_a_wrong_secret_is(endpoint: Endpoint) -> None:
    known, unknown = endpoint.post(delivery(), secret="x"), endpoint.post(delivery(), name="nobody", secret="x")
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    assert [h for h in known.headers if h != "Date"] == [h for h in unknown.headers if h != "Date"]
    assert endpoint.counted("unknown", "refused")


def test_a_row_of_refusals_is_counted_and_one_line_written(endpoint: Endpoint) -> None:
    for _ in range(5):
        endpoint.post(delivery(), secret="x")
    assert endpoint.refusals() == ["shop"]
    endpoint.post(delivery())
    endpoint.post(delivery(), secret="x")
    assert endpoint.refusals() == ["shop", "shop"]
    assert SECRET not in str(endpoint.running.lines)


def test_a_delivery_about_another_repository_is_let_go(endpoint: Endpoint) -> None:
    assert endpoint.post(delivery(repository={"id": 8})).status_code == 202
    assert endpoint.hinted == []
    assert endpoint.counted("shop", "other_repository")


def test_while_the_own_id_is_not_known_every_delivery_hints_at_the_whole(endpoint: Endpoint) -> None:
    endpoint.own_id = None
    assert endpoint.post(delivery()).status_code == 202
    assert endpoint.hinted == [("shop", None)]


def test_a_delivery_about_no_repository_hints_at_the_whole(endpoint: Endpoint) -> None:
    assert endpoint.post(delivery(repository=None)).status_code == 202
    assert endpoint.hinted == [("shop", None)]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"payload=%7B%7D", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
    ],
)
def test_a_signed_one_that_is_no_json_object_is_refused(
    endpoint: Endpoint, body: bytes, kind: str, status: int
) -> None:
    assert endpoint.post(body, kind=kind).status_code == status
    assert endpoint.hinted == []


def test_only_post_is_answered(endpoint: Endpoint) -> None:
    answer = endpoint.running.ask("public", "/webhooks/shop")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_a_delivery_beyond_the_bound_is_not_read(endpoint: Endpoint) -> None:
    assert endpoint.post(b" " * (PUBLIC_BODY_MAX_BYTES + 1)).status_code == 413
    assert endpoint.hinted == []


def test_the_private_listener_takes_no_delivery(endpoint: Endpoint) -> None:
    assert endpoint.running.ask("private", "/webhooks/shop", "POST", data=b"{}").status_code == 404


def test_a_rotated_secret_counts_from_the_next_delivery_on(endpoint: Endpoint) -> None:
    endpoint.secret_file.write_text(f"the new one\n{SECRET}\n")
    assert endpoint.post(delivery()).status_code == 202
    assert endpoint.post(delivery(), secret="the new one").status_code == 202
    endpoint.secret_file.write_text("the new one\n")
    assert endpoint.post(delivery()).status_code == 401


@pytest.mark.parametrize("content", [None, "", "\n\n"])
def test_without_a_secret_every_delivery_is_refused(endpoint: Endpoint, content: str | None) -> None:
    if content is None:
        endpoint.secret_file.unlink()
    else:
        endpoint.secret_file.write_text(content)
    assert endpoint.post(delivery(), secret="").status_code == 401
    assert endpoint.hinted == []
