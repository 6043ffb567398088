"""The bad days that every forge has, and what each adapter makes of them: never a shorter list, never a wrong head.

| fault | here | elsewhere |
|---|---|---|
| paging lost half way, 502 on page three, an error in a 200, an answer that is no JSON | a lost page | |
| a list that moves while it is read | moves | |
| renamed, name taken over, gone | renamed, name, gone | test_gitea_real.py |
| deleted fork, force-push and back, retargeted base | | test_reader.py |
| head lagging | witnesses | e2e/test_github.py |
| 409, 422 on create, an answer that was lost | conflict, lost answer | test_writer.py |
| expired or rotated token, suspended, blocked | token, refused | test_github.py (App) |
| limits | limit | test_github.py, test_gitlab.py |
| 10,000 open | ten thousand | |
| deliveries again and out of order | | contract/web/test_webhooks.py, e2e/test_webhooks.py |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.ports import StatusState
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Unavailable
from state.git import RefName
from tests.contract.forge.scripted import JSON, SCRIPTED, Scripted
from tests.fixtures.registry_stub import Reply, Seen, Stub

BRANCH, MAIN = RefName("refs/heads/ameide/staging/pr-7/0123456789ab"), RefName("refs/heads/main")
HTML = {"Content-Type": "text/html"}


@pytest.fixture(params=SCRIPTED)
def scripted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scripted]:
    with SCRIPTED[request.param](tmp_path) as made:
        yield made


# --- the listing

LOST = {
    "bad gateway": (Reply(502, HTML, b"<html>bad gateway</html>"), Unavailable),
    "cut connection": (Reply(drop=True), Unavailable),
    "a login page": (Reply(200, HTML, b"<html>log in</html>"), Unavailable),
    "cut body": (Reply(200, JSON, b'[{"id": 1', announce=5000), Unavailable),
    "an error in a 200": (Reply(200, JSON, b'{"errors": [{"message": "timeout"}]}'), Terminal),
    "not found": (Reply(404, JSON, b"{}"), Unavailable),
    "denied": (Reply(403, JSON, b'{"message": "not you"}'), Denied),
    "a limit": (Reply(429, {"Retry-After": "3600"}), RateLimited),
}


@pytest.mark.parametrize("page", [2, 3])
@pytest.mark.parametrize("fault", LOST)
def test_a_lost_page_is_an_error_and_never_a_shorter_list(scripted: Scripted, fault: str, page: int) -> None:
    reply, family = LOST[fault]
    scripted.open(2 * scripted.page_size + 30)
    scripted.on_page(page, reply)
    with pytest.raises(family):
        scripted.tested.reader.open_pull_requests()


def test_a_page_that_fails_once_is_asked_again(scripted: Scripted) -> None:
    count = 2 * scripted.page_size + 30
    scripted.open(count)
    scripted.on_page(3, Reply(502), times=1)
    assert scripted.listed() == [*range(1, count + 1)]


@pytest.mark.parametrize("pages", [1, 2])
def test_a_list_that_moves_once_while_it_is_read_is_read_again(scripted: Scripted, pages: int) -> None:
    count = pages * scripted.page_size + 1  # with one page and a record the second page is empty after the move
    scripted.open(count)
    moved: list[int] = []

    def close_one() -> None:
        # Page two now begins one record later: one pull request is on neither page of this reading.
        if not moved:
            moved.append(1)
            scripted.close_first()

    scripted.before_page(2, close_one)
    assert scripted.listed() == [*range(2, count + 1)]
    assert moved


def test_two_readings_that_agree_since_one_came_back_between_them_do_not_count(scripted: Scripted) -> None:
    """Closed, opened again and closed again: both readings have the first one, and lack the first of page two."""
    count = 2 * scripted.page_size
    scripted.open(count)
    driver, asked = scripted.tested.driver, list[int]()

    def there_and_back() -> None:
        asked.append(1)
        if len(asked) <= 2:
            driver.close(1)

    def fault(seen: Seen) -> None:
        match scripted.page_of(seen):
            case 1 if len(asked) == 1:
                driver.reopen(1)
            case 2:
                there_and_back()

    scripted.forge.fault = fault
    assert scripted.listed() == [*range(2, count + 1)]
    assert len(asked) > 2


def test_an_empty_page_that_is_unchanged_tells_the_number_of_now(scripted: Scripted) -> None:
    scripted.open(scripted.page_size)
    moved: list[int] = []

    def close_one() -> None:
        if not moved:
            moved.append(1)
            scripted.close_first()

    scripted.before_page(2, close_one)
    scripted.tested.reader.open_pull_requests()
    scripted.open(1)
    assert scripted.listed() == [*range(2, scripted.page_size + 2)]


def test_a_list_that_grew_and_shrank_to_pages_that_look_unchanged_is_read_again(scripted: Scripted) -> None:
    scripted.open(scripted.page_size)
    scripted.tested.reader.open_pull_requests()
    scripted.open(1)
    moved: list[int] = []

    def close_one() -> None:
        if not moved:
            moved.append(1)
            scripted.close_first()

    scripted.before_page(2, close_one)
    assert scripted.listed() == [*range(2, scripted.page_size + 2)]
    assert moved


def test_a_list_that_never_stands_still_is_not_complete(scripted: Scripted) -> None:
    scripted.open(scripted.page_size + 50)
    scripted.before_page(2, scripted.close_first)
    assert not scripted.tested.reader.open_pull_requests().complete


# An App and a token read in the same way.
@pytest.mark.parametrize("scripted", [kind for kind in SCRIPTED if kind != "github-app"], indirect=True)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_ten_thousand_are_listed_whole(scripted: Scripted, count: int) -> None:
    scripted.open(count)
    assert scripted.listed() == [*range(1, count + 1)]


def test_a_listing_remembers_no_more_than_it_needs(scripted: Scripted) -> None:
    scripted.open(3)
    text = "description" if "description" in scripted.pulls[1] else "body"
    for number, one in scripted.pulls.items():
        scripted.pulls[number] = {**one, text: "description " * 1000}
    for _ in range(2):
        assert scripted.listed() == [1, 2, 3]
    assert "description description" not in json.dumps([kept.answer.body for kept in scripted.client._stored.values()])


# --- who the repository is


def test_a_renamed_repository_is_followed_for_reads_and_then_written_by_its_new_name(scripted: Scripted) -> None:
    driver = scripted.tested.driver
    driver.branch(BRANCH, driver.commit())
    assert scripted.listed() == []
    scripted.rename("acme/new-app")
    assert scripted.tested.reader.repository() == (driver.repository_id(), "acme/new-app")
    assert scripted.tested.writer.open_change(BRANCH, MAIN, "t", "b").open
    assert scripted.listed() == [1]


def test_another_repository_under_the_name_is_refused(scripted: Scripted) -> None:
    assert scripted.listed() == []

    them = {"id": 4712, "full_name": "acme/app", "path_with_namespace": "acme/app"}
    asked = re.compile(r"/(repos/[^/]+/[^/]+|projects/[^/]+)")
    scripted.forge.fault = lambda seen: (
        Reply(200, JSON, json.dumps(them).encode()) if asked.fullmatch(seen.path) else None
    )
    with pytest.raises(Terminal, match="expected repository id 4711, got 4712"):
        scripted.tested.reader.open_pull_requests()


def test_a_repository_that_is_gone_has_neither_an_empty_list_nor_closed_pull_requests(scripted: Scripted) -> None:
    scripted.open(1)
    assert scripted.listed() == [1]
    scripted.forge.fault = lambda _: Reply(404, JSON, b'{"message": "Not Found"}')
    for ask in (scripted.tested.reader.open_pull_requests, lambda: scripted.tested.reader.pull_request(1)):
        with pytest.raises(Terminal):
            ask()


# --- who we are


def test_a_token_that_ends_in_the_middle_of_a_listing_never_makes_a_shorter_one(scripted: Scripted) -> None:
    count = scripted.page_size + 50
    scripted.open(count)
    ended: list[int] = []

    def end() -> None:
        if not ended:
            ended.append(1)
            scripted.forge.tokens.clear()

    scripted.before_page(2, end)
    if scripted.token_file is None:  # an App makes the next one
        assert scripted.listed() == [*range(1, count + 1)]
        return
    with pytest.raises(Denied) as caught:
        scripted.tested.reader.open_pull_requests()
    scripted.forge.tokens.add("the-next-token")
    scripted.token_file.write_text("the-next-token\n")
    assert scripted.listed() == [*range(1, count + 1)]
    assert "the-next-token" not in str(caught.value)


def test_who_is_refused_learns_so_and_lists_nothing(scripted: Scripted) -> None:
    scripted.open(1)
    assert scripted.listed() == [1]
    suspended = Reply(403, JSON, b'{"message": "This account has been suspended"}')
    scripted.forge.fault = lambda _: suspended
    for ask in (scripted.tested.reader.open_pull_requests, lambda: scripted.tested.reader.pull_request(1)):
        with pytest.raises(Denied, match="suspended"):
            ask()


def test_a_redirect_to_another_host_does_not_get_the_token(scripted: Scripted, stubs: Callable[..., Stub]) -> None:
    other = stubs()
    scripted.forge.fault = lambda seen: (
        None if "installations" in seen.path else Reply(302, {"Location": f"{other.url}/caught"})
    )
    with pytest.raises(ReconcilerError):
        scripted.tested.reader.open_pull_requests()
    assert other.requests
    assert all("authorization" not in seen.headers for seen in other.requests)


def test_a_limit_is_kept_without_asking_on(scripted: Scripted) -> None:
    assert scripted.listed() == []
    scripted.forge.fault = lambda _: Reply(429, {"Retry-After": "30"}, b"Retry later\n")
    with pytest.raises(RateLimited) as first:
        scripted.tested.reader.repository()
    assert first.value.retry_after_s == 30
    asked = len(scripted.stub.requests)
    with pytest.raises(RateLimited, match="not sent"):
        scripted.tested.reader.repository()
    assert len(scripted.stub.requests) == asked


# --- heads


def test_the_two_witnesses_of_a_head_may_differ(scripted: Scripted) -> None:
    driver, reader = scripted.tested.driver, scripted.tested.reader
    old, new = driver.commit(), driver.commit()
    number = driver.open(old)
    scripted.move_ref(number, new)  # the API lags behind
    seen = reader.pull_request(number)
    assert seen is not None
    assert (seen.head, reader.head_of(number)) == (old, new)


# --- writing


def test_a_conflict_on_create_is_adopted_although_the_list_lagged(scripted: Scripted) -> None:
    driver, writer = scripted.tested.driver, scripted.tested.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    scripted.on_page(1, Reply(200, {**JSON, "X-Total-Count": "0", "X-Total": "0"}, b"[]"), times=1)
    assert writer.open_change(BRANCH, MAIN, "t", "b") == made
    assert len(scripted.pulls) == 1
    assert [seen.method for seen in scripted.stub.requests].count("POST") >= 2


def test_a_write_whose_answer_was_lost_may_have_happened_and_is_adopted_next_time(scripted: Scripted) -> None:
    driver, writer = scripted.tested.driver, scripted.tested.writer
    driver.branch(BRANCH, driver.commit())

    def lose_the_answer(seen: Seen) -> Reply | None:
        if seen.method != "POST" or not seen.path.endswith(scripted.collection):
            return None
        scripted.forge.fault = lambda _: None
        scripted.forge.answer(seen)
        return Reply(drop=True)

    scripted.forge.fault = lose_the_answer
    with pytest.raises(Unavailable, match="the write may have happened"):
        writer.open_change(BRANCH, MAIN, "t", "b")
    assert writer.open_change(BRANCH, MAIN, "other", "text").title == "t"
    assert len(scripted.pulls) == 1


def test_a_filter_that_is_ignored_does_not_make_strangers_ours(scripted: Scripted) -> None:
    driver = scripted.tested.driver
    driver.branch(BRANCH, driver.commit())
    driver.open_from_fork(driver.commit(), driver.fork(), BRANCH)
    driver.open(driver.commit())

    def ignore_the_filter(seen: Seen) -> Reply | None:
        if scripted.page_of(seen) is None:
            return None
        return Reply(200, JSON, json.dumps(list(scripted.pulls.values())).encode())

    scripted.forge.fault = ignore_the_filter
    assert scripted.tested.writer.find_change(BRANCH, MAIN) == ()


def test_a_status_that_is_shown_already_is_not_written_again_by_a_new_process(scripted: Scripted) -> None:
    head = scripted.tested.driver.commit()
    scripted.tested.status.report(head, StatusState.SUCCESS, "2 of 2 ready")
    written = [seen.method for seen in scripted.stub.requests if seen.method != "GET"]
    scripted.new_status().report(head, StatusState.SUCCESS, "2 of 2 ready")
    assert [seen.method for seen in scripted.stub.requests if seen.method != "GET"] == written
    assert scripted.tested.driver.statuses() == 1
