"""The contract of `ForgeReader`."""

from __future__ import annotations

import pytest

from state.errors import ReconcilerError, Terminal
from state.git import RefName
from state.observed import Listing
from tests.contract.forge.driver import ForgeUnderTest


def numbers(listing: Listing) -> list[int]:
    return [pr.number for pr in listing.pull_requests]


def test_the_repository_is_known_by_the_forges_own_id(forge_under_test: ForgeUnderTest) -> None:
    identity = forge_under_test.reader.repository()
    assert identity.id == forge_under_test.driver.repository_id()
    assert identity.name


def test_a_forge_without_pull_requests_gives_a_complete_empty_listing(forge_under_test: ForgeUnderTest) -> None:
    assert forge_under_test.reader.open_pull_requests() == Listing(complete=True, pull_requests=())


def test_the_listing_is_complete_and_ascending_beyond_nine(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    opened = [driver.open(driver.commit()) for _ in range(12)]
    listing = forge_under_test.reader.open_pull_requests()
    assert listing.complete
    assert numbers(listing) == sorted(opened)
    assert len(set(opened)) == 12


def test_a_listed_pull_request_carries_every_field(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    head = driver.commit()
    number = driver.open(head, labels=["zeta", "alpha"], draft=True, author_id=driver.author())
    (listed,) = reader.open_pull_requests().pull_requests
    assert listed == reader.pull_request(number)
    assert (listed.number, listed.head, listed.base) == (number, head, "refs/heads/main")
    assert (listed.author_id, listed.draft, listed.labels) == (driver.author(), True, ("alpha", "zeta"))
    assert listed.head_repository_id == reader.repository().id


def test_a_closed_pull_request_is_neither_listed_nor_read(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    closed, kept = driver.open(driver.commit()), driver.open(driver.commit())
    driver.close(closed)
    assert reader.open_pull_requests().complete
    assert numbers(reader.open_pull_requests()) == [kept]
    assert reader.pull_request(closed) is None


def test_a_pull_request_that_never_was_is_none(forge_under_test: ForgeUnderTest) -> None:
    assert forge_under_test.reader.pull_request(77) is None
    assert forge_under_test.reader.head_of(77) is None


def test_a_reopened_pull_request_is_listed_again_with_its_head(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    head = driver.commit()
    number = driver.open(head)
    driver.close(number)
    driver.reopen(number)
    assert [(pr.number, pr.head) for pr in reader.open_pull_requests().pull_requests] == [(number, head)]


def test_every_read_sees_a_force_push_and_the_push_back(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    first, other = driver.commit(), driver.commit()
    number = driver.open(first)
    for head in (first, other, first):
        driver.push(number, head)
        seen = reader.pull_request(number)
        assert seen is not None
        assert seen.head == head
        assert reader.head_of(number) == head
        assert [pr.head for pr in reader.open_pull_requests().pull_requests] == [head]


def test_two_pull_requests_may_share_one_head(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    head = driver.commit()
    opened = [driver.open(head), driver.open(head)]
    listed = forge_under_test.reader.open_pull_requests().pull_requests
    assert [(pr.number, pr.head) for pr in listed] == [(n, head) for n in opened]


def test_the_head_of_a_fork_names_the_fork_and_none_once_it_is_deleted(damageable_forge: ForgeUnderTest) -> None:
    driver, reader = damageable_forge.driver, damageable_forge.reader
    number = driver.open_from_fork(driver.commit(), driver.fork())
    driver.delete_fork(number)
    gone = reader.pull_request(number)
    assert gone is not None
    assert gone.head_repository_id is None
    assert reader.open_pull_requests() == Listing(complete=True, pull_requests=(gone,))


def test_a_fork_is_never_taken_for_the_repository_itself(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    fork = driver.fork()
    number = driver.open_from_fork(driver.commit(), fork)
    seen = reader.pull_request(number)
    assert seen is not None
    assert seen.head_repository_id == fork != reader.repository().id
    driver.delete_fork(number)
    listing = reader.open_pull_requests()  # Gitea closes the pull request with the fork
    assert listing.complete
    assert {pr.head_repository_id for pr in listing.pull_requests} <= {None}


def test_labels_and_the_base_are_as_they_are_now(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    number = driver.open(driver.commit(), labels=["preview"])
    assert reader.pull_request(number) is not None
    driver.label(number, add=["hold", "big"], remove=["preview"])
    driver.retarget(number, RefName("refs/heads/release"))
    for seen in (reader.pull_request(number), *reader.open_pull_requests().pull_requests):
        assert seen is not None
        assert (seen.labels, seen.base) == (("big", "hold"), "refs/heads/release")


def test_the_second_witness_outlives_the_pull_request_and_names_its_ref(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    head = driver.commit()
    number = driver.open(head)
    driver.close(number)
    assert reader.head_of(number) == head
    assert str(number) in reader.ref_of(number)


def test_how_a_pull_request_ended_is_told(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    merged, closed = driver.open(driver.commit()), driver.open(driver.commit())
    assert (reader.merged(merged), reader.merged(404)) == (False, None)
    driver.merge(merged)
    driver.close(closed)
    assert (reader.merged(merged), reader.merged(closed)) == (True, False)


def test_who_last_pushed_a_head_is_told_by_id_or_not_at_all(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    first, second = driver.commit(), driver.commit()
    number = driver.open(first, author_id=7)
    other = driver.open(first, author_id=8)
    told = forge_under_test.tells_pushers
    assert reader.last_pusher(number, first) == (7 if told else None)
    assert reader.last_pusher(other, first) == (8 if told else None)
    assert reader.last_pusher(number, second) is None
    driver.push(number, second, by=9)
    assert reader.last_pusher(number, second) == (9 if told else None)
    assert reader.last_pusher(number, first) is None  # no longer its head
    driver.push(number, first, by=10)
    assert reader.last_pusher(number, first) == (10 if told else None)
    driver.close(number)
    assert reader.last_pusher(number, first) is None
    assert reader.last_pusher(404, first) is None


def test_a_push_by_nobody_known_has_no_pusher(forge_under_test: ForgeUnderTest) -> None:
    driver, reader = forge_under_test.driver, forge_under_test.reader
    number, second = driver.open(driver.commit(), author_id=7), driver.commit()
    driver.push(number, second)
    assert reader.last_pusher(number, second) is None


def test_who_pushed_to_a_fork_is_not_told(forge_under_test: ForgeUnderTest) -> None:
    driver = forge_under_test.driver
    head = driver.commit()
    number = driver.open_from_fork(head, driver.fork(), RefName("refs/heads/b2"))  # as the next one is named
    driver.open(head, author_id=7)
    assert forge_under_test.reader.last_pusher(number, head) is None


@pytest.mark.parametrize("damage", ["corrupt", "lose_record"])
def test_a_damaged_pull_request_makes_the_listing_incomplete_and_hides_no_other(
    damageable_forge: ForgeUnderTest, damage: str
) -> None:
    driver, reader = damageable_forge.driver, damageable_forge.reader
    first, damaged, last = (driver.open(driver.commit()) for _ in range(3))
    assert reader.open_pull_requests().complete
    getattr(driver, damage)(damaged)
    listing = reader.open_pull_requests()
    assert not listing.complete
    assert numbers(listing) == [first, last]


@pytest.mark.parametrize("damage", ["corrupt", "lose_record"])
def test_a_damaged_pull_request_is_never_read_as_closed(damageable_forge: ForgeUnderTest, damage: str) -> None:
    driver = damageable_forge.driver
    number = driver.open(driver.commit())
    getattr(driver, damage)(number)
    with pytest.raises(ReconcilerError):
        damageable_forge.reader.pull_request(number)


def test_a_missing_repository_is_an_error_and_never_an_empty_listing(forge_under_test: ForgeUnderTest) -> None:
    missing = forge_under_test.missing
    for call in (missing.repository, missing.open_pull_requests, lambda: missing.pull_request(1)):
        with pytest.raises(Terminal):
            call()
