"""What GitHub does on its bad days, and what its adapter makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.forge_github_status import CheckRuns, CommitStatuses
from reconciler.ports import Permission, StatusState
from state.errors import ConfigError, Denied, RateLimited, ReconcilerError, Terminal, Unavailable
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


def page_of(seen: Seen) -> int | None:
    if not seen.path.endswith("/pulls"):
        return None
    return int(dict(part.split("=") for part in seen.query.split("&"))["page"])


def on_page(number: int, reply: Reply, times: int = 1_000_000) -> Callable[[Seen], Reply | None]:
    left = [times]

    def fault(seen: Seen) -> Reply | None:
        if page_of(seen) != number or left[0] == 0:
            return None
        left[0] -= 1
        return reply

    return fault


def test_an_unchanged_listing_costs_no_quota(github: GitHubUnderTest) -> None:
    open_many(github, 250)
    first = github.tested.reader.open_pull_requests()
    left, asked = github.forge.remaining, len(github.stub.requests)
    assert github.tested.reader.open_pull_requests() == first
    assert len(first.pull_requests) == 250
    assert github.forge.remaining == left
    assert len(github.stub.requests) - asked == 4  # the repository and three pages, all answered 304


def test_a_listing_of_several_pages_is_read_until_two_readings_agree(github: GitHubUnderTest) -> None:
    open_many(github, 201)
    closed = []

    def close_one_after_page_one(seen: Seen) -> None:
        # Page two now begins one record later: pull request 101 is on neither page of this reading.
        if page_of(seen) == 2 and not closed:
            closed.append(1)
            github.forge.pulls[1]["state"] = "closed"

    github.forge.fault = close_one_after_page_one
    listing = github.tested.reader.open_pull_requests()
    assert closed
    assert listing.complete
    assert [pr.number for pr in listing.pull_requests] == list(range(2, 202))


def test_a_listing_that_never_stands_still_is_not_complete(github: GitHubUnderTest) -> None:
    open_many(github, 150)

    def close_the_first_before_page_two(seen: Seen) -> None:
        if page_of(seen) == 2:
            first = min(n for n, p in github.forge.pulls.items() if p["state"] == "open")
            github.forge.pulls[first]["state"] = "closed"

    github.forge.fault = close_the_first_before_page_two
    assert not github.tested.reader.open_pull_requests().complete


def test_ten_thousand_open_pull_requests_are_listed_whole(github: GitHubUnderTest) -> None:
    open_many(github, 10_000)
    listing = github.tested.reader.open_pull_requests()
    assert listing.complete
    assert [pr.number for pr in listing.pull_requests] == list(range(1, 10_001))


@pytest.mark.parametrize(
    ("reply", "family"),
    [
        (Reply(502, body=b"<html>bad gateway</html>"), Unavailable),
        (Reply(drop=True), Unavailable),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>login</html>"), Unavailable),
        (Reply(200, {"Content-Type": "application/json"}, b'{"message": "?"}'), Terminal),
        (Reply(404, {"Content-Type": "application/json"}, b"{}"), Unavailable),
        (Reply(429, {"Retry-After": "3600"}), RateLimited),
    ],
)
def test_a_page_that_is_lost_is_an_error_and_never_a_shorter_list(
    github: GitHubUnderTest, reply: Reply, family: type[ReconcilerError]
) -> None:
    open_many(github, 250)
    github.forge.fault = on_page(3, reply)
    with pytest.raises(family):
        github.tested.reader.open_pull_requests()


def test_a_page_that_fails_once_is_asked_again(github: GitHubUnderTest) -> None:
    open_many(github, 250)
    github.forge.fault = on_page(3, Reply(502), times=1)
    assert len(github.tested.reader.open_pull_requests().pull_requests) == 250


def test_a_limit_is_kept_without_asking_on(github: GitHubUnderTest) -> None:
    body = json.dumps({"message": "You have exceeded a secondary rate limit."}).encode()
    github.forge.fault = lambda seen: Reply(403, {}, body) if seen.path == "/x" else None
    with pytest.raises(RateLimited) as first:
        github.client.get("/x")
    assert first.value.retry_after_s == 60
    asked = len(github.stub.requests)
    with pytest.raises(RateLimited, match="not sent") as second:
        github.client.get("/x")
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
    github.forge.fault = lambda seen: Reply(403, headers, told) if seen.path == "/x" else None
    with pytest.raises(RateLimited) as caught:
        github.client.get("/x")
    assert caught.value.retry_after_s is not None
    assert 800 < caught.value.retry_after_s <= 900
    assert github.client.budget is not None
    assert (github.client.budget.limit, github.client.budget.remaining) == (5000, 0)


def test_a_plain_403_is_denied_and_not_a_limit(github: GitHubUnderTest) -> None:
    body = b'{"message": "Resource not accessible by integration"}'
    github.forge.fault = lambda seen: None if "installations" in seen.path else Reply(403, {}, body)
    with pytest.raises(Denied, match="Resource not accessible"):
        github.tested.reader.open_pull_requests()


def test_a_renamed_repository_is_followed_for_reads_and_then_written_by_its_new_name(github: GitHubUnderTest) -> None:
    driver = driver_of(github)
    github.tested.reader.open_pull_requests()
    github.forge.renamed_from.add(NAME)
    github.forge.name = "acme/new-app"
    driver.branch(BRANCH, driver.commit())
    assert github.tested.reader.repository() == (driver.repository_id(), "acme/new-app")
    assert github.tested.writer.open_change(BRANCH, MAIN, "t", "b").open


def test_another_repository_under_the_name_is_refused(github: GitHubUnderTest) -> None:
    github.tested.reader.open_pull_requests()
    github.forge.id += 1
    with pytest.raises(Terminal, match="expected repository id 4711, got 4712"):
        github.tested.reader.open_pull_requests()


def test_a_redirect_to_another_host_does_not_get_the_token(
    github: GitHubUnderTest, stubs: Callable[..., object]
) -> None:
    other = stubs()
    github.forge.fault = lambda seen: (
        Reply(302, {"Location": f"{other.url}{seen.path}"}) if seen.path.startswith("/repos") else None  # type: ignore[attr-defined]
    )
    with pytest.raises(ReconcilerError):
        github.tested.reader.open_pull_requests()
    assert other.requests  # type: ignore[attr-defined]
    assert all("authorization" not in seen.headers for seen in other.requests)  # type: ignore[attr-defined]


def test_an_expired_token_is_made_anew_in_the_middle_of_a_pass(github: GitHubUnderTest) -> None:
    open_many(github, 150)

    def expire_before_page_two(seen: Seen) -> None:
        if page_of(seen) == 2 and seen.headers["authorization"] == "Bearer ghs_1":
            github.forge.tokens.discard("ghs_1")

    github.forge.fault = expire_before_page_two
    assert len(github.tested.reader.open_pull_requests().pull_requests) == 150
    assert "ghs_1" not in github.forge.tokens


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


def test_the_two_witnesses_may_differ(github: GitHubUnderTest) -> None:
    driver, reader = driver_of(github), github.tested.reader
    old, new = driver.commit(), driver.commit()
    number = driver.open(old)
    github.forge.git.references.create(f"refs/pull/{number}/head", new, force=True)  # the API lags behind
    seen = reader.pull_request(number)
    assert seen is not None
    assert (seen.head, reader.head_of(number)) == (old, new)


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


def test_a_write_whose_answer_was_lost_says_that_it_may_have_happened_and_is_adopted_next_time(
    github: GitHubUnderTest,
) -> None:
    driver = driver_of(github)
    driver.branch(BRANCH, driver.commit())

    def lose_the_answer(seen: Seen) -> Reply | None:
        if seen.method != "POST" or not seen.path.endswith("/pulls"):
            return None
        github.forge.fault = lambda _: None
        github.forge.answer(seen)
        return Reply(drop=True)

    github.forge.fault = lose_the_answer
    with pytest.raises(Unavailable, match="the write may have happened"):
        github.tested.writer.open_change(BRANCH, MAIN, "t", "b")
    assert github.tested.writer.open_change(BRANCH, MAIN, "other", "text").title == "t"
    assert len(github.forge.pulls) == 1


def test_a_conflict_on_create_is_adopted_although_the_list_lagged(github: GitHubUnderTest) -> None:
    driver = driver_of(github)
    driver.branch(BRANCH, driver.commit())
    made = github.tested.writer.open_change(BRANCH, MAIN, "t", "b")
    lagging = [1]

    def empty_once(seen: Seen) -> Reply | None:
        if seen.method == "GET" and seen.path.endswith("/pulls") and lagging:
            lagging.clear()
            return Reply(200, {"Content-Type": "application/json"}, b"[]")
        return None

    github.forge.fault = empty_once
    assert github.tested.writer.open_change(BRANCH, MAIN, "t", "b") == made
    assert len(github.forge.pulls) == 1


def test_a_limit_at_the_token_itself_passes_by(github: GitHubUnderTest) -> None:
    github.forge.fault = lambda _: Reply(403, {"Retry-After": "5"}, b"{}")
    with pytest.raises(RateLimited):
        github.tested.reader.open_pull_requests()


def test_a_filter_that_is_ignored_does_not_make_strangers_ours(github: GitHubUnderTest) -> None:
    driver = driver_of(github)
    driver.branch(BRANCH, driver.commit())
    driver.open_from_fork(driver.commit(), 987_654, BRANCH)
    driver.open(driver.commit())

    def ignore_the_filter(seen: Seen) -> Reply | None:
        if seen.method != "GET" or not seen.path.endswith("/pulls"):
            return None
        everything = [github.forge.shown(number) for number in sorted(github.forge.pulls)]
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(everything).encode())

    github.forge.fault = ignore_the_filter
    assert github.tested.writer.find_change(BRANCH, MAIN) == ()


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


def test_a_listing_remembers_no_more_than_it_needs(github: GitHubUnderTest) -> None:
    head = driver_of(github).commit()
    for _ in range(3):
        github.forge.open(head, body="description " * 1000)
    for _ in range(2):
        assert len(github.tested.reader.open_pull_requests().pull_requests) == 3
    kept = json.dumps([stored.answer.body for stored in github.client._stored.values()])
    assert head in kept
    assert "description" not in kept
