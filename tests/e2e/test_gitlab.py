"""The whole path with the code at a GitLab, in a subgroup: daemon, doctor and budget against its REST API and git."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import pytest

from reconciler.ports import StatusState
from tests.e2e.test_daemon import Start, filled, start
from tests.fixtures.git_http import serve
from tests.fixtures.gitlab_server import PATH, TOKEN, GitLab, GitLabDriver
from tests.fixtures.registry_stub import Reply, Seen
from tests.fixtures.shop import DOCS, Shop, eventually

__all__ = ["start"]


@dataclass(frozen=True)
class GitLabShop:
    shop: Shop
    forge: GitLab
    driver: GitLabDriver

    def doctor(self, check: str) -> tuple[str, str]:
        """Status and what was found."""
        done = self.shop.runs("doctor", "--config", str(self.shop.config), "--json")
        found = next(f for f in json.loads(done.stdout) if f["check"] == check)
        return found["status"], found["found"]

    def budget(self) -> tuple[int, Any]:
        """Exit code and output."""
        done = self.shop.runs("forge", "budget", "--config", str(self.shop.config), "--json")
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def gitlab(shop: Shop) -> Iterator[GitLabShop]:
    """The shop's code repository served as a project in a subgroup."""
    link = shop.root / "gitlab" / f"{PATH}.git"
    link.parent.mkdir(parents=True)
    link.symlink_to(shop.code)
    (shop.root / "state").mkdir(exist_ok=True)
    token_file = shop.root / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    forge = GitLab(shop.code)

    def api(seen: Seen) -> Reply:
        # WSGI hands paths on without their quoting; that ours is right is seen in the contract suite.
        path = seen.path.removeprefix("/api/v4").replace(PATH, quote(PATH, safe=""))
        return forge.answer(replace(seen, path=path))

    with serve(shop.root / "gitlab") as git:
        git.api, git.passwords = api, forge.tokens
        access = {"kind": "gitlab", "url": git.url, "repository": PATH, "token_file": str(token_file)}
        shop.configure(shop={"forge": access})
        yield GitLabShop(shop, forge, GitLabDriver(forge, git.url, token_file))
    forge.held.check()


def test_a_head_at_gitlab_is_filled_and_its_status_says_so(gitlab: GitLabShop, start: Start) -> None:
    head = gitlab.shop.world.branch("docs", DOCS, "docs")
    gitlab.driver.open(head)
    process = start()
    eventually("every tag of the head", filled(gitlab.shop, head))
    ready = (StatusState.SUCCESS, "5 of 5 ready · unproven")
    eventually("its status", lambda: gitlab.driver.status(head) == ready)
    assert process.ends(signal.SIGTERM) == 0
    assert TOKEN not in process.log
    gitlab.shop.verified()


def test_doctor_tells_what_the_token_lacks(gitlab: GitLabShop) -> None:
    gitlab.forge.role = {"project_access": None, "group_access": {"access_level": 20}}
    assert gitlab.doctor("shop: forge permissions") == (
        "fail",
        "missing: the role Developer; got access level 20; scopes api",
    )


def test_the_budget_is_held_against_a_limit_a_minute(gitlab: GitLabShop) -> None:
    code, found = gitlab.budget()
    assert (code, found["fits"], found["granted"]["period_s"]) == (0, True, 60)
    assert found["costs"][1]["counted"] == found["costs"][1]["requests"] == 2
