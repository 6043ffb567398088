"""Bringing a log to its remote and its mirror: what fails there is told, and stops nothing but a lost log."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.events import Emitter, Event
from reconciler.ports import LogStore
from state.errors import WRITER_STOPS, Denied, IntegrityError, ReconcilerError, Transient
from state.git import CommitId

Mirror = Callable[[CommitId], None]
"""Brings the log's mirror up to an entry that is on the log's remote."""


def pushed(log: LogStore, emit: Emitter) -> bool | None:
    """Whether the remote is up to date; False where the log has none, None where it did not take all of it.

    Raises Fenced, LedgerMoved or LogRollback, and Terminal where the log was stopped before.
    """
    try:
        return log.push()
    except WRITER_STOPS:
        raise
    except (Transient, Denied) as error:
        emit.emit(Event.LOG_NOT_PUSHED, error=str(error))
    except IntegrityError as error:
        emit.emit(Event.INTEGRITY_VIOLATED, error=str(error))
    return None


def mirrored(mirror: Mirror, tip: CommitId, emit: Emitter) -> bool:
    """Whether the mirror has everything up to `tip`, which is on the log's remote."""
    try:
        mirror(tip)
    except IntegrityError as error:
        emit.emit(Event.INTEGRITY_VIOLATED, error=str(error))
    except ReconcilerError as error:
        emit.emit(Event.LOG_NOT_MIRRORED, error=str(error))
    else:
        return True
    return False
