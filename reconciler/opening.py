"""Opening a repository that may be out of reach: the others of the process do not wait for it.

What the start of a process cannot do without is the configuration and the right to write the log. A forge, a log's
remote or a credential of one repository is not among it: that repository is opened by a later pass, under the loop's
own rules for errors, and until then it is told as not ready, by name and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import NamedTuple

from reconciler.looking import Rules
from reconciler.passes import PassReport, Repository
from reconciler.previews import Previews
from reconciler.publishing.board import Board
from reconciler.shown import Shown
from state.errors import ConfigError, Fenced, LogBusy, ReconcilerError, Terminal, Transient
from state.git import CommitId
from state.oci import Digest


class Writer(NamedTuple):
    """One repository ready for passes, and the forge's id of it."""

    repository: Repository
    repository_id: int
    previews: Previews | None


def is_outage(error: ReconcilerError) -> bool:
    """Whether this keeps one repository from being opened, and not the process from being started."""
    return isinstance(error, (Transient, Terminal)) and not isinstance(error, (ConfigError, Fenced, LogBusy))


class OpenedLate:
    """A repository for the loop, opened at the start if that works and by its passes otherwise.

    `start`, `run_pass` and `close` are called by one thread, the rest by any.

    Args:
        open_writer: opens it; what it opened is closed with this.
        configured: the digest of the configuration in force, which is recorded once the log is open.
    """

    def __init__(
        self, name: str, open_writer: Callable[[], AbstractContextManager[Writer]], configured: Digest
    ) -> None:
        self.name = name
        self._open = open_writer
        self._configured = configured
        self._stack = ExitStack()
        self._writer: Writer | None = None
        self._failed: ReconcilerError | None = None

    def start(self) -> None:
        """Open it, or keep the outage for its first pass to tell. Raises what no start goes on with."""
        try:
            self._opened()
        except (Transient, Terminal) as error:
            if not is_outage(error):
                raise
            self._failed = error

    def run_pass(self, rules: Rules, hints: frozenset[int], stopping: Callable[[], bool]) -> PassReport:
        """One pass, after opening it where that has not worked yet. Raises what either does."""
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        return self._opened().repository.run_pass(rules, hints, stopping)

    def close(self) -> None:
        self._stack.close()

    def repository_id(self) -> int | None:
        """The forge's id of it; None until it was opened."""
        writer = self._writer
        return None if writer is None else writer.repository_id

    def preview(self) -> Mapping[int, CommitId] | str:
        """What previews are told (`Previews.answer`)."""
        writer = self._writer
        if writer is None or writer.previews is None:
            return "the repository could not be opened yet"
        return writer.previews.answer()

    def board(self) -> Board | None:
        """What approvers are served of it; None until it was opened, and where nothing is published."""
        publisher = None if self._writer is None else self._writer.repository.publisher
        return None if publisher is None else publisher.board

    def shown(self) -> Shown | None:
        """What its last pass left; None before the first one."""
        return None if self._writer is None else self._writer.repository.shown

    def _opened(self) -> Writer:
        if self._writer is None:
            with ExitStack() as stack:
                made = stack.enter_context(self._open())
                made.repository.configured(self._configured)
                self._stack.push(stack.pop_all())
                self._writer = made
        return self._writer
