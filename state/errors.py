"""The error families, by who has to act.

* ReconcilerError
  x Transient          nobody: try again, after `retry_after_s` seconds if the server said so
    - RateLimited, Unavailable, LogBusy (a kind of Unavailable)
  x StaleObservation   nobody: the world moved since the snapshot; drop, plan again
    - LedgerMoved
  x Terminal           an operator: the same input fails again
    - ConfigError, InvalidValue, Denied, Unsupported, TagFixed, Fenced
  x IntegrityError     an auditor: bytes or signatures are not what they claim; stop this subject
    - LogRollback

A message names the thing, what was expected and what came, and the remedy. It never carries a secret:
adapters cut tokens and URL user information out before they raise.
"""

from __future__ import annotations

from typing import Final


class ReconcilerError(Exception):
    """Base of everything this project raises on purpose."""


class Transient(ReconcilerError):
    """Nobody has to act: the same call may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Transient):
    """The server asks for fewer calls (429, or a 403 whose body says so)."""


class Unavailable(Transient):
    """No usable answer: a timeout, a refused connection, a 5xx, an answer cut short."""


class LogBusy(Unavailable):
    """Another process writes this log now; it may end by itself."""


class StaleObservation(ReconcilerError):
    """Nobody has to act: what was seen is no longer so; observe and plan again."""


class LedgerMoved(StaleObservation):
    """A compare-and-swap append lost: the log has another tip than the one the entry was made for."""


class Terminal(ReconcilerError):
    """An operator has to act: the same input fails again."""


class ConfigError(Terminal):
    """The configuration, catalogue or inventory is wrong. `problems` lists every finding, each with its path."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((message, *(f"  {p}" for p in problems))))
        self.problems = problems


class InvalidValue(Terminal, ValueError):
    """A text is not the value it should be (digest, tag, commit id, …). Also a `ValueError`, for pydantic."""


class Denied(Terminal):
    """The credential does not allow this: 401 or 403 after one fresh token."""


class Unsupported(Terminal):
    """The other side cannot do this, and says so."""


class TagFixed(Terminal):
    """The tag is there with another digest, and its registry moves no tag."""


class Fenced(Terminal):
    """Another writer took over (a later epoch, or the remote refused our push): this writer must stop."""


class IntegrityError(ReconcilerError):
    """An auditor has to look: bytes, digests, signatures or history are not what they claim."""


class LogRollback(IntegrityError):
    """The log lost entries that were there before."""


WRITER_STOPS: Final = (Fenced, LedgerMoved, LogRollback)
"""The log is no longer this writer's: these are never told of one subject and gone on from."""
