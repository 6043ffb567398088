"""GitLab's own ways and bad days; what it shares with every forge is in the contract suite."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reconciler.adapters.forge_gitlab import GitLabForge, GitLabProject
from reconciler.adapters.forge_gitlab_status import GitLabStatusReporter
from reconciler.ports import Permission, StatusState
from state.errors import Denied, RateLimited, Terminal, Transient
from state.git import RefName
from tests.fixtures.gitlab_server import BOT, PATH, GitLabUnderTest
from tests.fixtures.registry_stub import Reply, Seen

JSON = {"Content-Type": "application/json"}
BRANCH, MAIN = RefName("refs/heads/pins"), RefName("refs/heads/main")


def opened(gitlab: GitLabUnderTest, count: int) -> None:
    """So many, of which only the first is in git."""
    driver = gitlab.tested.driver
    first = gitlab.forge.merge_requests[driver.open(driver.commit())]
    for number in range(2, count + 1):
        gitlab.forge.merge_requests[number] = {**first, "id": 9000 + number, "iid": number}


def writes(gitlab: GitLabUnderTest) -> list[str]:
    return [seen.method for seen in gitlab.stub.requests if seen.method != "GET"]


@pytest.mark.parametrize("told_max", [10_000, 0])
def test_ten_thousand_open_merge_requests_are_listed_whole(gitlab: GitLabUnderTest, told_max: int) -> None:
    gitlab.forge.told_max = told_max
    opened(gitlab, 10_000)
    found = gitlab.tested.reader.open_pull_requests()
    assert (found.complete, len(found.pull_requests)) == (True, 10_000)


def test_a_list_that_moves_while_it_is_read_is_never_taken_for_whole(gitlab: GitLabUnderTest) -> None:
    opened(gitlab, 130)
    left = iter(range(1, 100))

    def closing(seen: Seen) -> Reply | None:
        if "page=2" in seen.query:
            gitlab.forge.merge_requests[next(left)]["state"] = "closed"
        return None

    gitlab.forge.fault = closing
    assert not gitlab.tested.reader.open_pull_requests().complete


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(502, {"Content-Type": "text/html"}, b"<html>"), Transient),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), Transient),
        (Reply(drop=True), Transient),
        (Reply(404, JSON, b"{}"), Transient),
        (Reply(401, JSON, b"{}"), Denied),
        (Reply(429, {"Content-Type": "text/plain", "Retry-After": "30"}, b"Retry later\n"), RateLimited),
    ],
)
def test_a_lost_third_page_is_an_error_and_never_a_shorter_list(
    gitlab: GitLabUnderTest, reply: Reply, error: type[Exception]
) -> None:
    opened(gitlab, 230)
    gitlab.forge.fault = lambda seen: reply if "page=3" in seen.query else None
    with pytest.raises(error):
        gitlab.tested.reader.open_pull_requests()


def test_nothing_is_sent_while_the_forge_asks_for_a_pause(gitlab: GitLabUnderTest) -> None:
    gitlab.forge.fault = lambda _: Reply(429, {"Retry-After": "30"}, b"Retry later\n")
    with pytest.raises(RateLimited) as first:
        gitlab.tested.reader.repository()
    assert first.value.retry_after_s == 30
    sent = len(gitlab.stub.requests)
    with pytest.raises(RateLimited, match="not sent"):
        gitlab.tested.reader.repository()
    assert len(gitlab.stub.requests) == sent


def test_the_budget_is_read_from_the_headers_and_is_a_minutes(gitlab: GitLabUnderTest) -> None:
    gitlab.tested.reader.repository()
    budget = gitlab.client.budget
    assert budget is not None
    assert (budget.limit, budget.remaining, budget.period_s) == (2000, 1999, 60)


def test_a_rename_is_followed_by_id_and_another_project_under_the_name_is_refused(gitlab: GitLabUnderTest) -> None:
    opened(gitlab, 1)
    gitlab.forge.renamed_from.add(PATH)
    gitlab.forge.path = "acme/other"
    assert gitlab.tested.reader.repository().name == "acme/other"
    assert gitlab.tested.reader.open_pull_requests().complete
    gitlab.forge.renamed_from.clear()
    gitlab.forge.path = PATH
    with pytest.raises(Terminal, match="another repository has this name now"):
        GitLabProject(gitlab.client, PATH, 4712).look()


def test_a_redirect_elsewhere_gets_no_token(gitlab: GitLabUnderTest) -> None:
    elsewhere = gitlab.stub.url.replace("127.0.0.1", "localhost")
    seen: list[Seen] = []

    def redirect(request: Seen) -> Reply:
        seen.append(request)
        if request.headers["host"].startswith("127"):
            return Reply(302, {"Location": f"{elsewhere}/caught"})
        return Reply(404, JSON, b"{}")

    gitlab.forge.fault = redirect
    with pytest.raises(Terminal):
        gitlab.tested.reader.repository()
    assert [("authorization" in request.headers) for request in seen] == [True, False]


def test_an_ended_token_is_denied_and_a_rotated_one_counts(gitlab: GitLabUnderTest) -> None:
    gitlab.forge.tokens = {"new"}
    with pytest.raises(Denied):
        gitlab.tested.reader.repository()
    gitlab.token_file.write_text("new\n")
    assert gitlab.tested.reader.repository().name == PATH


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (50, Permission.ADMIN),
        (40, Permission.WRITE),
        (30, Permission.WRITE),
        (29, Permission.READ),
        (10, Permission.READ),
        (5, Permission.NONE),
        (0, Permission.NONE),
    ],
)
def test_a_permission_is_asked_by_id(gitlab: GitLabUnderTest, level: int, expected: Permission) -> None:
    gitlab.forge.members[7] = {"access_level": level}
    people = cast("GitLabForge", gitlab.tested.reader)
    assert people.permission(7) is expected
    assert people.permission(8) is Permission.NONE
    gitlab.forge.members[7] |= {"state": "blocked"}
    assert people.permission(7) is Permission.NONE


def test_a_member_that_is_somebody_else_is_refused(gitlab: GitLabUnderTest) -> None:
    gitlab.forge.members[7] = {"access_level": 50, "id": 8}
    with pytest.raises(Terminal, match="member 8"):
        cast("GitLabForge", gitlab.tested.reader).permission(7)


@pytest.mark.parametrize("state", ["merged", "locked"])
def test_what_is_merged_or_being_merged_is_not_open(gitlab: GitLabUnderTest, state: str) -> None:
    opened(gitlab, 1)
    gitlab.forge.merge_requests[1]["state"] = state
    assert gitlab.tested.reader.pull_request(1) is None
    gitlab.forge.merge_requests[1]["state"] = "something new"
    with pytest.raises(Terminal):
        gitlab.tested.reader.pull_request(1)


def test_a_conflict_on_create_is_adopted(gitlab: GitLabUnderTest) -> None:
    driver, writer = gitlab.tested.driver, gitlab.tested.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    lagging = [True]

    def empty_once(seen: Seen) -> Reply | None:
        if seen.method == "GET" and seen.path.endswith("/merge_requests") and lagging:
            lagging.clear()
            return Reply(200, {**JSON, "X-Total": "0"}, b"[]")
        return None

    gitlab.forge.fault = empty_once
    assert writer.open_change(BRANCH, MAIN, "t", "b") == made
    assert writes(gitlab) == ["POST", "POST"]
    assert len(gitlab.forge.merge_requests) == 1


def test_a_label_with_a_comma_would_be_two_and_is_refused(gitlab: GitLabUnderTest) -> None:
    opened(gitlab, 1)
    with pytest.raises(Terminal, match="comma"):
        gitlab.tested.labels.add_label(1, "a,b")
    assert writes(gitlab) == []


def test_what_waits_is_shown_anew_with_each_text_although_gitlab_lets_no_state_repeat(gitlab: GitLabUnderTest) -> None:
    head = gitlab.tested.driver.commit()
    for n in range(1, 6):
        gitlab.tested.status.report(head, StatusState.PENDING, f"{n} of 6 ready")
        assert gitlab.tested.driver.status(head) == (StatusState.PENDING, f"{n} of 6 ready")
    states = [s["status"] for s in gitlab.forge.statuses]
    assert states == ["canceled", "canceled", "pending"]


def test_a_status_that_is_shown_already_is_not_written_again_after_a_restart(gitlab: GitLabUnderTest) -> None:
    head = gitlab.tested.driver.commit()
    for state in (StatusState.PENDING, StatusState.SUCCESS, StatusState.FAILURE):
        gitlab.tested.status.report(head, state, "text")
    before = len(writes(gitlab))
    after = GitLabStatusReporter(GitLabProject(gitlab.client, PATH))
    after.report(head, StatusState.FAILURE, "text")
    assert len(writes(gitlab)) == before
    after.report(head, StatusState.PENDING, "again")
    assert gitlab.tested.driver.status(head) == (StatusState.PENDING, "again")


def test_a_status_that_somebody_moved_is_asked_again_and_then_shown(gitlab: GitLabUnderTest) -> None:
    head = gitlab.tested.driver.commit()
    gitlab.tested.status.report(head, StatusState.PENDING, "1 of 2")
    gitlab.forge.statuses[0]["status"] = "running"
    with pytest.raises(Transient, match="refuses running"):
        gitlab.tested.status.report(head, StatusState.PENDING, "2 of 3")
    gitlab.tested.status.report(head, StatusState.PENDING, "2 of 3")
    assert gitlab.tested.driver.status(head) == (StatusState.PENDING, "2 of 3")


def forked(gitlab: GitLabUnderTest) -> tuple[Any, int]:
    """A head that no branch of the project has, and its merge request."""
    driver = gitlab.tested.driver
    head = driver.commit()
    gitlab.forge.git.references.delete("refs/heads/work-0")
    return head, driver.open_from_fork(head, 987_654)


def test_a_forks_head_has_one_note_of_ours_that_is_replaced(gitlab: GitLabUnderTest) -> None:
    head, number = forked(gitlab)
    gitlab.forge.note(number, "<!-- ameide status --> not ours", BOT + 1)
    gitlab.tested.status.report(head, StatusState.FAILURE, "refused: from a fork")
    gitlab.tested.status.report(head, StatusState.PENDING, "admitted")
    GitLabStatusReporter(GitLabProject(gitlab.client, PATH)).report(head, StatusState.PENDING, "admitted")
    theirs, ours = gitlab.forge.notes[number]
    assert theirs["body"].endswith("not ours")
    assert ours["body"] == f"<!-- ameide status -->\n**ameide** pending, {head.short}: admitted"
    assert writes(gitlab) == ["POST", "POST", "POST", "PUT", "POST"]


def test_a_head_of_no_branch_and_no_merge_request_is_refused(gitlab: GitLabUnderTest) -> None:
    head, number = forked(gitlab)
    gitlab.forge.merge_requests[number]["state"] = "closed"
    with pytest.raises(Terminal, match="no open merge request"):
        gitlab.tested.status.report(head, StatusState.FAILURE, "refused")
    assert gitlab.forge.notes == {}


def test_of_the_statuses_of_several_pipelines_the_newest_is_what_is_shown(gitlab: GitLabUnderTest) -> None:
    head = gitlab.tested.driver.commit()
    shared = {"sha": head, "name": "ameide", "retried": False}
    gitlab.forge.statuses = [
        {**shared, "id": 1, "status": "pending", "description": "1 of 2"},
        {**shared, "id": 2, "status": "success", "description": "2 of 2"},
    ]
    gitlab.tested.status.report(head, StatusState.SUCCESS, "2 of 2")
    assert writes(gitlab) == []


def test_behind_a_push_of_many_branches_no_pusher_is_certain(gitlab: GitLabUnderTest) -> None:
    driver, reader = gitlab.tested.driver, gitlab.tested.reader
    head = driver.commit()
    number = driver.open(head, author_id=7)
    assert reader.last_pusher(number, head) == 7
    gitlab.forge.pushed(None, None, 8)
    assert reader.last_pusher(number, head) is None


def test_a_change_that_is_being_merged_at_this_moment_is_asked_for_again(gitlab: GitLabUnderTest) -> None:
    driver, writer = gitlab.tested.driver, gitlab.tested.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    gitlab.forge.merge_requests[made.number]["state"] = "locked"
    with pytest.raises(Transient, match="while it is merged"):
        writer.find_change(BRANCH, MAIN)
    driver.merge(made.number)
    assert writer.find_change(BRANCH, MAIN) == (made._replace(open=False, merged=True),)
