"""GitLab's own ways and bad days; what it shares with every forge is in the contract suite."""

from __future__ import annotations

from typing import Any, cast

import pytest

from reconciler.adapters.forge_gitlab import GitLabForge, GitLabProject
from reconciler.adapters.forge_gitlab_status import GitLabStatusReporter
from reconciler.ports import Permission, StatusState
from state.errors import Terminal, Transient
from state.git import RefName
from tests.fixtures.gitlab_server import BOT, PATH, GitLabUnderTest

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
