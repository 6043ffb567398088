"""One status per head at a forge, written only where it differs from what is shown.

What the forge shows is read once per head and process, so that a restart does not write every status anew.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Final, Generic, NamedTuple, TypeVar

from reconciler.adapters.forge_identity import ForgeRepository
from reconciler.ports import StatusState
from state.errors import InvalidValue
from state.git import CommitId

CONTEXT: Final = "ameide"
FIRST_LINE_MAX_CHARS: Final = 140
SUMMARY_MAX_BYTES: Final = 65_000
"""GitHub takes 65,535 characters in a check run's summary."""
_REMEMBERED_MAX: Final = 10_000
HandleT = TypeVar("HandleT")


class Shown(NamedTuple, Generic[HandleT]):
    """A status as the forge shows it; `handle` is what the forge needs to replace it."""

    state: StatusState
    text: str
    handle: HandleT


class ForgeStatus(ABC, Generic[HandleT]):
    """A `StatusReporter`. Without `whole_text` the forge shows the first line alone."""

    def __init__(self, repository: ForgeRepository, *, whole_text: bool) -> None:
        self._repository = repository
        self._client = repository.client
        self._whole_text = whole_text
        self._shown: OrderedDict[CommitId, Shown[HandleT]] = OrderedDict()

    def report(self, head: CommitId, state: StatusState, summary: str) -> None:
        """Set the status of `head`, unless it is shown already. Raises InvalidValue for a text that is too long."""
        first_line = summary.split("\n", 1)[0]
        if len(first_line) > FIRST_LINE_MAX_CHARS or len(summary.encode(errors="replace")) > SUMMARY_MAX_BYTES:
            raise InvalidValue(
                f"status of {head.short}: expected a first line of at most {FIRST_LINE_MAX_CHARS} characters and "
                f"{SUMMARY_MAX_BYTES} bytes in all"
            )
        # Taken out until the write is known to have worked: after one that failed the forge is asked again.
        seen = self._shown.pop(head, None) or self._read(head)
        text = summary if self._whole_text else first_line
        if seen is None or (seen.state, seen.text) != (state, text):
            seen = Shown(state, text, self._write(head, state, text, seen))
        self._shown[head] = seen
        while len(self._shown) > _REMEMBERED_MAX:
            self._shown.popitem(last=False)

    @abstractmethod
    def _read(self, head: CommitId) -> Shown[HandleT] | None:
        """What the forge shows; None for nothing, or something that no state is."""

    @abstractmethod
    def _write(self, head: CommitId, state: StatusState, text: str, shown: Shown[HandleT] | None) -> HandleT:
        """Show it in place of `shown`."""
