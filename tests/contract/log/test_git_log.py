"""GitLog and LogReader: what the port LogStore promises."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from reconciler.ports import LogStore
from state.canonical import Json
from state.entry import BLOB_MAX_BYTES, Kind
from state.errors import (
    ConfigError,
    Fenced,
    IntegrityError,
    InvalidValue,
    LedgerMoved,
    LogRollback,
    Terminal,
    Unavailable,
)
from state.git import CommitId
from state.log import GitLog
from state.log_read import LogReader
from state.log_verify import verify
from tests.fixtures.log import NAME, Forger, LogBench, git, other_signer

Opened = Callable[[GitLog], GitLog]
needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not on PATH (apt-get install openssh-client)"
)


def test_entries_come_back_oldest_first_with_their_blobs(bench: LogBench, opened: Opened) -> None:
    log: LogStore = opened(bench.log(fsync=True))
    first = log.append(Kind.OBSERVATION, {"n": 1}, {"snapshot.json": b"{}", "b": b"\0\xff"})
    second = log.append(Kind.INTENT, {"writes": []})
    kinds = [e.entry.kind for e in log.entries()]
    assert kinds == [Kind.GENESIS, Kind.EPOCH, Kind.OBSERVATION, Kind.INTENT]
    assert [e.entry.sequence for e in log.entries()] == [0, 1, 2, 3]
    assert log.tip() == second.id
    assert log.read(first.id) == first
    assert log.blob(first.entry.blobs["b"]) == b"\0\xff"
    assert bench.git("cat-file", "-p", f"{first.id}:snapshot.json") == "{}"
    assert bench.git("ls-tree", "--name-only", first.id).split() == ["b", "snapshot.json"]
    assert bench.git("ls-tree", second.id) == ""


def test_a_reader_without_key_or_lock_sees_the_same(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    made = log.append(Kind.OBSERVATION, {}, {"x": b"1"})
    reader = LogReader(bench.repo, "log/4711/reconciler")
    assert list(reader.entries()) == list(log.entries())
    assert list(reader.newest_first()) == list(log.entries())[::-1]
    assert reader.blob(made.entry.blobs["x"]) == b"1"
    assert reader.tip() == log.tip()
    with pytest.raises(Terminal, match=r"there are: refs/heads/log/4711/reconciler"):
        LogReader(bench.repo, "log/4711/janitor")


@needs_ssh_keygen
def test_plain_git_finds_our_commits_sound_and_signed(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    made = log.append(Kind.OBSERVATION, {"text": "ü \u2028"}, {"x": b"1", "a-b": b"2", "a.b": b"3"})
    bench.git("fsck", "--strict")
    signers = f"gpg.ssh.allowedSignersFile={bench.allowed()}"
    for entry in log.entries():
        said = git(bench.repo, "-c", signers, "verify-commit", entry.id)
        assert 'Good "git" signature for rec-0@ameide.invalid' in said.stderr
    assert bench.git("log", "-1", "--format=%an|%ae|%at|%s", made.id).startswith("rec-0|rec-0@ameide.invalid|")


def test_epoch_and_sequence_go_on_after_a_restart(bench: LogBench) -> None:
    with bench.log() as log:
        log.append(Kind.CONFIG, {})
    with bench.log() as log:
        made = log.append(Kind.CONFIG, {})
    assert (made.entry.sequence, made.entry.epoch) == (4, 2)
    assert verify(bench.repo).clean


def test_a_missing_object_and_one_of_another_type_are_integrity_errors(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    made = log.append(Kind.OBSERVATION, {}, {"x": b"1"})
    with pytest.raises(IntegrityError, match="is missing"):
        log.read(CommitId("1" * 40))
    with pytest.raises(IntegrityError, match="expected a blob"):
        log.blob(made.id)
    with pytest.raises(IntegrityError, match="expected a commit"):
        log.read(CommitId(made.entry.blobs["x"]))


@pytest.mark.parametrize(
    ("kind", "body", "blobs"),
    [
        (Kind.CONFIG, {"x": 1.5}, {}),
        (Kind.DECISION, {"head": "a\n\nb"}, {}),
        (Kind.CONFIG, {"x": "y" * 5_000_000}, {}),
        (Kind.OBSERVATION, {}, {"../x": b""}),
        (Kind.OBSERVATION, {}, {"x": bytes(BLOB_MAX_BYTES + 1)}),
        (Kind.GENESIS, {}, {}),
        (Kind.EPOCH, {}, {}),
        (Kind.KEY, {}, {}),
    ],
)
def test_what_cannot_be_logged_is_refused_and_the_log_goes_on(
    bench: LogBench, opened: Opened, kind: Kind, body: dict[str, Json], blobs: dict[str, bytes]
) -> None:
    log = opened(bench.log())
    before = log.tip()
    with pytest.raises(InvalidValue):
        log.append(kind, body, blobs)
    assert log.tip() == before == bench.tip()
    log.append(Kind.CONFIG, {})
    assert verify(bench.repo).clean


def test_appends_from_many_threads_are_one_line(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    made: list[str] = []

    def write(n: int) -> None:
        made.extend(log.append(Kind.CONFIG, {"n": n, "i": i}).id for i in range(20))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == sorted(e.id for e in log.entries() if e.entry.kind is Kind.CONFIG)
    assert len(made) == 80
    assert verify(bench.repo).clean


def test_a_second_writer_on_this_machine_is_told_who_is_active(bench: LogBench, opened: Opened) -> None:
    opened(bench.log())
    with pytest.raises(Unavailable, match=rf"flock.*process {os.getpid()}\)"):
        bench.log().activate()


def test_a_second_writer_that_got_past_the_lock_fences_the_first(bench: LogBench, opened: Opened) -> None:
    first = opened(bench.log(writer="rec-a"))
    (bench.repo / "ameide-log-4711-reconciler.flock").unlink()
    second = opened(bench.log(writer="rec-b"))
    kept = second.append(Kind.CONFIG, {})
    for _ in range(2):
        with pytest.raises(Fenced, match="epoch 2 belongs to rec-b"):
            first.append(Kind.CONFIG, {})
    assert bench.tip() == kept.id
    assert verify(bench.repo).clean


def test_a_writer_can_ask_whether_it_still_is_the_one(bench: LogBench, tmp_path: Path) -> None:
    log = bench.log()
    log.activate()
    log.confirm()
    made = log.append(Kind.CONFIG, {})
    log.confirm()
    next(bench.repo.glob("*.flock")).unlink()  # as on another machine that shares the disk
    with bench.log(writer="rec-1"), pytest.raises(Fenced, match="epoch 2 belongs to rec-1"):
        log.confirm()
    with pytest.raises(Fenced):
        log.append(Kind.CONFIG, {})
    log.close()
    bench.git("update-ref", NAME.ref, f"{made.id}^")
    with pytest.raises(LogRollback):
        bench.log().activate()


def test_an_entry_slipped_in_within_our_epoch_moves_the_ledger(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    forger = Forger(bench, bench.repo)
    oid, newest = forger.chain()[-1]
    entry = type(newest)(Kind.CONFIG, newest.sequence + 1, newest.epoch, "rec-0", newest.at, {})
    slipped = forger.entry(entry, oid)
    forger.point(slipped)
    with pytest.raises(LedgerMoved, match=slipped):
        log.append(Kind.CONFIG, {})
    assert bench.tip() == slipped
    assert log.tip() == oid


def test_a_branch_set_back_under_a_live_writer_is_a_rollback(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    log.append(Kind.CONFIG, {})
    bench.git("update-ref", NAME.ref, f"{bench.tip()}~1")
    with pytest.raises(LogRollback):
        log.append(Kind.CONFIG, {})
    with pytest.raises(Terminal, match="an operator has to look"):
        log.append(Kind.CONFIG, {})


def test_a_new_key_is_announced_by_the_old_one_and_signs_from_then_on(bench: LogBench) -> None:
    new = other_signer()
    with bench.log() as log:
        log.rotate(new.sign, new.public_key())
        log.append(Kind.CONFIG, {})
    report = verify(bench.repo)
    assert report.clean
    assert report.branches[0].keys == (bench.signer.public_key(), new.public_key())
    with pytest.raises(Terminal, match="the key in force is"):
        bench.log().activate()
    with bench.log(signer=new) as log:
        log.append(Kind.CONFIG, {})
    assert verify(bench.repo).clean


def test_a_signer_with_another_key_than_it_says_appends_nothing(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    with pytest.raises(IntegrityError):
        log.rotate(bench.signer.sign, other_signer().public_key())
    bench.signer = other_signer()
    log._sign = bench.signer.sign
    before = bench.tip()
    with pytest.raises(IntegrityError, match="refused to append"):
        log.append(Kind.CONFIG, {})
    assert bench.tip() == before


def test_a_log_that_is_not_active_or_was_closed_appends_nothing(bench: LogBench) -> None:
    log = bench.log()
    with pytest.raises(Terminal, match="not active"):
        log.append(Kind.CONFIG, {})
    with log:
        pass
    with pytest.raises(Terminal, match="is closed"):
        log.append(Kind.CONFIG, {})
    with log:
        log.append(Kind.CONFIG, {})


def test_the_remembered_tips_must_lie_outside_the_repository(bench: LogBench) -> None:
    with pytest.raises(ConfigError, match="outside"):
        bench.log(tips=bench.repo / "tips").activate()
    bench.log().activate()


def test_packed_refs_and_gc_do_not_disturb_a_writer(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    log.append(Kind.CONFIG, {})
    bench.git("gc", "--quiet")
    assert not (bench.repo / NAME.ref).exists()
    made = log.append(Kind.OBSERVATION, {}, {"x": b"1"})
    assert bench.tip() == made.id
    assert verify(bench.repo).clean


@pytest.mark.parametrize("role", ["Reconciler", "", "x/../y"])
def test_an_unknown_role_is_refused(bench: LogBench, role: str) -> None:
    with pytest.raises(InvalidValue):
        GitLog(
            bench.repo, 1, role, sign=bench.signer.sign, public_key=bench.signer.public_key(), writer="w",
            now=bench.now, tips_dir=bench.tips,
        )  # fmt: skip


@pytest.mark.parametrize("hidden", ["shallow", "info/grafts"])
def test_a_repository_that_hides_history_is_not_read_or_written(bench: LogBench, hidden: str) -> None:
    with bench.log() as log:
        tip = log.tip()
    (bench.repo / "info").mkdir(exist_ok=True)
    (bench.repo / hidden).write_text(f"{tip}\n")
    with pytest.raises(IntegrityError, match=hidden):
        LogReader(bench.repo, "log/4711/reconciler")
    with pytest.raises(IntegrityError, match=hidden):
        bench.log().activate()


def test_reading_walks_a_long_log_without_recursion(bench: LogBench, opened: Opened) -> None:
    log = opened(bench.log())
    for n in range(1100):
        log.append(Kind.CONFIG, {"n": n})
    assert sum(1 for _ in log.entries()) == 1102


def test_a_replace_ref_does_not_change_what_is_read(bench: LogBench, tmp_path: Path) -> None:
    with bench.log() as log:
        made = log.append(Kind.CONFIG, {"n": 1})
    fake = pygit2.Repository(str(bench.repo)).create_commit(
        None, pygit2.Signature("x", "x@y", 1, 0), pygit2.Signature("x", "x@y", 1, 0), "forged",
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904", [],
    )  # fmt: skip
    bench.git("replace", made.id, str(fake))
    assert "forged" in bench.git("log", "-1", "--format=%B", made.id)
    assert LogReader(bench.repo, "log/4711/reconciler").read(made.id) == made
