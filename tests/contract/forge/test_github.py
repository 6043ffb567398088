"""What GitHub does on its bad days, and what its adapter makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_github_status import CheckRuns, CommitStatuses
from reconciler.ports import Permission, StatusState
from state.errors import ConfigError, Denied, RateLimited, Terminal
from state.git import RefName
from tests.fixtures.forge_clients import client_of
from tests.fixtures.github_server import APP_ID, NAME, GitHubDriver, GitHubUnderTest, repository_of
from tests.fixtures.registry_stub import Reply, Seen

MAIN = RefName("refs/heads/main")
BRANCH = RefName("refs/heads/ameide/staging/pr-7/0123456789ab")


def driver_of(github: GitHubUnderTest) -> GitHubDriver:
    driver = github.tested.driver
    assert isinstance(driver, GitHubDriver)
    return driver


def open_many(github: GitHubUnderTest, count: int) -> None:
    head = driver_of(github).commit()
    for _ in range(count):
        github.forge.open(head)


def test_an_unchanged_listing_costs_no_quota(github: GitHubUnderTest) -> None:
    open_many(github, 250)
    first = github.tested.reader.open_pull_requests()
    left, asked = github.forge.remaining, len(github.stub.requests)
    assert github.tested.reader.open_pull_requests() == first
    assert len(first.pull_requests) == 250
    assert github.forge.remaining == left
    assert (
        len(github.stub.requests) - asked == 5
    )  # the repository, three pages and the last of them again, all answered 304


def test_a_limit_is_kept_without_asking_on(github: GitHubUnderTest) -> None:
    body = json.dumps({"message": "You have exceeded a secondary rate limit."}).encode()
    github.forge.fault = lambda seen: Reply(403, {}, body) if seen.path == f"/repos/{NAME}" else None
    with pytest.raises(RateLimited) as first:
        github.client.get(f"/repos/{NAME}")
    assert first.value.retry_after_s == 60
    asked = len(github.stub.requests)
    with pytest.raises(RateLimited, match="not sent") as second:
        github.client.get(f"/repos/{NAME}")
    assert len(github.stub.requests) == asked
    assert second.value.retry_after_s is not None
    assert 0 < second.value.retry_after_s <= 60


def test_a_spent_quota_waits_for_its_reset(github: GitHubUnderTest) -> None:
    headers = {
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int(time.time()) + 900),
    }
    told = b'{"message": "no word of a limit"}'
    github.forge.fault = lambda seen: Reply(403, headers, told) if seen.path == f"/repos/{NAME}" else None
    with pytest.raises(RateLimited) as caught:
        github.client.get(f"/repos/{NAME}")
    assert caught.value.retry_after_s is not None
    assert 800 < caught.value.retry_after_s <= 900
    assert github.client.budget is not None
    assert (github.client.budget.limit, github.client.budget.remaining) == (5000, 0)


def test_a_plain_403_is_denied_and_not_a_limit(github: GitHubUnderTest) -> None:
    body = b'{"message": "Resource not accessible by integration"}'
    github.forge.fault = lambda seen: None if "installations" in seen.path else Reply(403, {}, body)
    with pytest.raises(Denied, match="Resource not accessible"):
        github.tested.reader.open_pull_requests()


def test_a_suspended_installation_is_denied_with_the_remedy(github: GitHubUnderTest) -> None:
    github.forge.suspended = True
    with pytest.raises(Denied, match="not suspended"):
        github.tested.reader.open_pull_requests()


def test_a_key_file_that_is_no_key_is_named_without_its_content(github: GitHubUnderTest) -> None:
    github.key_file.write_text("s3cret, but no key")
    with pytest.raises(ConfigError) as caught:
        github.tested.reader.open_pull_requests()
    assert "s3cret" not in str(caught.value)


def test_a_rotated_token_file_counts_from_the_next_request_on(github: GitHubUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "rotated"
    file.write_text("old-token\n")
    client = client_of(github.stub.url, TokenFile(file))
    with pytest.raises(Denied) as caught:
        client.get(f"/repos/{NAME}")
    assert "old-token" not in str(caught.value)
    github.forge.tokens.add("new-token")
    file.write_text("new-token\n")
    assert client.get(f"/repos/{NAME}").found
    client.close()


def test_a_token_file_that_others_may_write_is_refused(github: GitHubUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "open"
    file.write_text("token")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="0666"):
        TokenFile(file).token()


def test_a_permission_is_asked_by_id_and_never_by_a_login_that_changed_hands(github: GitHubUnderTest) -> None:
    people = github.tested.reader
    github.forge.users = {5: "ann", 6: "bob"}
    github.forge.permissions = {"ann": "write", "bob": "admin"}
    assert people.permission(5) is Permission.WRITE  # type: ignore[attr-defined]
    assert people.permission(7) is Permission.NONE  # type: ignore[attr-defined]

    def take_over(seen: Seen) -> None:
        if seen.path.endswith("/collaborators/ann/permission"):
            github.forge.users = {8: "ann"}

    github.forge.fault = take_over
    with pytest.raises(Terminal, match="another account"):
        people.permission(5)  # type: ignore[attr-defined]


def test_a_status_that_is_shown_already_is_not_written_again_by_a_new_process(github: GitHubUnderTest) -> None:
    head = driver_of(github).commit()
    for _ in range(2):
        reporter = CheckRuns(repository_of(github.client), APP_ID)
        reporter.report(head, StatusState.PENDING, "1 of 2 ready\nwaiting")
    assert [seen.method for seen in github.stub.requests if "check-runs" in seen.path] == ["GET", "POST", "GET"]
    reporter.report(head, StatusState.SUCCESS, "2 of 2 ready")
    assert driver_of(github).status(head) == (StatusState.SUCCESS, "2 of 2 ready")
    assert driver_of(github).statuses() == 1


def test_without_an_app_the_first_line_becomes_a_commit_status(github: GitHubUnderTest) -> None:
    driver = driver_of(github)
    head = driver.commit()
    client = client_of(github.stub.url, TokenFile(driver.token_file))
    for _ in range(2):
        reporter = CommitStatuses(repository_of(client))
        reporter.report(head, StatusState.PENDING, "1 of 2 ready\nwaiting")
    assert driver.status(head) == (StatusState.PENDING, "1 of 2 ready")
    assert [seen.method for seen in github.stub.requests if "/statuses/" in seen.path] == ["POST"]
    client.close()


def test_a_limit_at_the_token_itself_passes_by(github: GitHubUnderTest) -> None:
    github.forge.fault = lambda _: Reply(403, {"Retry-After": "5"}, b"{}")
    with pytest.raises(RateLimited):
        github.tested.reader.open_pull_requests()


def test_a_pull_request_of_a_repository_that_is_gone_is_not_read_as_closed(github: GitHubUnderTest) -> None:
    driver = driver_of(github)
    number = driver.open(driver.commit())
    assert github.tested.reader.pull_request(number) is not None
    github.forge.name = "acme/elsewhere"
    with pytest.raises(Terminal):
        github.tested.reader.pull_request(number)


def test_a_server_without_activity_tells_no_pusher_and_of_a_stranger_branch_it_is_not_believed(
    github: GitHubUnderTest,
) -> None:
    driver, reader = driver_of(github), github.tested.reader
    head = driver.commit()
    number = driver.open(head, author_id=7)
    theirs = [{**github.forge.activity[0], "ref": "refs/heads/another"}]
    body = json.dumps(theirs).encode()
    answers = [Reply(404), Reply(200, {"Content-Type": "application/json"}, body)]
    github.forge.fault = lambda seen: answers[0] if seen.path.endswith("/activity") else None
    assert reader.last_pusher(number, head) is None
    answers.pop(0)
    assert reader.last_pusher(number, head) is None
    answers[0] = Reply(403)
    with pytest.raises(Denied):
        reader.last_pusher(number, head)
