"""What only the forge `local` has: its repository, damaged refs, locks of killed writers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ConfigLevel

from reconciler.adapters.forge_local import LocalForge
from reconciler.adapters.forge_local_writer import LocalForgeWriter, LocalPullRequests
from reconciler.adapters.local_record import State
from reconciler.adapters.local_repository import LocalRepository
from reconciler.adapters.local_store import LocalStore, head_ref, record_ref
from reconciler.adapters.status_local import LocalStatusReporter
from reconciler.ports import StatusState
from state.errors import Terminal, Unavailable
from state.git import CommitId, RefName
from tests.contract.forge.driver import ForgeUnderTest
from tests.fixtures.full_disk import full_disk
from tests.fixtures.local_forge import LocalDriver


@pytest.fixture
def driver(local_forge: ForgeUnderTest) -> LocalDriver:
    assert isinstance(local_forge.driver, LocalDriver)
    return local_forge.driver


def git(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, text=True, check=False)


def test_initialising_makes_a_bare_repository_with_the_id_and_does_so_once(tmp_path: Path) -> None:
    repository = LocalRepository(tmp_path / "deep" / "app.git")
    assert repository.initialise(17) == 17
    assert repository.open().is_bare
    assert repository.initialise(None) == repository.initialise(17) == repository.id() == 17
    with pytest.raises(Terminal, match="its id is 17"):
        repository.initialise(18)
    assert repository.id() == 17


def test_a_full_disk_is_told_by_everything_that_writes_objects(driver: LocalDriver) -> None:
    number, head = driver.open(driver.commit()), driver.commit()
    pulls = LocalPullRequests(driver.path)
    writes: list[Callable[[], object]] = [
        lambda: LocalStatusReporter(driver.path).report(head, StatusState.PENDING, "1 of 14 ready"),
        lambda: pulls.open(head, RefName("refs/heads/main")),
        lambda: pulls.label(number, ("preview",), ()),
    ]
    for write in writes:
        with full_disk(), pytest.raises(Unavailable, match=f"{driver.path}: no object can be written there"):
            write()
    assert [pr.number for pr in LocalForge(driver.path).open_pull_requests().pull_requests] == [number]


def test_an_id_nobody_named_is_random_and_large(tmp_path: Path) -> None:
    made = [LocalRepository(tmp_path / f"{n}.git").initialise(None) for n in range(4)]
    assert len(set(made)) == 4
    assert all(31 <= n.bit_length() <= 53 for n in made)


def test_a_bare_clone_becomes_a_forge_and_keeps_its_branches(tmp_path: Path, driver: LocalDriver) -> None:
    driver.branch(RefName("refs/heads/feature"), driver.commit())
    clone = tmp_path / "clone.git"
    assert git(tmp_path, "clone", "--quiet", "--bare", str(driver.path), str(clone)).returncode == 0
    with pytest.raises(Terminal, match="so it is no local forge yet"):
        LocalForge(clone).open_pull_requests()
    LocalRepository(clone).initialise(18)
    assert LocalForge(clone).repository() == (18, "clone")
    assert "refs/heads/feature" in list(pygit2.Repository(str(clone)).references)


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "notes.txt").write_text("mine")
    pygit2.init_repository(str(tmp_path / "work"))
    (tmp_path / "file").write_text("")
    for name in ("plain", "work", "file"):
        with pytest.raises(Terminal, match=name):
            LocalRepository(tmp_path / name).initialise(None)
    assert [p.name for p in (tmp_path / "plain").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("text", ["0", "-3", "seven", "9007199254740992", "1 2"])
def test_a_malformed_id_is_an_error(driver: LocalDriver, text: str) -> None:
    git(driver.path, "config", "ameide.repositoryid", text)
    with pytest.raises(Terminal, match="repositoryid"):
        LocalForge(driver.path).open_pull_requests()


def test_an_id_from_the_users_configuration_is_not_taken(tmp_path: Path, driver: LocalDriver) -> None:
    git(driver.path, "config", "--unset", "ameide.repositoryid")
    (tmp_path / ".gitconfig").write_text("[ameide]\n\trepositoryid = 5\n")
    before = pygit2.settings.search_path[ConfigLevel.GLOBAL]
    pygit2.settings.search_path[ConfigLevel.GLOBAL] = str(tmp_path)
    try:
        assert driver.git.config["ameide.repositoryid"] == "5"
        with pytest.raises(Terminal, match="so it is no local forge yet"):
            LocalForge(driver.path).repository()
    finally:
        pygit2.settings.search_path[ConfigLevel.GLOBAL] = before


def _no_head(driver: LocalDriver, number: int) -> None:
    driver.git.references.delete(head_ref(number))


def _garbage_head(driver: LocalDriver, number: int) -> None:
    (driver.path / head_ref(number)).write_text("garbage\n")


def _head_is_a_blob(driver: LocalDriver, number: int) -> None:
    driver.git.references[head_ref(number)].set_target(driver.git.create_blob(b"x"))


def _head_commit_is_missing(driver: LocalDriver, number: int) -> None:
    (driver.path / head_ref(number)).write_text("f" * 40 + "\n")


def _garbage_record(driver: LocalDriver, number: int) -> None:
    (driver.path / record_ref(number)).write_text("garbage\n")


def _record_is_missing(driver: LocalDriver, number: int) -> None:
    (driver.path / record_ref(number)).write_text("f" * 40 + "\n")


def _record_is_a_commit(driver: LocalDriver, number: int) -> None:
    driver.git.references[record_ref(number)].set_target(driver.commit())


def _record_is_of_another_number(driver: LocalDriver, number: int) -> None:
    other = driver.git.references[record_ref(number + 1)].target
    driver.git.references[record_ref(number)].set_target(other)


def _both_are_garbage(driver: LocalDriver, number: int) -> None:
    _garbage_head(driver, number)
    _garbage_record(driver, number)


@pytest.mark.parametrize(
    "damage",
    [
        _no_head,
        _garbage_head,
        _head_is_a_blob,
        _head_commit_is_missing,
        _garbage_record,
        _record_is_missing,
        _record_is_a_commit,
        _record_is_of_another_number,
        _both_are_garbage,
    ],
)
def test_any_damage_to_one_is_seen_and_the_others_are_listed(
    driver: LocalDriver, damage: Callable[[LocalDriver, int], None]
) -> None:
    first, damaged, last = (driver.open(driver.commit()) for _ in range(3))
    forge = LocalForge(driver.path)
    assert forge.open_pull_requests().complete
    damage(driver, damaged)
    listing = forge.open_pull_requests()
    assert not listing.complete
    assert [pr.number for pr in listing.pull_requests] == [first, last]
    with pytest.raises(Terminal):
        forge.pull_request(damaged)
    assert driver.open(driver.commit()) == last + 1


@pytest.mark.parametrize("damage", [_no_head, _garbage_head, _garbage_record, _record_is_missing, _both_are_garbage])
def test_the_number_of_a_damaged_pull_request_is_not_given_out_again(
    driver: LocalDriver, damage: Callable[[LocalDriver, int], None]
) -> None:
    damaged = driver.open(driver.commit())
    damage(driver, damaged)
    assert driver.open(driver.commit()) == damaged + 1


def test_the_number_of_a_lost_record_is_not_given_out_again(driver: LocalDriver) -> None:
    lost = driver.open(driver.commit())
    driver.lose_record(lost)
    assert driver.open(driver.commit()) == lost + 1


@pytest.mark.parametrize("name", ["refs/ameide/pull/x", "refs/ameide/pull/007", "refs/ameide/pull/99999999999999"])
def test_a_record_under_a_name_that_is_no_number_makes_the_listing_incomplete(driver: LocalDriver, name: str) -> None:
    number = driver.open(driver.commit())
    repository = driver.git
    repository.references.create(name, repository.references[record_ref(number)].target)
    listing = LocalForge(driver.path).open_pull_requests()
    assert (listing.complete, len(listing.pull_requests)) == (False, 1)


def test_a_closed_pull_request_that_lost_its_head_disturbs_nobody(driver: LocalDriver) -> None:
    kept, closed = driver.open(driver.commit()), driver.open(driver.commit())
    driver.close(closed)
    _no_head(driver, closed)
    listing = LocalForge(driver.path).open_pull_requests()
    assert (listing.complete, [pr.number for pr in listing.pull_requests]) == (True, [kept])
    assert LocalForge(driver.path).pull_request(closed) is None


def test_an_opener_killed_at_any_point_leaves_no_damage(driver: LocalDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    swap, forge = LocalRepository.swap, LocalForge(driver.path)
    left: Iterator[int] = iter(())

    def dying(repository: LocalRepository, name: RefName, expected: str | None, new: str) -> bool:
        if next(left, None) is None:
            raise Killed
        return swap(repository, name, expected, new)

    for calls in range(3):
        left = iter(range(calls))
        monkeypatch.setattr(LocalRepository, "swap", dying)
        with pytest.raises(Killed):
            driver.open(driver.commit())
        monkeypatch.setattr(LocalRepository, "swap", swap)
        assert forge.open_pull_requests() == (True, ())
    assert driver.open(driver.commit()) == 3
    assert forge.open_pull_requests().complete


def test_an_opening_that_was_killed_is_no_pull_request_that_somebody_closed(
    driver: LocalDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    swap, writer = LocalRepository.swap, LocalForgeWriter(driver.path)
    branch, base = RefName("refs/heads/ours"), RefName("refs/heads/main")
    driver.branch(branch, driver.commit())
    left: Iterator[int] = iter(())

    def dying(repository: LocalRepository, name: RefName, expected: str | None, new: str) -> bool:
        if next(left, None) is None:
            raise Killed
        return swap(repository, name, expected, new)

    for calls in range(3):
        left = iter(range(calls))
        monkeypatch.setattr(LocalRepository, "swap", dying)
        with pytest.raises(Killed):
            writer.open_change(branch, base, "t", "b")
        monkeypatch.setattr(LocalRepository, "swap", swap)
        assert writer.find_change(branch, base) == ()
    opened = writer.open_change(branch, base, "t", "b")
    assert writer.find_change(branch, base) == (opened,)


def test_the_lock_of_a_killed_writer_is_named_with_its_remedy(driver: LocalDriver) -> None:
    number = driver.open(driver.commit())
    store = LocalStore(LocalRepository(driver.path, lock_timeout_s=0.01))
    oid = str(driver.git.references[record_ref(number)].target)
    (driver.path / f"{record_ref(number)}.lock").touch()
    with pytest.raises(Unavailable, match=rf"remove refs/ameide/pull/{number}\.lock"):
        store.repository.swap(record_ref(number), oid, oid)
    (driver.path / f"{record_ref(number)}.lock").unlink()
    assert store.repository.swap(record_ref(number), oid, oid)


def test_a_second_opener_waits_for_the_first_and_gives_up_in_time(driver: LocalDriver) -> None:
    impatient = LocalRepository(driver.path, lock_timeout_s=0.01)
    with driver.pulls.repository.opening(), pytest.raises(Unavailable, match="is opening"), impatient.opening():
        pytest.fail("two openers at once")
    with impatient.opening():
        pass


def test_packing_the_refs_changes_no_answer(driver: LocalDriver) -> None:
    forge = LocalForge(driver.path)
    opened = [driver.open(driver.commit(), labels=["a"]) for _ in range(3)]
    before = forge.open_pull_requests()
    assert git(driver.path, "pack-refs", "--all").returncode == 0
    assert not (driver.path / record_ref(opened[0])).exists()
    assert forge.open_pull_requests() == before
    assert [forge.pull_request(n) for n in opened] == list(before.pull_requests)
    driver.label(opened[0], add=["b"])
    seen = forge.pull_request(opened[0])
    assert seen is not None
    assert seen.labels == ("a", "b")


def test_a_listing_of_an_unchanged_forge_parses_no_record_again(
    driver: LocalDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.adapters import local_record

    numbers = [driver.open(driver.commit()) for _ in range(3)]
    forge = LocalForge(driver.path)
    before = forge.open_pull_requests()
    parsed: list[int] = []
    decode = local_record.decode
    monkeypatch.setattr(local_record, "decode", lambda raw, number: parsed.append(number) or decode(raw, number))
    assert forge.open_pull_requests() == before
    assert parsed == []
    driver.label(numbers[1], add=["new"])
    parsed.clear()
    assert forge.open_pull_requests() != before
    assert parsed == [numbers[1]]


def test_a_merged_pull_request_is_not_open_and_cannot_be_reopened(driver: LocalDriver) -> None:
    number = driver.open(driver.commit())
    driver.pulls.store.edit(number, lambda record: replace(record, state=State.MERGED))
    assert LocalForge(driver.path).open_pull_requests() == (True, ())
    with pytest.raises(Terminal, match="merged"):
        driver.reopen(number)


def test_a_closed_change_is_not_reopened_beside_an_open_one(local_forge: ForgeUnderTest, driver: LocalDriver) -> None:
    from tests.contract.forge.test_writer import BRANCH, MAIN

    driver.branch(BRANCH, driver.commit())
    first = local_forge.writer.open_change(BRANCH, MAIN, "t", "b")
    local_forge.writer.close_change(first.number, "why")
    second = local_forge.writer.open_change(BRANCH, MAIN, "t", "b")
    with pytest.raises(Terminal, match=f"pull request {second.number} is open"):
        driver.reopen(first.number)


def test_a_push_to_a_closed_pull_request_or_of_a_missing_commit_is_refused(driver: LocalDriver) -> None:
    head = driver.commit()
    number = driver.open(head)
    with pytest.raises(Terminal, match="not a commit"):
        driver.push(number, CommitId("f" * 40))
    driver.close(number)
    with pytest.raises(Terminal, match="is closed"):
        driver.push(number, driver.commit())
    assert LocalForge(driver.path).head_of(number) == head


def test_records_cannot_be_written_by_a_push(tmp_path: Path, driver: LocalDriver) -> None:
    number = driver.open(driver.commit())
    done = git(driver.path, "push", str(driver.path), f"+refs/pull/{number}/head:{record_ref(number)}")
    assert done.returncode != 0
    assert "hidden ref" in done.stderr
    assert LocalForge(driver.path).open_pull_requests().complete


def test_labels_are_edited_beside_a_packing_of_the_refs(driver: LocalDriver) -> None:
    number = driver.open(driver.commit())
    process = subprocess.Popen(
        ["git", "-C", str(driver.path), "-c", "core.packedRefsTimeout=5000", "pack-refs", "--all"]
    )
    pulls = LocalPullRequests(driver.path)
    for n in range(20):
        pulls.label(number, add=[f"{n:02}"])
    assert process.wait(timeout=60) == 0
    seen = LocalForge(driver.path).pull_request(number)
    assert seen is not None
    assert len(seen.labels) == 20


def test_a_head_that_was_moved_past_the_record_has_no_known_pusher(driver: LocalDriver) -> None:
    reader = LocalForge(driver.path)
    first, second = driver.commit(), driver.commit()
    number = driver.open(first, author_id=7)
    driver.git.references.create(head_ref(number), second, force=True)
    assert reader.last_pusher(number, second) is None
    driver.git.references.create(head_ref(number), first, force=True)
    assert reader.last_pusher(number, first) == 7
