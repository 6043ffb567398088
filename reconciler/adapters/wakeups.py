"""Turns timers and file events into `wake(reason)`, and does nothing else.

APScheduler is only a clock here and watchfiles only a hint: an event's content is not read, whatever happens means
"look again". Both may lose events (a directory that is replaced, a clock that is set back), so the loop bounds its own
wait on monotonic time and never counts on being woken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC
from pathlib import Path
from typing import Final, NamedTuple, Self

from apscheduler.schedulers.background import BackgroundScheduler
from watchfiles import watch
from watchfiles._rust_notify import WatchfilesRustInternalError

Wake = Callable[[str], None]
Problem = Callable[[Path, Exception], None]

_DEBOUNCE_MS: Final = 200
_STEP_MS: Final = 20
_STOP_TIMEOUT_S: Final = 5


class Watched(NamedTuple):
    """A directory, never a file: a ConfigMap swap replaces the file's inode, and a watch on it would see nothing more.

    `reason` is what `wake` is called with.
    """

    path: Path
    reason: str
    recursive: bool = False


class Wakeups:
    """Calls `wake(reason)` on every timer and after every change below a watched directory.

    Args:
        wake: quick and safe from any thread; several events may come as one call.
        timers: reason and seconds between two calls.
        directories: one that is missing or replaced is watched again as soon as it is there, and a wake says so.
        problem: told once for each time that a directory cannot be watched.
        check_s: how often a watch is checked for being on the directory that is there now.
        polling: True where the file system reports no events (NFS, some overlays).
    """

    def __init__(
        self,
        wake: Wake,
        *,
        timers: Mapping[str, float],
        directories: Sequence[Watched] = (),
        problem: Problem | None = None,
        check_s: float = 2.0,
        polling: bool = False,
    ) -> None:
        self._wake = wake
        self._problem = problem
        self._check_s = check_s
        self._polling = polling
        self._stop = threading.Event()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        for reason, seconds in timers.items():
            # A late or missed run is one run: only the last matters, and it is never dropped for being late.
            self._scheduler.add_job(
                wake, "interval", (reason,), seconds=seconds, misfire_grace_time=None, coalesce=True, max_instances=1
            )
        self._threads = [
            threading.Thread(target=self._keep_watching, args=(d,), name=f"watch-{d.reason}", daemon=True)
            for d in directories
        ]

    def start(self) -> None:
        self._scheduler.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No call of `wake` begins after this returns."""
        self._stop.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keep_watching(self, directory: Watched) -> None:
        told = False
        while not self._stop.is_set():
            try:
                for _ in self._watch(directory):
                    told = False
            except (OSError, WatchfilesRustInternalError) as error:
                if self._problem is not None and not told:
                    self._problem(directory.path, error)
                told = True
                self._stop.wait(self._check_s)

    def _watch(self, directory: Watched) -> Iterator[None]:
        """Yields while it watches; ends when told to stop, or when the path leads to another directory than before."""
        watched = _identity(directory.path)
        events = watch(
            directory.path,
            watch_filter=None,  # a ConfigMap's change is named `..data`: a filter on names would hide it
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            rust_timeout=max(1, int(self._check_s * 1000)),
            yield_on_timeout=True,
            stop_event=self._stop,
            raise_interrupt=False,
            recursive=directory.recursive,
            # Written out, because what is left out here is taken from the environment.
            force_polling=self._polling,
            ignore_permission_denied=True,
            debug=False,
        )
        first = True
        with closing(events):
            for changes in events:
                # The first time also without a change: nobody reports what came before the watch was in place.
                if (changes or first) and not self._stop.is_set():
                    self._wake(directory.reason)
                first = False
                yield
                if _identity(directory.path) != watched:
                    return


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
