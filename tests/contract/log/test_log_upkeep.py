"""Upkeep of a log: packed beside its writer and through kills, and its history kept so that a start reads the rest."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pygit2
import pytest
from pygit2.enums import ObjectType

from reconciler import log_upkeep
from reconciler.adapters import git_packing
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.git_packing import loose_objects, pack_loose
from reconciler.events import to_stream
from reconciler.log_upkeep import LogUpkeep
from state.entry import Kind
from state.errors import IntegrityError, Unavailable
from state.history_file import Folded
from state.log import GitLog
from state.log_verify import verify
from tests.fixtures.log import NAME, LogBench
from tests.fixtures.shop import eventually
from tests.unit.test_history_file import everything


def appended(log: GitLog, count: int) -> None:
    """So many configurations, one observation with blobs after each."""
    for n in range(count):
        log.append(Kind.CONFIG, {"digest": f"sha256:{n:064x}"})
        body = {"holds": f"sha256:{n:064x}", "removed": []}
        log.append(Kind.OBSERVATION, body, {f"pr.{n % 7}": b"%d" % n, "listing": b"{}"})


def loose(bench: LogBench) -> int:
    """How many there are; git removes directories meanwhile."""
    return sum(len(files) for home, _, files in os.walk(bench.repo / "objects") if len(Path(home).name) == 2)


def packs(bench: LogBench) -> list[Path]:
    return sorted((bench.repo / "objects" / "pack").glob("*.pack"))


def whole(bench: LogBench) -> bool:
    bench.git("fsck", "--strict")
    return verify(bench.repo, allowed_signers_file=bench.allowed(), anchor=bench.tip()).clean


# --- packing


def test_loose_objects_are_packed_and_none_is_lost(bench: LogBench) -> None:
    repository = None
    for _ in range(3):
        with bench.log() as log:
            appended(log, 20)
            repository = pygit2.Repository(str(bench.repo))
            stray = str(repository.odb.write(ObjectType.BLOB, os.urandom(8)))
            before = loose(bench)
            assert pack_loose(bench.repo)
            assert loose(bench) < before / 10
            appended(log, 1)
            assert [e.entry.sequence for e in log.entries()] == list(
                range(log.read(log.tip() or "").entry.sequence + 1)
            )  # type: ignore[arg-type]
        assert stray in pygit2.Repository(str(bench.repo)), "what no entry names is nobody's to judge here"
    assert len(packs(bench)) <= 3
    assert whole(bench)
    assert not (bench.repo / "gc.pid").exists()


def test_loose_objects_are_counted_by_a_sample_of_the_directories(tmp_path: Path) -> None:
    assert loose_objects(tmp_path) == 0
    for n in range(256):
        (home := tmp_path / "objects" / f"{n:02x}").mkdir(parents=True)
        for name in ("a", "b", "c"):
            (home / name).touch()
    assert loose_objects(tmp_path) == 768


def test_a_writer_goes_on_while_it_is_packed(bench: LogBench) -> None:
    done = threading.Event()
    packed: list[bool] = []

    def pack() -> None:
        while not done.is_set():
            packed.append(pack_loose(bench.repo))
        packed.append(False)  # it was not ended by an error

    with bench.log() as log:
        thread = threading.Thread(target=pack)
        thread.start()
        try:
            appended(log, 100)
            assert len(list(log.entries())) == 202
        finally:
            done.set()
            thread.join()
    assert packed[-1] is False
    assert set(packed[:-1]) == {True}
    assert whole(bench)


PACKER = """
import pathlib, sys
from reconciler.adapters.git_packing import pack_loose
pack_loose(pathlib.Path(sys.argv[1]))
"""


def test_a_kill_in_the_middle_of_packing_loses_nothing(bench: LogBench) -> None:
    """The packer and its git end at one of several moments, told by what lies in the directory of packs."""
    home = bench.repo / "objects" / "pack"
    with bench.log() as log:
        for moment in ("a file of its own", "a pack in place", "a loose object gone"):
            appended(log, 60)
            before, known = loose(bench), set(packs(bench))
            reached = {
                "a file of its own": lambda: any(home.glob("tmp_*")) or any(home.glob(".tmp-*")),
                "a pack in place": lambda known=known: set(packs(bench)) != known,
                "a loose object gone": lambda before=before: loose(bench) < before,
            }[moment]
            with subprocess.Popen(
                [sys.executable, "-c", PACKER, str(bench.repo)],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
            ) as packer:
                while packer.poll() is None and not reached():  # type: ignore[operator]
                    pass
                _kill_all(packer, bench.repo)
            appended(log, 3)
            assert whole(bench), moment
        assert pack_loose(bench.repo)
        assert loose(bench) < 100
        appended(log, 3)
    assert whole(bench)


def _kill_all(packer: subprocess.Popen[bytes], repository: Path) -> None:
    """The packer, and the git that it started in a session of its own."""
    packer.kill()
    packer.wait()
    for process in Path("/proc").iterdir():
        try:
            inside = process.name.isdigit() and (process / "cwd").resolve() == repository.resolve()
        except OSError:
            continue
        if inside and int(process.name) != os.getpid():
            os.kill(int(process.name), signal.SIGKILL)
    eventually("the lock is free", lambda: _free(repository))


def _free(repository: Path) -> bool:
    with (repository / "ameide-packing.flock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_one_packs_at_a_time_and_leftovers_go_when_they_are_old(bench: LogBench) -> None:
    with bench.log() as log:
        appended(log, 3)
    home = bench.repo / "objects" / "pack"
    old, young = home / "tmp_pack_AbCdEf", home / ".tmp-17-pack-1.pack"
    for file in (old, young):
        file.write_bytes(b"PACK")
    past = time.time() - git_packing.LEFTOVER_AGE_S - 60
    os.utime(old, (past, past))
    with (bench.repo / "ameide-packing.flock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not pack_loose(bench.repo)
        assert old.exists()
    assert pack_loose(bench.repo)
    assert not old.exists()
    assert young.exists()


def test_what_git_cannot_pack_is_told(bench: LogBench) -> None:
    with bench.log() as log:
        appended(log, 2)
        (bench.repo / "config").write_text("[core]\n\trepositoryformatversion = 99\n")
        with pytest.raises(Unavailable, match="git cannot pack it"):
            pack_loose(bench.repo)


def test_a_directory_that_packing_removed_is_on_disk_again_before_an_entry_counts(
    bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git removes the directories of loose objects that are empty; a name in a directory is not synced by itself."""
    synced: list[Path] = []
    with bench.log(fsync=True) as log:
        monkeypatch.setattr("state.log_write.sync_directory", synced.append)
        assert len(list((bench.repo / "objects").glob("[0-9a-f][0-9a-f]"))) == 256
        log.append(Kind.CONFIG, {})
        assert not synced
        assert pack_loose(bench.repo)
        made = log.append(Kind.CONFIG, {})
        assert (bench.repo / "objects" / made.id[:2] / made.id[2:]).exists()
        assert synced == [bench.repo / "objects"]
    monkeypatch.undo()
    with bench.log(fsync=True):
        assert len(list((bench.repo / "objects").glob("[0-9a-f][0-9a-f]"))) == 256


