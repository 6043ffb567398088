"""Gitea's own ways and bad days; what it shares with every forge is in the contract suite."""

from __future__ import annotations

from typing import cast

import pytest

from reconciler.adapters.forge_gitea import GiteaForge
from reconciler.adapters.forge_github_status import CommitStatuses
from reconciler.ports import Permission, StatusState
from state.errors import Denied, Terminal, Transient
from state.git import RefName
from tests.fixtures.gitea_server import GiteaDriver, GiteaUnderTest
from tests.fixtures.github_server import NAME, repository_of
from tests.fixtures.registry_stub import Reply, Seen

JSON = {"Content-Type": "application/json"}
BRANCH, MAIN = RefName("refs/heads/pins"), RefName("refs/heads/main")


def opened(gitea: GiteaUnderTest, count: int) -> None:
    head = gitea.tested.driver.commit()
    for _ in range(count):
        gitea.tested.driver.open(head)


def pages(gitea: GiteaUnderTest) -> int:
    return sum(seen.path.endswith("/pulls") for seen in gitea.stub.requests)


@pytest.mark.parametrize("most", [50, 30])
def test_a_listing_is_whole_whatever_the_server_gives_at_most(gitea: GiteaUnderTest, most: int) -> None:
    gitea.forge.max_items = most
    opened(gitea, 130)
    found = gitea.tested.reader.open_pull_requests()
    assert found.complete
    assert [p.number for p in found.pull_requests] == [*range(1, 131)]


def test_a_total_that_is_not_met_makes_the_listing_incomplete(gitea: GiteaUnderTest) -> None:
    opened(gitea, 3)

    def one_less(seen: Seen) -> Reply | None:
        if not seen.path.endswith("/pulls"):
            return None
        gitea.forge.fault = lambda _: None
        made = gitea.forge.answer(seen)
        gitea.forge.fault = one_less
        return Reply(200, {**made.headers, "X-Total-Count": "4"}, made.body)

    gitea.forge.fault = one_less
    assert not gitea.tested.reader.open_pull_requests().complete


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(502, {"Content-Type": "text/html"}, b"<html>"), Transient),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), Transient),
        (Reply(drop=True), Transient),
        (Reply(404, JSON, b"{}"), Transient),
        (Reply(401, JSON, b"{}"), Denied),
    ],
)
def test_a_lost_third_page_is_an_error_and_never_a_shorter_list(
    gitea: GiteaUnderTest, reply: Reply, error: type[Exception]
) -> None:
    opened(gitea, 130)
    gitea.forge.fault = lambda seen: reply if "page=3" in seen.query else None
    with pytest.raises(error):
        gitea.tested.reader.open_pull_requests()


def test_an_unchanged_listing_is_read_by_two_that_agree_since_there_are_no_etags(gitea: GiteaUnderTest) -> None:
    opened(gitea, 60)
    gitea.tested.reader.open_pull_requests()
    assert pages(gitea) == 4


def test_ten_thousand_open_pull_requests_are_listed_whole(gitea: GiteaUnderTest) -> None:
    opened(gitea, 1)
    first = gitea.forge.pulls[1]
    for number in range(2, 10_001):
        gitea.forge.pulls[number] = {**first, "id": 9000 + number, "number": number}
    found = gitea.tested.reader.open_pull_requests()
    assert (found.complete, len(found.pull_requests)) == (True, 10_000)


def test_a_rename_is_followed_and_another_repository_under_the_name_is_refused(gitea: GiteaUnderTest) -> None:
    opened(gitea, 1)
    assert gitea.tested.reader.repository().name == NAME
    gitea.forge.renamed_from.add(NAME)
    gitea.forge.name = "acme/other"
    assert gitea.tested.reader.repository().name == "acme/other"
    assert gitea.tested.reader.open_pull_requests().complete
    gitea.forge.id += 1
    with pytest.raises(Terminal, match="another repository has this name now"):
        gitea.tested.reader.repository()


def test_an_ended_token_is_denied_and_a_rotated_one_counts(gitea: GiteaUnderTest) -> None:
    gitea.forge.tokens.clear()
    with pytest.raises(Denied):
        gitea.tested.reader.repository()
    gitea.forge.tokens.add("new")
    gitea.token_file.write_text("new\n")
    assert gitea.tested.reader.repository().name == NAME


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


def test_a_conflict_on_create_is_adopted(gitea: GiteaUnderTest) -> None:
    driver, writer = cast("GiteaDriver", gitea.tested.driver), gitea.tested.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    lagging = [True]

    def empty_once(seen: Seen) -> Reply | None:
        if seen.method == "GET" and seen.path.endswith("/pulls") and lagging:
            lagging.clear()
            return Reply(200, {**JSON, "X-Total-Count": "0"}, b"[]")
        return None

    gitea.forge.fault = empty_once
    assert writer.open_change(BRANCH, MAIN, "t", "b") == made
    assert len(gitea.forge.pulls) == 1


def test_a_label_the_repository_lacks_is_made_once(gitea: GiteaUnderTest) -> None:
    opened(gitea, 2)
    gitea.forge.max_items = 2
    gitea.forge.labels = {1: "bug", 2: "docs", 3: "help"}
    for number in (1, 2):
        gitea.tested.labels.add_label(number, "preview-images")
    assert [*gitea.forge.labels.values()] == ["bug", "docs", "help", "preview-images"]
    gitea.tested.labels.remove_label(1, "never heard of")
    assert [one["name"] for one in gitea.forge.pulls[1]["labels"]] == ["preview-images"]


def test_a_missing_repository_never_means_that_it_has_no_pull_requests(gitea: GiteaUnderTest) -> None:
    with pytest.raises(Terminal):
        GiteaForge(repository_of(gitea.client, "acme/gone"), None).open_pull_requests()  # type: ignore[arg-type]


def test_a_search_that_answers_somebody_else_grants_nothing(gitea: GiteaUnderTest) -> None:
    gitea.forge.users[9] = "mona"
    gitea.forge.permissions["mona"] = "write"
    found = b'{"data": [{"id": 9, "login": "mona"}], "ok": true}'
    gitea.forge.fault = lambda seen: Reply(200, JSON, found) if seen.path == "/users/search" else None
    assert cast("GiteaForge", gitea.tested.reader).permission(7) is Permission.NONE


def test_a_status_that_is_shown_already_is_not_written_again_after_a_restart(gitea: GiteaUnderTest) -> None:
    head = gitea.tested.driver.commit()
    gitea.tested.status.report(head, StatusState.SUCCESS, "2 of 2 ready")
    before = len(gitea.stub.requests)
    CommitStatuses(repository_of(gitea.client)).report(head, StatusState.SUCCESS, "2 of 2 ready")
    assert [seen.method for seen in gitea.stub.requests[before:]] == ["GET", "GET"]
