"""The whole path on a real Gitea: pushes over git, a pull request over its API, its own deliveries, and the status."""

from __future__ import annotations

import json
import signal

import pytest

from reconciler.ports import StatusState
from tests.e2e.test_daemon import Start, filled, start
from tests.fixtures.forge_clients import plain
from tests.fixtures.gitea_real import GiteaServer, RealGitea
from tests.fixtures.shop import DOCS, IMAGE_NAMES, Shop, changes, eventually

__all__ = ["start"]

pytestmark = pytest.mark.gitea
NEVER_S = 3600


@pytest.fixture
def gitea(shop: Shop, gitea_server: GiteaServer) -> RealGitea:
    """The shop's code at a Gitea, as it is on main, and its bot's token in the configuration."""
    made = RealGitea(gitea_server, shop.root)
    made.git("push", "-q", "--force", gitea_server.git_url(made.name), "refs/heads/main", cwd=shop.code)
    (shop.root / "state").mkdir(exist_ok=True)
    access = {"kind": "gitea", "url": gitea_server.url, "repository": made.name, "token_file": str(made.token_file)}
    shop.configure(shop={"forge": access})
    return made


def pushed(shop: Shop, gitea: RealGitea, name: str, files: dict[str, str]) -> str:
    """Commit on a branch, and push it."""
    head = shop.world.branch(name, files, name)
    gitea.git("push", "-q", gitea.server.git_url(gitea.name), f"{head}:refs/heads/{name}", cwd=shop.code)
    return head


def test_a_delivery_of_a_new_pull_request_fills_its_head_and_a_push_the_next_one(
    shop: Shop, gitea: RealGitea, start: Start
) -> None:
    secret = shop.root / "webhook-secret"
    secret.write_text("between Gitea and us")
    secret.chmod(0o600)
    shop.configure(
        poll_interval_s=NEVER_S,  # so that nothing but a delivery can bring a look
        listen={"private": "127.0.0.1:0", "public": "127.0.0.1:0"},
        shop={"webhook": {"sender": "gitea", "secret_file": str(secret)}},
    )
    process = start()
    process.until("pass_finished")
    public = next(e["address"] for e in process.events("listening") if e["name"] == "public")
    config = {"url": f"http://{public}/webhooks/shop", "content_type": "json", "secret": secret.read_text()}
    events = ["push", "pull_request", "pull_request_sync"]
    gitea.api("POST", "/hooks", {"type": "gitea", "active": True, "config": config, "events": events})

    head = pushed(shop, gitea, "docs", DOCS)
    gitea.api("POST", "/pulls", {"head": "docs", "base": "main", "title": "Docs"})
    eventually("every tag of the head", filled(shop, head))
    ready = (StatusState.SUCCESS, "5 of 5 ready · unproven")
    eventually("its status", lambda: gitea.status(head) == ready)
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}

    later = pushed(shop, gitea, "docs", changes("orders"))
    eventually("the status of the next head", lambda: (s := gitea.status(later)) and s[0] is StatusState.PENDING)
    assert "waiting for CI: orders" in gitea.status(later)[1]
    assert process.ends(signal.SIGTERM) == 0
    assert gitea.token_file.read_text().strip() not in process.log
    shop.verified()


def test_doctor_finds_the_bot_in_order_and_says_what_it_has_too_much(shop: Shop, gitea: RealGitea) -> None:
    done = shop.runs("doctor", "--config", str(shop.config), "--json")
    found = {f["check"]: (f["status"], f["found"]) for f in json.loads(done.stdout)}
    assert found["shop: forge"] == ("ok", f"{gitea.name}, repository id {gitea.repository_id()}, 0 open pull requests")
    status, words = found["shop: forge permissions"]
    assert (status, plain(words)) == (
        "warn",
        "more than needed: write:admin, write:issue, write:notification, write:organization, write:package, write:user",
    )  # the bot's token has the scope `all`
    assert found["shop: forge permissions: git"] == (
        "warn",
        "more than needed: it may push to the code repository",  # Gitea has no role that may set a status and not push
    )
