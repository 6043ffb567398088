"""Writers that are killed, that race, and that run out of disk: no acknowledged entry is ever lost."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from state.entry import Kind
from state.errors import LogRollback, Unavailable
from state.log_read import LogReader
from state.log_verify import verify
from tests.fixtures.log import NAME, LogBench

KILLS = 24


class Writers:
    """The warm process of tests/faults/log_writer.py."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.log_writer", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._rest = b""

    def order(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())

    def lines(self, within_s: float) -> Iterator[str]:
        """Lines until none comes within the time that is left."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + within_s
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                yield line.decode()
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                return
            self._rest += got

    def until(self, word: str) -> tuple[str, list[str]]:
        before = []
        for line in self.lines(60):
            if line.startswith(word):
                return line, before
            before.append(line)
        raise AssertionError(f"no {word!r} came; got {before[-5:]}")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)


@pytest.fixture
def writers(bench: LogBench) -> Iterator[Writers]:
    made = Writers(bench.root)
    yield made
    made.close()


def ids(bench: LogBench) -> list[str]:
    return [e.id for e in LogReader(bench.repo, "log/4711/reconciler").entries()]


def test_a_writer_killed_at_any_moment_loses_no_acknowledged_entry(bench: LogBench, writers: Writers) -> None:
    chance = random.Random(5)
    acked: list[str] = []
    for _ in range(KILLS):
        writers.order("forever rec-0")
        said, _ = writers.until("pid")
        pid = int(said.split()[1])
        first, before = writers.until("ack")
        heard = [*before, first, *writers.lines(chance.random() * 0.03)]
        os.kill(pid, signal.SIGKILL)
        writers.order("wait all")
        _, rest = writers.until("gone")
        heard += rest
        assert not [line for line in heard if line.startswith("error")]
        acked += [line.split()[1] for line in heard if line.startswith("ack")]
    with bench.log() as log:
        log.append(Kind.CONFIG, {})
    assert len(acked) >= KILLS
    assert set(acked) <= set(ids(bench))
    report = verify(bench.repo)
    assert report.clean, report.problems
    assert report.branches[0].epochs == KILLS + 1
    bench.git("fsck", "--strict", "--no-dangling")


def test_two_writers_without_a_common_lock_lose_no_acknowledged_entry(bench: LogBench, writers: Writers) -> None:
    with bench.log():
        pass
    writers.order("race rec-a 40")
    writers.order("race rec-b 40")
    writers.order("wait all")
    _, heard = writers.until("gone")
    assert not [line for line in heard if line.startswith("error")]
    acked = [line.split()[1] for line in heard if line.startswith("ack")]
    assert len(acked) == len(set(acked)) >= 80
    assert set(acked) <= set(ids(bench))
    report = verify(bench.repo)
    assert report.clean, report.problems


@pytest.mark.parametrize(
    "lock", [f"{NAME.ref}.lock", "refs/ameide/remote/log-4711-reconciler.lock", "refs/heads/log-orphan/rec-0/1.lock"]
)
def test_a_lock_that_a_killed_writer_left_is_removed(bench: LogBench, lock: str) -> None:
    with bench.log():
        pass
    (bench.repo / lock).parent.mkdir(parents=True, exist_ok=True)
    (bench.repo / lock).write_text("")
    log = bench.log()
    assert log.activate().removed_locks == (bench.repo / lock,)
    log.append(Kind.CONFIG, {})
    log.close()


def test_a_shared_lock_is_left_to_its_living_owner_for_a_while(bench: LogBench) -> None:
    with bench.log():
        pass
    lock = bench.repo / "packed-refs.lock"
    lock.write_text("")
    log = bench.log()
    assert log.activate().removed_locks == ()
    log.append(Kind.CONFIG, {})
    log.close()
    os.utime(lock, (1, 1))
    assert log.activate().removed_locks == (lock,)
    log.close()


def test_a_branch_that_stays_locked_appends_nothing(bench: LogBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state.log_write._LOCK_WAIT_S", 0.1)
    with bench.log() as log:
        before = log.tip()
        lock = bench.repo / f"{NAME.ref}.lock"
        lock.write_text("")
        with pytest.raises(Unavailable, match="nothing was appended"):
            log.append(Kind.CONFIG, {})
        assert log.tip() == before == bench.tip()
        lock.unlink()
        log.append(Kind.CONFIG, {})
    assert verify(bench.repo).clean


def test_a_branch_set_back_while_nobody_ran_is_a_rollback(bench: LogBench) -> None:
    with bench.log() as log:
        log.append(Kind.CONFIG, {})
        lost = log.append(Kind.CONFIG, {})
    bench.git("update-ref", NAME.ref, f"{lost.id}~1")
    with pytest.raises(LogRollback, match=rf"{lost.id} was there before, the tip is now {bench.tip()}"):
        bench.log().activate()
    bench.git("update-ref", NAME.ref, lost.id)
    with bench.log():
        pass


def test_a_deleted_log_is_a_rollback(bench: LogBench) -> None:
    with bench.log():
        pass
    bench.git("update-ref", "-d", NAME.ref)
    with pytest.raises(LogRollback, match="the tip is now missing"):
        bench.log().activate()


def test_the_remembered_tip_lags_by_a_bounded_number_of_entries(bench: LogBench) -> None:
    log = bench.log()
    log.activate()
    for n in range(70):
        log.append(Kind.CONFIG, {"n": n})
    bench.git("update-ref", NAME.ref, f"{bench.tip()}~66")
    log._release("killed")
    with pytest.raises(LogRollback):
        bench.log().activate()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "disk"
    where.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(where)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_acknowledges_nothing_and_heals(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    bench = LogBench(tmp_path / "bench")
    bench.repo = small_disk / "log.git"
    with bench.log(fsync=True) as log:
        acked = []
        refused = None
        for n in range(2000):
            try:
                acked.append(log.append(Kind.OBSERVATION, {"n": n}, {"x": os.urandom(20_000)}).id)
            except Unavailable as error:
                refused = error
                break
        assert refused is not None
        assert "nothing was appended" in str(refused)
        assert log.tip() == acked[-1] == bench.tip()
        with pytest.raises(Unavailable):
            log.append(Kind.OBSERVATION, {}, {"x": os.urandom(50_000)})
        assert verify(bench.repo).clean
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        acked.append(log.append(Kind.OBSERVATION, {}, {"x": os.urandom(20_000)}).id)
    assert set(acked) <= set(ids(bench))
    assert verify(bench.repo).clean


def test_processes_that_are_killed_on_a_full_disk_lose_no_acknowledged_entry(small_disk: Path) -> None:
    """What is torn there is a file that was cut short: an object, a ref, or the lock of one."""
    (small_disk / "bench").mkdir()
    bench = LogBench(small_disk / "bench")
    made = Writers(bench.root)
    chance = random.Random(7)
    acked: list[str] = []
    full = 0
    try:
        while full < 6:
            made.order("forever rec-0")
            said, _ = made.until("pid")
            heard: list[str] = []
            for line in made.lines(20):
                heard.append(line)
                if line.startswith("error") or chance.random() < 0.02:
                    break
            full += any(line.startswith("error") for line in heard)
            with suppress(ProcessLookupError):
                os.kill(int(said.split()[1]), signal.SIGKILL)
            made.order("wait all")
            _, rest = made.until("gone")
            acked += [line.split()[1] for line in (*heard, *rest) if line.startswith("ack")]
    finally:
        made.close()
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    with bench.log() as log:
        log.append(Kind.CONFIG, {})
    assert len(acked) > 10
    assert set(acked) <= set(ids(bench))
    report = verify(bench.repo)
    assert report.clean, report.problems
    bench.git("fsck", "--strict", "--no-dangling")
