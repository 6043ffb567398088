"""What keeps a log of years quick: its repository packed, and what its entries add up to kept in a file.

Both are for speed alone, run beside the loop, and may end at any moment.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from reconciler.adapters.git_packing import LOOSE_MAX, loose_objects, pack_loose
from reconciler.events import Emitter, Event
from state.errors import IntegrityError, InvalidValue, ReconcilerError
from state.history_file import Folded, HistoryFile
from state.log import GitLog
from state.log_branch import LogName
from state.log_read import LogReader, Span

KEPT_EVERY: Final = 10_000
"""Entries after which the history is kept anew: so many a start reads at most, in about two seconds."""


class LogUpkeep:
    """The upkeep of one log."""

    def __init__(self, path: Path, name: LogName, directory: Path, emit: Emitter) -> None:
        """`path` is the log repository; `directory` is where the remembered tip is."""
        self._path = path
        self._name = name
        self._file = HistoryFile(directory, name)
        self._emit = emit
        self._kept = -1
        self._thread: threading.Thread | None = None

    def load(self) -> Folded | None:
        """What was kept; None, told with the reason, where it cannot be used."""
        try:
            return self._file.load()
        except InvalidValue as error:
            self._emit.emit(Event.HISTORY_READ_ANEW, detail=str(error))
            return None

    def fold(self, kept: Folded | None, log: GitLog) -> Folded:
        """What all entries of the active `log` add up to, of which `kept` has the beginning.

        Raises IntegrityError or InvalidValue if they do not add up.
        """
        if kept is not None and log.known_whole != kept.entry:
            self._emit.emit(Event.HISTORY_READ_ANEW, detail=f"the kept entry {kept.entry} is not in the log")
            kept = None
        self._kept = kept.sequence if kept is not None else -1
        made = (kept or Folded()).extended(log.entries(log.known_whole if kept is not None else None))
        if made.sequence - self._kept >= KEPT_EVERY:
            self._keep(made)
        return made

    def after_pass(self, sequence: int) -> None:
        """Do what is due, in a thread of its own. `sequence` is that of the newest entry."""
        if self._thread is not None and self._thread.is_alive():
            return
        packing, keeping = loose_objects(self._path) > LOOSE_MAX, sequence - self._kept >= KEPT_EVERY
        if packing or keeping:
            # A daemon thread: a process that is to end does not wait for it. A git that runs then ends by itself.
            self._thread = threading.Thread(target=self._run, args=(packing, keeping), name="log-upkeep", daemon=True)
            self._thread.start()

    def _run(self, packing: bool, keeping: bool) -> None:
        try:
            if packing:
                pack_loose(self._path)
            if keeping:
                self._keep_anew()
        except ReconcilerError as error:
            self._emit.emit(Event.UPKEEP_FAILED, error=str(error))

    def _keep_anew(self) -> None:
        """From the log, not from what the passes work with: that may be ahead of what is recorded."""
        reader = LogReader(self._path, self._name.ref)
        kept = self.load()
        try:
            made = (kept or Folded()).extended(reader.entries(Span(kept.entry if kept is not None else None)))
        except IntegrityError:  # it is of another log
            made = Folded().extended(reader.entries())
        self._keep(made)

    def _keep(self, made: Folded) -> None:
        try:
            self._file.save(made)
        except OSError as error:
            self._emit.emit(Event.UPKEEP_FAILED, error=f"{self._file.path}: cannot be written: {error}")
        self._kept = made.sequence
