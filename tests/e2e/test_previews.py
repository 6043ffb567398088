"""Previews and a running reconciler: the plugin endpoint over a head's life and a restart, and the label."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from reconciler.adapters.forge_local import LocalForge
from reconciler.webhooks.signatures import Sender, is_signed
from state.git import CommitId, RefName
from tests.e2e.test_daemon import Process, Start, filled, start
from tests.fixtures.registry_stub import Reply, Stub
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, changes, eventually

__all__ = ["start"]

TOKEN = "of the controller"


@pytest.fixture
def previewed(shop: Shop, start: Start) -> Shop:
    del start  # it configures a private listener alone, and has to be first
    file = shop.root / "plugin-token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    shop.configure(
        listen={"private": "127.0.0.1:0", "public": "127.0.0.1:0"},
        shop={"preview": {"token_file": str(file), "label": "preview-images"}},
    )
    return shop


def answer(process: Process) -> tuple[int, dict[str, str]]:
    """Status, and number → head of what the controller would be told."""
    public = next((e["address"] for e in process.events("listening") if e["name"] == "public"), None)
    if public is None:
        return 0, {}
    with requests.Session() as session:
        session.trust_env = False
        told = session.post(
            f"http://{public}/plugins/shop/api/v1/getparams.execute",
            json={"applicationSetName": "previews", "input": {"parameters": {}}},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        )
    body: dict[str, Any] = told.json()
    rows = body["output"]["parameters"] if told.status_code == 200 else []
    return told.status_code, {row["number"]: row["head_sha"] for row in rows}


def serves(process: Process, expected: dict[int, CommitId]) -> None:
    wanted = (200, {str(number): str(head) for number, head in expected.items()})
    eventually(f"the answer {wanted}", lambda: answer(process) == wanted)


def labels(shop: Shop, number: int) -> tuple[str, ...]:
    found = LocalForge(Path(shop.code)).pull_request(number)
    assert found is not None
    return found.labels


def test_the_old_head_is_served_until_the_new_one_is_complete_also_after_a_restart(
    previewed: Shop, start: Start
) -> None:
    shop = previewed
    number, first = shop.opens("docs", DOCS)
    process = start()
    serves(process, {number: first})
    eventually("the label", lambda: labels(shop, number) == ("preview-images",))
    image = IMAGE_NAMES[0]
    second = shop.world.branch("docs-2", changes(image), "docs-2")
    shop.pulls.push(number, second)
    eventually("the unchanged images", lambda: shop.tag(IMAGE_NAMES[1], second) is not None)
    passes = len(process.events("pass_finished"))
    process.until("pass_finished", times=passes + 2)
    assert answer(process) == (200, {str(number): first})
    assert labels(shop, number) == ("preview-images",)  # a push never takes it away
    assert process.ends(signal.SIGTERM) == 0
    process = start()
    serves(process, {number: first})
    shop.world.ci_builds(image, second)
    serves(process, {number: second})
    assert filled(shop, second)()
    assert process.ends(signal.SIGTERM) == 0


def test_a_closed_pull_request_leaves_and_a_refused_one_loses_its_label(previewed: Shop, start: Start) -> None:
    shop = previewed
    one, a = shop.opens("one", DOCS)
    two, b = shop.opens("two", {"docs/two.md": "two"})
    three, c = shop.opens("three", {"docs/three.md": "three"})
    process = start()
    serves(process, {one: a, two: b, three: c})
    shop.pulls.close(one)
    serves(process, {two: b, three: c})
    eventually("its label", lambda: labels(shop, two) == ("preview-images",))
    shop.pulls.retarget(two, RefName("refs/heads/another"))
    serves(process, {three: c})
    eventually("the label gone", lambda: labels(shop, two) == ())
    assert process.ends(signal.SIGTERM) == 0


def test_a_process_that_only_looks_sets_no_label(previewed: Shop, start: Start) -> None:
    previewed.configure(mode="fill")
    number, head = previewed.opens("docs", DOCS)
    process = start()
    serves(process, {number: head})
    assert process.ends(signal.SIGTERM) == 0
    previewed.pulls.label(number, remove=["preview-images"])
    previewed.configure(mode="observe")
    process = start()
    process.until("pass_finished", times=3)
    serves(process, {number: head})
    assert labels(previewed, number) == ()
    assert process.ends(signal.SIGTERM) == 0


def test_the_controller_is_told_when_the_answer_changes_and_until_it_has_heard(
    previewed: Shop, start: Start, stub: Stub
) -> None:
    shop, secret = previewed, "shared with Argo CD"
    file = shop.root / "refresh-secret"
    file.write_text(secret)
    file.chmod(0o600)
    preview = {
        **shop.repository_settings["preview"],
        "refresh": {"url": f"{stub.url}/api/webhook", "secret_file": str(file)},
    }
    shop.configure(shop={"preview": preview})
    stub.answer = lambda _: Reply(503)
    number, head = shop.opens("docs", DOCS)
    process = start()
    process.until("refresh_failed")
    assert all(
        is_signed(Sender.GITHUB, (secret,), seen.headers, seen.body, datetime.now(UTC)) for seen in stub.requests
    )
    assert {seen.headers["x-github-event"] for seen in stub.requests} == {"push"}
    serves(process, {number: head})
    stub.answer = lambda _: Reply(200)
    failed = len(process.events("refresh_failed"))
    passes = len(process.events("pass_finished"))
    process.until("pass_finished", times=passes + 2)
    heard = len(stub.requests)
    process.until("pass_finished", times=passes + 4)
    assert len(stub.requests) == heard  # nothing has changed since
    assert len(process.events("refresh_failed")) <= failed + 1
    two, other = shop.opens("two", {"docs/two.md": "two"})
    serves(process, {number: head, two: other})
    eventually("told of it", lambda: len(stub.requests) > heard)
    assert process.ends(signal.SIGTERM) == 0
    assert secret not in process.log
