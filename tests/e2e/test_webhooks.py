"""Webhooks at a running reconciler: a delivery hastens a look, and nothing depends on one."""

from __future__ import annotations

import hmac
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.test_daemon import Process, Start, filled, start
from tests.fixtures.github_shop import GitHubShop, github
from tests.fixtures.shop import DOCS, IMAGE_NAMES, eventually

__all__ = ["github", "start"]

SECRET = "between GitHub and us"
DATA = Path(__file__).parents[1] / "data" / "webhooks" / "github"
NEVER_S = 3600


@pytest.fixture
def hooked(github: GitHubShop, start: Start) -> GitHubShop:
    """Polled so seldom that only a delivery can bring a look."""
    del start  # it configures a private listener alone, and has to be first
    file = github.shop.root / "webhook-secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    github.shop.configure(
        poll_interval_s=NEVER_S,
        listen={"private": "127.0.0.1:0", "public": "127.0.0.1:0"},
        shop={"webhook": {"sender": "github", "secret_file": str(file)}},
    )
    return github


def delivered(process: Process, body: dict[str, Any], secret: str = SECRET) -> int:
    """The status that the public listener answers to a delivery."""
    public = next(e["address"] for e in process.events("listening") if e["name"] == "public")
    raw = json.dumps(body).encode()
    signature = f"sha256={hmac.digest(secret.encode(), raw, 'sha256').hex()}"
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"http://{public}/webhooks/shop",
            data=raw,
            headers={"X-Hub-Signature-256": signature, "Content-Type": "application/json"},
            timeout=10,
        )
    return answer.status_code


def about(github: GitHubShop, number: int, event: str = "pull_request_opened") -> dict[str, Any]:
    """GitHub's documented delivery, about a pull request of this repository."""
    body: dict[str, Any] = json.loads((DATA / f"{event}.json").read_text())
    body["repository"]["id"] = github.forge.id
    body["number"] = body["pull_request"]["number"] = number
    return body


def test_a_delivery_alone_brings_a_new_head_to_completeness(hooked: GitHubShop, start: Start) -> None:
    process = start()
    process.until("pass_finished")
    number, head = hooked.opens("docs", DOCS)
    assert delivered(process, about(hooked, number), secret="guessed") == 401
    assert delivered(process, about(hooked, number)) == 202
    eventually("every tag of the head", filled(hooked.shop, head))
    assert process.ends(signal.SIGTERM) == 0
    assert SECRET not in process.log


def test_repeated_late_and_lying_deliveries_change_nothing(hooked: GitHubShop, start: Start) -> None:
    number, head = hooked.opens("docs", DOCS)
    process = start()
    eventually("every tag of the head", filled(hooked.shop, head))
    written = len(IMAGE_NAMES)
    eventually("all lines about them", lambda: len(process.events("tag_written")) == written)
    lie = about(hooked, number, "pull_request_closed")
    lie["pull_request"]["head"]["sha"] = "0" * 40
    before = len(process.events("pass_finished"))
    for _ in range(100):
        assert delivered(process, lie) == 202
    process.until("pass_finished", times=before + 1)
    assert len(process.events("pass_finished")) < before + 100
    assert filled(hooked.shop, head)()
    assert len(process.events("tag_written")) == written
    assert process.ends(signal.SIGTERM) == 0
    hooked.shop.verified()
