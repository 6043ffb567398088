"""A forge that is down when the process starts stops its own repository, and no other."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.test_daemon import Process, Start, filled, start
from tests.e2e.test_webhooks import SECRET, about, delivered
from tests.fixtures.github_server import NAME, Reply
from tests.fixtures.github_shop import GitHubShop, github
from tests.fixtures.shop import DOCS, Shop, eventually, open_shop

__all__ = ["github", "start"]

DOWN = Reply(503, {"Content-Type": "text/html"}, b"<html>maintenance</html>")


@pytest.fixture
def other(github: GitHubShop, start: Start, tmp_path: Path) -> Iterator[Shop]:
    """A second repository of the same process, on this machine, named after the one at GitHub."""
    del start  # it configures a private listener alone, and has to be first
    with open_shop(tmp_path / "other") as made:
        second = {**made.repository_settings, "name": "other"}
        both = [*github.shop.settings["repositories"], second]
        registries = github.shop.settings["registries"] + made.settings["registries"]
        github.shop.configure(repositories=both, registries=registries)
        yield made


def until_not_ready(process: Process, reason: str) -> None:
    eventually(f"not ready: {reason}", lambda: (r := process.readiness())[0] == 503 and reason in r[1])


def test_the_others_go_on_and_it_is_taken_up_once_its_forge_answers(
    github: GitHubShop, other: Shop, start: Start
) -> None:
    _, there = github.opens("docs", DOCS)
    _, here = other.opens("docs", DOCS)
    github.forge.fault = lambda _: DOWN
    process = start()
    eventually("every tag of the other's head", filled(other, here))
    until_not_ready(process, "shop: reconciling: ")
    assert {e["name"] for e in process.events("pass_failed")} == {"shop"}
    assert set(github.shop.tags(there).values()) == {None}
    github.forge.fault = lambda _: None
    eventually("every tag of its head", filled(github.shop, there))
    process.until_ready()
    assert process.ends(signal.SIGTERM) == 0
    github.shop.verified()
    other.verified()


def test_what_only_a_person_can_mend_is_told_as_stalled(github: GitHubShop, other: Shop, start: Start) -> None:
    _, here = other.opens("docs", DOCS)
    github.shop.repository_settings["forge"]["repository_id"] = github.forge.id + 1
    github.shop.configure()
    process = start()
    eventually("every tag of the other's head", filled(other, here))
    until_not_ready(process, f"shop: stalled: {NAME}: expected repository id")
    assert process.events("repository_stalled")
    assert process.ends(signal.SIGTERM) == 0


def test_meanwhile_another_repositorys_settings_are_taken_up_and_those_of_one_out_of_reach_are_not(
    github: GitHubShop, other: Shop, start: Start
) -> None:
    github.forge.fault = lambda _: DOWN
    process = start()
    process.until("pass_finished")
    first, second = github.shop.settings["repositories"]
    github.shop.configure(repositories=[first, {**second, "suspend": True}])
    process.until("config_loaded")
    _, here = other.opens("docs", DOCS)
    process.until("pass_finished", times=2)
    assert set(other.tags(here).values()) == {None}
    changed = json.loads(json.dumps(first))
    changed["admission"]["hold_label"] = "other/hold"
    github.shop.configure(repositories=[changed, {**second, "suspend": False}])
    assert "answered 503" in process.until("config_refused")["error"]
    assert process.ends(signal.SIGTERM) == 0


def test_its_previews_are_told_nothing_and_a_delivery_for_it_is_taken(
    github: GitHubShop, other: Shop, start: Start
) -> None:
    for name, secret in (("plugin", "s3cret-and-long"), ("webhook", SECRET)):
        file = github.shop.root / name
        file.write_text(secret + "\n")
        file.chmod(0o600)
    github.shop.configure(
        listen={"private": "127.0.0.1:0", "public": "127.0.0.1:0"},
        shop={
            "webhook": {"sender": "github", "secret_file": str(github.shop.root / "webhook")},
            "preview": {"token_file": str(github.shop.root / "plugin")},
        },
    )
    github.forge.fault = lambda _: DOWN
    process = start()
    process.until("pass_finished")
    public = next(e["address"] for e in process.events("listening") if e["name"] == "public")
    with requests.Session() as session:
        session.trust_env = False
        asked = session.post(
            f"http://{public}/plugins/shop/api/v1/getparams.execute",
            json={},
            headers={"Authorization": "Bearer s3cret-and-long"},
            timeout=10,
        )
    assert (asked.status_code, asked.json()["error"]) == (503, "the repository could not be opened yet")
    assert delivered(process, about(github, 1)) == 202
    assert delivered(process, about(github, 1), secret="guessed") == 401
    assert process.ends(signal.SIGTERM) == 0


def test_a_log_remote_that_is_down_at_the_start_does_not_stop_the_others(
    github: GitHubShop, other: Shop, start: Start
) -> None:
    remote = github.git.repository("log.git")
    first = github.shop.repository_settings
    credential = github.shop.root / "log-remote"
    credential.write_text("x-access-token:nobody\n")
    credential.chmod(0o600)
    github.shop.configure(shop={"log": {**first["log"], "remote": remote, "remote_credential_file": str(credential)}})
    _, here = other.opens("docs", DOCS)
    process = start()
    eventually("every tag of the other's head", filled(other, here))
    until_not_ready(process, "shop: ")
    assert process.ends(signal.SIGTERM) == 0


def test_one_pass_over_all_goes_on_after_the_one_that_is_out_of_reach(github: GitHubShop, other: Shop) -> None:
    _, here = other.opens("docs", DOCS)
    github.forge.fault = lambda _: DOWN
    done = github.shop.runs("reconciler", "once", "--config", str(github.shop.config))
    assert done.returncode == 3
    assert "shop: " in done.stderr
    assert filled(other, here)()
