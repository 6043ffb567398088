"""Tells previews which heads are complete: by the answer of the plugin endpoint, and by a label (design §10)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from reconciler.events import Emitter, Event
from reconciler.looking import Tick, no_tick
from reconciler.matrix import Matrix
from reconciler.ports import Clock, LabelWriter, PreviewRefresh
from reconciler.readiness import Readiness, label_changes, seen_in
from state.errors import Denied, Terminal, Transient
from state.git import CommitId
from state.observed import Listing, Mode


class LabelMode(NamedTuple):
    """The label that a pull request gets at its first complete head, and who sets it."""

    label: str
    writer: LabelWriter


class Previews:
    """One repository's previews. `observe` is called by its passes, `answer` by any thread.

    Args:
        released: a head is complete once its release set is published.
        max_age_s: an older listing gives no answer.
        refresh: told when the answer has become another one, until it has heard.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        released: bool,
        max_age_s: float,
        label: LabelMode | None = None,
        refresh: PreviewRefresh | None = None,
    ) -> None:
        self._clock = clock
        self._released = released
        self._max_age_s = max_age_s
        self._label = label
        self._refresh = refresh
        self._told: Mapping[int, CommitId] | None = None
        self._lock = threading.Lock()
        self._readiness = Readiness()
        self._closed: set[int] = set()
        """Pull requests that are not open any more and are to lose the label."""

    def observe(
        self,
        listing: Listing,
        matrix: Matrix,
        remembered: Mapping[int, CommitId],
        mode: Mode,
        emit: Emitter,
        *,
        tick: Tick = no_tick,
    ) -> None:
        """Take up what a pass saw. An incomplete listing changes nothing; a label that fails is tried again."""
        if not listing.complete:
            return
        seen = seen_in(matrix, released=self._released)
        open_now = {pull_request.number for pull_request in listing.pull_requests}
        with self._lock:
            before = self._readiness.served
            self._readiness = self._readiness.after(seen, remembered, self._clock.monotonic_s())
            served = self._readiness.served
        self._closed = (self._closed | (before.keys() - served.keys())) - open_now
        if mode is Mode.OBSERVE:
            return
        if self._refresh is not None and served != self._told:
            try:
                self._refresh.refresh()
                self._told = served
            except (Transient, Denied, Terminal) as error:
                emit.emit(Event.REFRESH_FAILED, error=str(error))
        if self._label is not None:
            changes = list(label_changes(listing, seen, served, self._label.label))
            for n, (number, wanted) in enumerate(changes, 1):
                tick("setting labels", n, len(changes))
                self._set(self._label, number, wanted, emit)
            self._closed = {n for n in sorted(self._closed) if not self._set(self._label, n, False, emit)}

    def answer(self) -> Mapping[int, CommitId] | str:
        """Pull request → the head to show; or why nothing can be said, which is never an empty answer."""
        with self._lock:
            unsure = self._readiness.unsure(self._clock.monotonic_s(), self._max_age_s)
            return unsure if unsure is not None else self._readiness.served

    @staticmethod
    def _set(mode: LabelMode, number: int, wanted: bool, emit: Emitter) -> bool:
        """Whether it worked."""
        try:
            (mode.writer.add_label if wanted else mode.writer.remove_label)(number, mode.label)
        except (Transient, Denied, Terminal) as error:
            emit.emit(Event.LABEL_NOT_SET, pull_request=number, error=str(error))
            return False
        return True
