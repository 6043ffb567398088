"""Gitea's own ways and bad days; what it shares with every forge is in the contract suite."""

from __future__ import annotations

from typing import cast

import pytest

from reconciler.adapters.forge_gitea import GiteaForge
from reconciler.ports import Permission
from state.errors import Terminal
from state.git import RefName
from tests.fixtures.gitea_server import GiteaUnderTest
from tests.fixtures.registry_stub import Reply

JSON = {"Content-Type": "application/json"}
BRANCH, MAIN = RefName("refs/heads/pins"), RefName("refs/heads/main")


def opened(gitea: GiteaUnderTest, count: int) -> None:
    head = gitea.tested.driver.commit()
    for _ in range(count):
        gitea.tested.driver.open(head)


def pages(gitea: GiteaUnderTest) -> int:
    return sum(seen.path.endswith("/pulls") for seen in gitea.stub.requests)


def test_an_unchanged_listing_is_read_by_two_that_agree_since_there_are_no_etags(gitea: GiteaUnderTest) -> None:
    opened(gitea, 60)
    gitea.tested.reader.open_pull_requests()
    assert pages(gitea) == 4


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        ("owner", Permission.ADMIN),
        ("admin", Permission.ADMIN),
        ("write", Permission.WRITE),
        ("read", Permission.READ),
        ("none", Permission.NONE),
        ("something new", Permission.NONE),
    ],
)
def test_a_permission_is_asked_by_id(gitea: GiteaUnderTest, granted: str, expected: Permission) -> None:
    gitea.forge.users[7] = "mona"
    gitea.forge.permissions["mona"] = granted
    people = cast("GiteaForge", gitea.tested.reader)
    assert people.permission(7) is expected
    assert people.permission(8) is Permission.NONE


def test_a_login_that_leads_to_somebody_else_is_refused(gitea: GiteaUnderTest) -> None:
    gitea.forge.users[7] = "mona"
    found = b'{"permission": "write", "user": {"id": 9, "login": "mona"}}'
    gitea.forge.fault = lambda seen: Reply(200, JSON, found) if seen.path.endswith("/permission") else None
    with pytest.raises(Terminal, match="another account"):
        cast("GiteaForge", gitea.tested.reader).permission(7)


def test_a_label_the_repository_lacks_is_made_once(gitea: GiteaUnderTest) -> None:
    opened(gitea, 2)
    gitea.forge.max_items = 2
    gitea.forge.labels = {1: "bug", 2: "docs", 3: "help"}
    for number in (1, 2):
        gitea.tested.labels.add_label(number, "preview-images")
    assert [*gitea.forge.labels.values()] == ["bug", "docs", "help", "preview-images"]
    gitea.tested.labels.remove_label(1, "never heard of")
    assert [one["name"] for one in gitea.forge.pulls[1]["labels"]] == ["preview-images"]


def test_a_search_that_answers_somebody_else_grants_nothing(gitea: GiteaUnderTest) -> None:
    gitea.forge.users[9] = "mona"
    gitea.forge.permissions["mona"] = "write"
    found = b'{"data": [{"id": 9, "login": "mona"}], "ok": true}'
    gitea.forge.fault = lambda seen: Reply(200, JSON, found) if seen.path == "/users/search" else None
    assert cast("GiteaForge", gitea.tested.reader).permission(7) is Permission.NONE
