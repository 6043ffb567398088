"""Timers and file events on real directories: whatever happens becomes a wake."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.adapters.wakeups import Wakeups, Watched

DEADLINE_S = 15
CHECK_S = 0.1
GATHERED_S = 0.4


class Woken:
    """Counts wakes by reason, and waits for one."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.problems: list[tuple[Path, Exception]] = []
        self._changed = threading.Condition()

    def wake(self, reason: str) -> None:
        with self._changed:
            self.reasons.append(reason)
            self._changed.notify_all()

    def problem(self, path: Path, error: Exception) -> None:
        with self._changed:
            self.problems.append((path, error))
            self._changed.notify_all()

    def count(self) -> int:
        with self._changed:
            return len(self.reasons)

    def until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, DEADLINE_S), f"woken: {self.reasons}, problems: {self.problems}"

    def quiet(self) -> None:
        """Wait until no wake comes for longer than the events of one change are gathered."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while self._changed.wait(GATHERED_S):
                assert time.monotonic() < deadline

    def after(self, act: Callable[[], object]) -> None:
        """Do it, and wait for a wake that it causes: none may still be on its way from before."""
        before = self.count()
        act()
        self.until(lambda: len(self.reasons) > before)


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def watching(woken: Woken) -> Iterator[Callable[..., Wakeups]]:
    made: list[Wakeups] = []

    def start(*directories: Watched, timers: dict[str, float] | None = None, polling: bool = False) -> Wakeups:
        made.append(
            Wakeups(
                woken.wake,
                timers=timers or {},
                directories=directories,
                problem=woken.problem,
                check_s=CHECK_S,
                polling=polling,
            )
        )
        made[-1].start()
        return made[-1]

    yield start
    for wakeups in made:
        wakeups.stop()


def settled(woken: Woken, path: Path) -> None:
    """The watch is in place (its first wake), and touching a file makes another."""
    woken.until(lambda: bool(woken.reasons))
    woken.after((path / "settled").touch)
    woken.quiet()


def config_map(root: Path, content: str) -> None:
    """What kubelet's AtomicWriter does: a new directory of the time, and `..data` renamed over to it."""
    new = root / f"..{time.monotonic_ns()}"
    new.mkdir()
    (new / "ameide.yaml").write_text(content)
    (root / "..new").symlink_to(new.name)
    old = (root / "..data").resolve() if (root / "..data").is_symlink() else None
    (root / "..new").rename(root / "..data")
    if not (root / "ameide.yaml").is_symlink():
        (root / "ameide.yaml").symlink_to("..data/ameide.yaml")
    if old is not None:
        shutil.rmtree(old)


def test_a_timer_wakes_again_and_again(woken: Woken, watching: Callable[..., Wakeups]) -> None:
    watching(timers={"poll": 0.05, "rescan": 0.07})
    woken.until(lambda: woken.reasons.count("poll") >= 3 and woken.reasons.count("rescan") >= 2)


def test_every_config_map_swap_wakes(tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]) -> None:
    config_map(tmp_path, "0")
    watching(Watched(tmp_path, "config"))
    settled(woken, tmp_path)
    for n in range(3):
        woken.after(lambda n=n: config_map(tmp_path, str(n + 1)))  # type: ignore[misc]
        assert (tmp_path / "ameide.yaml").read_text() == str(n + 1)
        woken.quiet()
    assert set(woken.reasons) == {"config"}


@pytest.mark.parametrize("recursive", [True, False])
def test_refs_below_the_directory_wake_only_where_asked(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups], recursive: bool
) -> None:
    (tmp_path / "refs" / "pull" / "1").mkdir(parents=True)
    watching(Watched(tmp_path / "refs", "forge", recursive=recursive))
    settled(woken, tmp_path / "refs")
    before = woken.count()
    (tmp_path / "refs" / "pull" / "1" / "head").write_text("0" * 40)
    if recursive:
        woken.until(lambda: len(woken.reasons) > before)
    else:
        woken.quiet()
        assert woken.count() == before


def test_a_burst_becomes_few_wakes_and_the_last_event_is_covered(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]
) -> None:
    watching(Watched(tmp_path, "forge"))
    settled(woken, tmp_path)
    before = woken.count()
    for n in range(5000):
        (tmp_path / f"f{n % 50}").write_text(str(n))
    woken.until(lambda: len(woken.reasons) > before)
    woken.quiet()
    assert woken.count() - before < 200
    woken.after((tmp_path / "after").touch)


def test_a_replaced_directory_is_watched_again(tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]) -> None:
    watched = tmp_path / "watched"
    watched.mkdir()
    watching(Watched(watched, "config"))
    settled(woken, watched)
    (tmp_path / "new").mkdir()
    watched.rename(tmp_path / "old")
    (tmp_path / "new").rename(watched)
    before = woken.count()
    woken.until(lambda: len(woken.reasons) > before)
    woken.quiet()
    woken.after((watched / "file").touch)


def test_a_missing_directory_is_told_once_and_watched_when_it_comes(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]
) -> None:
    watched = tmp_path / "later"
    watching(Watched(watched, "config"))
    woken.until(lambda: bool(woken.problems))
    assert not woken.reasons
    watched.mkdir()
    settled(woken, watched)
    assert [path for path, _ in woken.problems] == [watched]
    shutil.rmtree(watched)
    woken.until(lambda: len(woken.problems) == 2)
    watched.mkdir()
    woken.after(lambda: None)


def test_one_sick_directory_does_not_keep_another_from_waking(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]
) -> None:
    watching(Watched(tmp_path / "no", "sick"), Watched(tmp_path, "well"))
    settled(woken, tmp_path)
    assert set(woken.reasons) == {"well"}


def test_polling_sees_changes_where_the_file_system_reports_none(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]
) -> None:
    config_map(tmp_path, "0")
    watching(Watched(tmp_path, "config"), polling=True)
    woken.until(lambda: bool(woken.reasons))
    woken.quiet()
    woken.after(lambda: config_map(tmp_path, "1"))


def inotify_handles() -> int:
    count = 0
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += "inotify" in str(handle.readlink())
    return count


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")
def test_the_environment_does_not_switch_polling_on(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    before = inotify_handles()
    watching(Watched(tmp_path, "config"))
    settled(woken, tmp_path)
    assert inotify_handles() == before + 1


def test_no_wake_begins_after_stop_and_no_thread_is_left(
    tmp_path: Path, woken: Woken, watching: Callable[..., Wakeups]
) -> None:
    before = threading.active_count()
    wakeups = watching(Watched(tmp_path, "a"), Watched(tmp_path / "missing", "b"), timers={"poll": 0.01})
    woken.until(lambda: "a" in woken.reasons and "poll" in woken.reasons)
    wakeups.stop()
    assert threading.active_count() == before


def test_what_was_never_started_can_be_stopped(woken: Woken) -> None:
    Wakeups(woken.wake, timers={"poll": 1}).stop()