# --- the kept history


class Upkeep:
    """Starts of a process: each loads what was kept, opens the log, and adds up the rest."""

    def __init__(self, bench: LogBench) -> None:
        self.bench = bench
        self.lines = io.StringIO()
        self.made = self._upkeep()

    def _upkeep(self) -> LogUpkeep:
        emit = to_stream(self.lines, SystemClock(), human=False)
        return LogUpkeep(self.bench.repo, NAME, self.bench.tips, emit)

    def start(self, count: int = 0, **options: Any) -> Folded:
        """One start; then so many appends of which the process itself keeps nothing."""
        self.made = self._upkeep()
        kept = self.made.load()
        with self.bench.log(known_whole=kept.entry if kept is not None else None, **options) as log:
            folded = self.made.fold(kept, log)
            told = everything(folded)
            assert told == everything(Folded().extended(log.entries()))
            appended(log, count)
            return folded

    def events(self) -> list[str]:
        found = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [str(e["event"]) + ": " + str(e.get("detail", e.get("error"))) for e in found]


@pytest.fixture
def upkeep(bench: LogBench, monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    monkeypatch.setattr(log_upkeep, "KEPT_EVERY", 20)
    return Upkeep(bench)


def file_of(bench: LogBench) -> Path:
    return bench.tips / f"{NAME.file_stem}.history"


def test_a_start_reads_only_what_follows_the_kept_history(upkeep: Upkeep, bench: LogBench) -> None:
    upkeep.start(5)
    assert not file_of(bench).exists(), "so few are quick to read"
    upkeep.start(5)
    upkeep.start(1)
    first = file_of(bench).read_bytes()
    upkeep.start(1)
    assert file_of(bench).read_bytes() == first, "and so few do not make a new one worth while"
    oldest = bench.git("rev-list", "--max-parents=0", NAME.ref).strip()
    lost = bench.repo / "objects" / oldest[:2] / oldest[2:]
    lost.rename(away := bench.root / "away")
    made = upkeep._upkeep()
    kept = made.load()
    assert kept is not None
    with bench.log(known_whole=kept.entry) as log:
        before = kept.sequence
        assert made.fold(kept, log).sequence > before
    with pytest.raises(IntegrityError), bench.log():
        pytest.fail("without what was kept every entry is read")
    away.rename(lost)
    assert upkeep.events() == []


def test_a_kept_history_that_cannot_be_used_is_told_and_every_entry_read(upkeep: Upkeep, bench: LogBench) -> None:
    upkeep.start(20)
    upkeep.start()
    whole = file_of(bench).read_bytes()
    file_of(bench).write_bytes(whole[:-1])
    upkeep.start()
    assert file_of(bench).read_bytes() != whole[:-1], "and made anew"
    file_of(bench).write_bytes(b"")
    upkeep.start()
    assert [e.partition(bench.tips.name)[2] for e in upkeep.events()] == [
        "/log-4711-reconciler.history: torn or damaged",
        "/log-4711-reconciler.history: not acceptable JSON: Expecting value: line 1 column 1 (char 0)",
    ]


def test_a_kept_history_of_another_log_is_told_and_passed_over(upkeep: Upkeep, bench: LogBench, tmp_path: Path) -> None:
    upkeep.start(20)
    upkeep.start()
    bench.repo.rename(tmp_path / "other.git")
    (bench.tips / f"{NAME.file_stem}.tips.json").unlink()
    upkeep.start(20)
    (told,) = upkeep.events()
    assert "is not in the log" in told
    assert b'"sequence":' in file_of(bench).read_bytes()
    upkeep.made.after_pass(42)
    assert upkeep.made._thread is not None
    upkeep.made._thread.join()
    upkeep.start()
    assert len(upkeep.events()) == 1, "the file is of this log now"


def test_a_long_life_keeps_the_history_from_the_log_and_packs(
    upkeep: Upkeep, bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_upkeep, "LOOSE_MAX", 40)
    upkeep.start()
    with bench.log() as log:
        appended(log, 30)
        upkeep.made.after_pass(10)
        assert upkeep.made._thread is not None, "packing is due"
        upkeep.made._thread.join()
        assert packs(bench)
        assert not file_of(bench).exists()
        upkeep.made.after_pass(64)
        upkeep.made._thread.join()
        kept = upkeep.made.load()
        assert kept is not None
        assert everything(kept) == everything(Folded().extended(log.entries()))
        last = upkeep.made._thread
        upkeep.made.after_pass(65)
        assert upkeep.made._thread is last, "nothing is due"
    assert upkeep.events() == []


def test_a_disk_that_does_not_take_the_history_is_told_and_stops_nothing(
    upkeep: Upkeep, bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep.start(20)
    (bench.tips / f"{NAME.file_stem}.history.new").mkdir()
    upkeep.start()
    (told,) = upkeep.events()
    assert told.startswith("upkeep_failed: ")
    assert "cannot be written" in told
