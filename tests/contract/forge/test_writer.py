"""The contracts of `ForgeWriter` and `StatusReporter`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest

from reconciler.ports import StatusState
from state.errors import InvalidValue, Terminal
from state.git import RefName
from tests.contract.forge.driver import ForgeUnderTest

MAIN = RefName("refs/heads/main")
BRANCH = RefName("refs/heads/ameide/staging/pr-7/0123456789ab")
PROCESSES = 4


def side_by_side(commands: Sequence[list[str]]) -> list[list[str]]:
    """What processes wrote that all began to work at the same moment; each must have ended well."""
    running = [
        subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for c in commands
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=60) for process in running]
        assert [p.returncode for p in running] == [0] * len(running), [err for _, err in ended]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    return [out.split() for out, _ in ended]


def test_a_change_is_found_only_after_it_was_opened(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    assert writer.find_change(BRANCH, MAIN) == ()
    made = writer.open_change(BRANCH, MAIN, "Pin orders", "body")
    assert (made.branch, made.base, made.open, made.title, made.body) == (BRANCH, MAIN, True, "Pin orders", "body")
    assert writer.find_change(BRANCH, MAIN) == (made,)
    assert writer.find_change(BRANCH, RefName("refs/heads/release")) == ()
    assert writer.find_change(RefName(BRANCH + "0"), MAIN) == ()


def test_an_opened_change_is_an_open_pull_request_at_the_branch_tip(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    tip = driver.commit()
    driver.branch(BRANCH, tip)
    made = forge_under_test.writer.open_change(BRANCH, MAIN, "t", "b")
    seen = forge_under_test.reader.pull_request(made.number)
    assert seen is not None
    assert (seen.head, seen.base) == (tip, MAIN)
    assert seen.head_repository_id == forge_under_test.reader.repository().id


def test_opening_twice_adopts_the_one_that_is_open(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    assert writer.open_change(BRANCH, MAIN, "another", "text") == made
    assert len(forge_under_test.reader.open_pull_requests().pull_requests) == 1


def test_a_change_from_a_branch_that_is_not_there_is_refused(forge_under_test: ForgeUnderTest) -> None:
    with pytest.raises(Terminal):
        forge_under_test.writer.open_change(BRANCH, MAIN, "t", "b")
    assert forge_under_test.reader.open_pull_requests().pull_requests == ()


def test_a_fork_with_the_same_branch_name_is_not_our_change(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    theirs = driver.open_from_fork(driver.commit(), driver.fork(), BRANCH)
    assert writer.find_change(BRANCH, MAIN) == ()
    assert writer.open_change(BRANCH, MAIN, "t", "b").number != theirs


def test_title_and_body_are_replaced(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "old", "old body")
    writer.update_change(made.number, title="new", body="new body\nsecond line")
    (found,) = writer.find_change(BRANCH, MAIN)
    assert found == made._replace(title="new", body="new body\nsecond line")


def test_a_closed_change_is_still_found_and_closing_it_again_changes_nothing(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    writer.close_change(made.number, "the head moved")
    writer.close_change(made.number, "another reason")
    assert writer.find_change(BRANCH, MAIN) == (made._replace(open=False),)
    assert driver.reason(made.number) == "the head moved"
    assert forge_under_test.reader.open_pull_requests().pull_requests == ()


def test_a_merged_change_is_found_as_merged_and_closing_it_changes_nothing(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    assert not made.merged
    driver.merge(made.number)
    writer.close_change(made.number, "too late")
    assert writer.find_change(BRANCH, MAIN) == (made._replace(open=False, merged=True),)


def test_opening_after_a_close_makes_a_second_change_and_both_are_found(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.writer
    driver.branch(BRANCH, driver.commit())
    first = writer.open_change(BRANCH, MAIN, "t", "b")
    writer.close_change(first.number, "superseded")
    second = writer.open_change(BRANCH, MAIN, "t", "b")
    assert [(c.number, c.open) for c in writer.find_change(BRANCH, MAIN)] == [
        (first.number, False),
        (second.number, True),
    ]


def test_nothing_is_called_not_found_while_a_record_is_unreadable(damageable_forge: ForgeUnderTest) -> None:
    driver, writer = damageable_forge.driver, damageable_forge.writer
    driver.branch(BRANCH, driver.commit())
    made = writer.open_change(BRANCH, MAIN, "t", "b")
    driver.corrupt(made.number)
    with pytest.raises(Terminal):
        writer.find_change(BRANCH, MAIN)
    with pytest.raises(Terminal):
        writer.open_change(BRANCH, MAIN, "t", "b")


def test_changing_what_is_not_there_is_refused(forge_under_test: ForgeUnderTest) -> None:
    with pytest.raises(Terminal):
        forge_under_test.writer.update_change(99, title="t", body="b")
    with pytest.raises(Terminal):
        forge_under_test.writer.close_change(99, "why")


def test_label_edits_of_four_processes_at_once_lose_nothing(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    number = driver.open(driver.commit())
    labels = [[f"p{process}-{n:02}" for n in range(24)] for process in range(PROCESSES)]
    side_by_side([driver.writer_process("label", str(number), *mine) for mine in labels])
    seen = forge_under_test.reader.pull_request(number)
    assert seen is not None
    assert seen.labels == tuple(sorted(label for mine in labels for label in mine))


def test_four_processes_that_open_the_same_changes_agree_on_one_each(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    for n in range(6):
        driver.branch(RefName(f"refs/heads/bot-{n}"), driver.commit())
    seen = side_by_side([driver.writer_process("open", "6", "bot") for _ in range(PROCESSES)])
    assert seen == [seen[0]] * PROCESSES
    listing = forge_under_test.reader.open_pull_requests()
    assert listing.complete
    assert [str(pr.number) for pr in listing.pull_requests] == sorted(seen[0], key=int)
    assert len(set(seen[0])) == 6


def test_a_status_is_replaced_in_place_one_per_head(forge_under_test: ForgeUnderTest) -> None:
    driver, status = forge_under_test.driver, forge_under_test.status
    first, second = driver.commit(), driver.commit()
    assert driver.status(first) is None
    status.report(first, StatusState.PENDING, "1 of 14 ready\nwaiting for CI: orders")
    status.report(second, StatusState.FAILURE, "quarantine")
    status.report(first, StatusState.SUCCESS, "14 of 14 ready")
    assert driver.status(first) == (StatusState.SUCCESS, "14 of 14 ready")
    assert driver.status(second) == (StatusState.FAILURE, "quarantine")
    assert driver.statuses() == 2


def test_a_status_whose_first_line_is_too_long_is_refused(forge_under_test: ForgeUnderTest) -> None:
    head = forge_under_test.driver.commit()
    forge_under_test.status.report(head, StatusState.PENDING, "x" * 140)
    with pytest.raises(InvalidValue):
        forge_under_test.status.report(head, StatusState.PENDING, "x" * 141)
    assert forge_under_test.driver.status(head) == (StatusState.PENDING, "x" * 140)


def test_a_label_is_set_and_taken_off_once_and_leaves_the_others(forge_under_test: ForgeUnderTest) -> None:
    driver, writer = forge_under_test.driver, forge_under_test.labels
    number = driver.open(driver.commit(), labels=["keep"])
    for change, expected in ((writer.add_label, ("keep", "preview images")), (writer.remove_label, ("keep",))):
        for _ in range(2):
            change(number, "preview images")
            seen = forge_under_test.reader.pull_request(number)
            assert seen is not None
            assert seen.labels == expected


def test_no_label_is_set_where_there_is_no_pull_request(forge_under_test: ForgeUnderTest) -> None:
    with pytest.raises(Terminal):
        forge_under_test.labels.add_label(404, "preview images")
    forge_under_test.labels.remove_label(404, "preview images")
