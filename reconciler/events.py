"""The process's own log lines: their names, their fields, and the two forms they are written in.

These lines are for operators; what was done is in the log of `state`, not here. Event names are constant and never
reused, the level belongs to the event, and what varies is in fields. The fields are a closed vocabulary of typed
values: there is none for a header, a body, an URL or a credential, so a secret has no place to go. Texts from outside
(`error`, `detail`) are bounded, escaped, and cut where they look like a credential.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from enum import StrEnum
from typing import Final, Self, TextIO, TypeAlias

from rich.console import Console
from rich.text import Text

from reconciler.ports import Clock

Field: TypeAlias = "str | int | float | bool"
Sink: TypeAlias = Callable[[Mapping[str, Field]], None]


class Level(StrEnum):
    INFO = "info"
    """Normal work."""
    WARNING = "warning"
    """Nobody has to act now; many of these are worth a look."""
    ERROR = "error"
    """Somebody has to act."""


class Event(StrEnum):
    """Past tense; the docstring says what happened and, from warning on, what to do."""

    level: Level

    def __new__(cls, name: str, level: Level = Level.INFO) -> Self:
        made = str.__new__(cls, name)
        made._value_ = name
        made.level = level
        return made

    STARTED = "started"
    """The process is up; `version` and `config_digest` say which one."""
    STOPPED = "stopped"
    """The process ends after its drain."""
    CONFIG_LOADED = "config_loaded"
    """A configuration came into force."""
    CONFIG_REFUSED = "config_refused", Level.ERROR
    """A changed file is not valid: the one before stays in force. `ameide config check` lists every problem."""
    SBOM_REFUSED = "sbom_refused", Level.WARNING
    """An SBOM in an index is not valid, and was not attached: mend the build that makes it."""
    RELEASE_PUBLISHED = "release_published"
    """The release set of a head is complete, signed and tagged."""
    MARKER_LOGGED = "marker_logged"
    """A signed approval, admission or revocation was verified and recorded; whether it counts is decided when it is
    used."""
    MARKER_REFUSED = "marker_refused", Level.WARNING
    """A marker was not recorded: `reason` is the code, docs/approvals.md says what it means."""
    PLAN_RECORDED = "plan_recorded"
    """What a publish of a head would write is known; approvers fetch it by its digest."""
    PLAN_IMPOSSIBLE = "plan_impossible", Level.WARNING
    """A complete head cannot be published to a target: `detail` says what is wrong with the pins."""
    APPROVAL_REFUSED = "approval_refused", Level.WARNING
    """Recorded approvals do not suffice, or no longer; `reason` is the code, `detail` tells the person."""
    PROPOSAL_OPENED = "proposal_opened"
    """A GitOps pull request with approved digests, or with the preview lane, is open."""
    PROPOSAL_UPDATED = "proposal_updated"
    """Its branch was brought up to the base, with the same digests."""
    PROPOSAL_ENDED = "proposal_ended"
    """It was merged, closed, or is in a person's hands now; `reason` says which."""
    PROPOSAL_FAILED = "proposal_failed", Level.WARNING
    """A step with a GitOps pull request failed; it is tried again in the next round."""
    HEAD_QUARANTINED = "head_quarantined", Level.ERROR
    """Recorded tags of a head were moved or removed: find out by whom. A new commit or `ameide head accept` ends it."""
    HEAD_ACCEPTED = "head_accepted"
    """A quarantined head goes on with what is there now; the log says who accepted it and why."""
    ACCEPTANCE_REFUSED = "acceptance_refused", Level.WARNING
    """An acceptance was about another state of the head than the present one: look again, and accept that."""
    WEBHOOK_REFUSED = "webhook_refused", Level.WARNING
    """A delivery was not signed with the webhook's secret; the next of the same kind are only counted (`webhooks`)."""
    LISTENING = "listening"
    """An HTTP listener is bound; `address` is the real one."""
    PASS_STARTED = "pass_started"  # noqa: S105 - no password
    """A round over one repository begins; `pass_id` is on every line of it."""
    PASS_FINISHED = "pass_finished"  # noqa: S105 - no password
    """One observe-plan-apply round is done; the counts say what came of it."""
    PASS_FAILED = "pass_failed", Level.WARNING
    """A round ended early and is repeated after a pause; look at `error` if it lasts."""
    PASS_PROBLEM = "pass_problem", Level.WARNING
    """Something could not be read in this round: what depends on it is held."""
    LOG_NOT_PUSHED = "log_not_pushed", Level.WARNING
    """The log's remote did not answer: entries are safe here and are pushed later."""
    LOG_NOT_MIRRORED = "log_not_mirrored", Level.WARNING
    """The log's mirror did not take what the remote has; it is tried again after each pass."""
    HISTORY_READ_ANEW = "history_read_anew"
    """What was kept of the log's history cannot be used, for `detail`: every entry was read, which takes longer."""
    UPKEEP_FAILED = "upkeep_failed", Level.WARNING
    """The log's repository could not be packed, or its history not kept: only speed is lost. It is tried again."""
    STATUS_NOT_REPORTED = "status_not_reported", Level.WARNING
    """The forge did not take a status; it is set again in a later round."""
    REFRESH_FAILED = "refresh_failed", Level.WARNING
    """The ApplicationSet controller was not reached: it asks by itself at its next turn, and is told again."""
    LABEL_NOT_SET = "label_not_set", Level.WARNING
    """The forge did not take the preview label; it is set again in the next round."""
    REPOSITORY_STALLED = "repository_stalled", Level.ERROR
    """The same input will fail again: mend what `error` names."""
    DECISION_PINNED = "decision_pinned"
    """What the images of a head shall be is recorded, before its first write."""
    DECISION_RESOLVED = "decision_resolved"
    """An image of a head that could not be decided before is decided now."""
    GAP_HELD = "gap_held"
    """A gap is held that was not held in the pass before, for `reason`; `ameide reconciler explain` tells its story."""
    TAG_WRITTEN = "tag_written"
    """The registry confirmed a tag of ours with the expected digest."""
    TAG_ADOPTED = "tag_adopted"
    """A tag was found in place, and its evidence counts."""
    TAG_WRITE_FAILED = "tag_write_failed", Level.WARNING
    """One write failed; it is tried again in a later pass."""
    ACTION_DROPPED = "action_dropped"
    """The world moved since the plan was made, so the action no longer holds."""
    HEAD_ENDED = "head_ended"
    """No open pull request has this head any more."""
    JANITOR_RAN = "janitor_ran"
    """One run of the janitor is done; the counts say what came of it."""
    NAMESPACE_MARKED = "namespace_marked"
    """No Application refers to a preview's namespace: it is deleted after the grace period."""
    NAMESPACE_SPARED = "namespace_spared"
    """A mark was taken back; `detail` says why."""
    NAMESPACE_DELETED = "namespace_deleted"
    """The API server took the deletion of a preview's namespace."""
    NAMESPACE_NOT_DELETED = "namespace_not_deleted", Level.WARNING
    """A deletion that had its turn was not made; `result` and `detail` say why. The next run looks again."""
    NAMESPACE_STUCK = "namespace_stuck", Level.WARNING
    """A namespace does not end; `detail` names what blocks it. Mend that: its finalizers are never taken off."""
    TAG_MARKED = "tag_marked"
    """A tag of a closed pull request is removed after the grace period."""
    TAG_REMOVED = "tag_removed"
    """The registry took one tag of a closed pull request away, and no other of its digest."""
    TAG_NOT_REMOVED = "tag_not_removed", Level.WARNING
    """A removal that had its turn was not made; `result` and `detail` say why."""
    WATCH_FAILED = "watch_failed", Level.WARNING
    """A directory cannot be watched: changes are noticed by the timer only. Watching is tried again."""
    STANDING_BY = "standing_by"
    """Another replica holds the lease `name`; this one takes over when that ends. `detail` names the holder."""
    LEADERSHIP_TAKEN = "leadership_taken"
    """This replica holds the lease from now on, and opens its logs."""
    LEADERSHIP_LOST = "leadership_lost", Level.WARNING
    """The lease could not be renewed, for `detail`: this replica writes nothing more and ends, to stand by anew."""
    LEASE_NOT_READ = "lease_not_read", Level.WARNING
    """The lease could not be read or written while standing by; it is tried again."""
    WRITER_FENCED = "writer_fenced", Level.ERROR
    """Another writer took over the log: this one stops. Two processes must not share a role."""
    INTEGRITY_VIOLATED = "integrity_violated", Level.ERROR
    """Bytes, digests, signatures or history are not what they claim: an auditor has to look before anything goes on."""
    REQUEST_FAILED = "request_failed", Level.ERROR
    """The HTTP host could not answer because of a fault of its own: report it with this line."""
    LIBRARY_WARNED = "library_warned", Level.WARNING
    """A library's own warning; `library` names it."""
    LINES_SUPPRESSED = "lines_suppressed", Level.WARNING
    """`count` lines of one event were left out, since they came too often; `action` names the event."""
    NOTIFICATION_FAILED = "notification_failed", Level.WARNING
    """The receiver of notifications did not take one; it is sent again after a pause, since the log remembers it."""
    NOTIFICATION_DROPPED = "notification_dropped", Level.WARNING
    """A notification was given up: refused for its content, or older than `notifications.max_age_s`."""
    NOTIFICATIONS_REDERIVED = "notifications_rederived", Level.WARNING
    """What was told already could not be read: it is told again. Receivers know repeated ones by their id."""


_IDENTIFIERS: Final = frozenset({
    "action", "address", "baseline", "cause", "commit", "config_digest", "digest", "head", "library", "mode", "name",
    "marker", "namespace", "operation", "pass_id", "path", "plan", "policy", "port", "reason", "ref", "repository",
    "result", "tag", "target", "version", "writer",
})  # fmt: skip
_TEXTS: Final = frozenset({"detail", "error", "remedy"})
_NUMBERS: Final = frozenset({
    "actions", "attempt", "change", "count", "duration_s", "epoch", "heads", "holds", "lines_lost", "planned",
    "pull_request", "pull_requests", "repository_id", "retry_after_s", "sequence", "status", "writes", "failed",
})  # fmt: skip
_FLAGS: Final = frozenset({"complete", "proven", "ready"})
FIELDS: Final = _IDENTIFIERS | _TEXTS | _NUMBERS | _FLAGS
_IDENTIFIER_MAX_CHARS: Final = 300
_TEXT_MAX_CHARS: Final = 2000
_CARRIED: ContextVar[Mapping[str, Field] | None] = ContextVar("carried", default=None)
_CREDENTIAL: Final = re.compile(
    r"(?P<userinfo>(?<=://)[^\s/@]+(?=@))"
    r"|(?i:\b(?:bearer|basic)\s+)(?=\S*[0-9=+/])[A-Za-z0-9._~+/=-]{8,}"
    r"|(?i:\b(?:password|passwd|secret|token|authorization|api[_-]?key)\b[\"']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?)\S+"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abpr]-|AKIA)[A-Za-z0-9_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


@contextmanager
def carrying(**fields: Field) -> Iterator[None]:
    """Add these fields to every line of this context: whoever emits it, and in worker threads that it starts."""
    token = _CARRIED.set({**(_CARRIED.get() or {}), **fields})
    try:
        yield
    finally:
        _CARRIED.reset(token)


def carry(**fields: Field) -> None:
    """The same until the `carrying` around this ends, so that what follows from an error is told with them, too.

    Without a `carrying` around it nothing is added: it would have no end.
    """
    if (carried := _CARRIED.get()) is not None:
        _CARRIED.set({**carried, **fields})


class Emitter:
    """Writes events to a sink. Safe to use from many threads; `bind` gives one that adds fields to every line."""

    def __init__(self, sink: Sink, clock: Clock, bound: Mapping[str, Field] | None = None) -> None:
        self._sink = sink
        self._clock = clock
        self._bound = dict(bound or {})

    def bind(self, **fields: Field) -> Emitter:
        """An emitter whose lines all carry these fields, such as `pass_id`."""
        return Emitter(self._sink, self._clock, {**self._bound, **fields})

    def emit(self, event: Event, **fields: Field) -> None:
        """Write one line. Raises ValueError for a field outside the vocabulary or of another type than declared."""
        record: dict[str, Field] = {
            "ts": self._clock.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": event.level.value,
            "event": event.value,
        }
        for name, value in {**(_CARRIED.get() or {}), **self._bound, **fields}.items():
            record[name] = _checked(name, value)
        self._sink(record)


class JsonLines:
    """One JSON object per line, keys sorted, ASCII only, so that no value can start a line or steer a terminal.

    A line that cannot be written (full disk, closed pipe) is counted and the next one says so in `lines_lost`:
    these lines are output, and the reconciler does not stop for them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._lost = 0

    def __call__(self, record: Mapping[str, Field]) -> None:
        with self._lock:
            lost = {"lines_lost": self._lost} if self._lost else {}
            line = json.dumps({**record, **lost}, sort_keys=True, ensure_ascii=True, allow_nan=False)
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except OSError:
                self._lost += 1
            else:
                self._lost = 0


class Human:
    """One readable line for a person at a terminal."""

    _STYLES: Final = {"info": "green", "warning": "yellow", "error": "bold red"}

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, record: Mapping[str, Field]) -> None:
        level = str(record["level"])
        line = Text.assemble(
            (str(record["ts"])[11:19], "dim"), " ", (str(record["event"]).replace("_", " "), self._STYLES[level])
        )
        for name in sorted(set(record) - {"ts", "level", "event"}):
            line.append(f" {name}=", "dim").append(str(record[name]))
        self._console.print(line, soft_wrap=True, highlight=False)


def sink_to(stream: TextIO, *, human: bool | None = None) -> Sink:
    """A sink to `stream`: JSON lines, or the readable form where `human`, or where it is a terminal if None."""
    readable = stream.isatty() if human is None else human
    return Human(Console(file=stream)) if readable else JsonLines(stream)


def to_stream(stream: TextIO, clock: Clock, *, human: bool | None = None) -> Emitter:
    """An emitter to `sink_to` of this stream."""
    return Emitter(sink_to(stream, human=human), clock)


class LibraryHandler(logging.Handler):
    """Turns warnings of libraries into events, so that every line of the process has one form."""

    def __init__(self, emitter: Emitter) -> None:
        super().__init__(logging.WARNING)
        self._emitter = emitter

    def emit(self, record: logging.LogRecord) -> None:
        detail = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            detail += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        self._emitter.emit(Event.LIBRARY_WARNED, library=record.name, detail=detail)


def _checked(name: str, value: Field) -> Field:
    if name in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return round(value, 3)
    if name in _FLAGS and isinstance(value, bool):
        return value
    if name in _IDENTIFIERS and isinstance(value, str):
        return clean(value, _IDENTIFIER_MAX_CHARS)
    if name in _TEXTS and isinstance(value, str):
        return clean(value, _TEXT_MAX_CHARS)
    if name in FIELDS:
        raise ValueError(f"log line: field {name} does not take a {type(value).__name__}")
    raise ValueError(f"log line: {name!r} is not a declared field; declare it in {__name__} if it can hold no secret")


def clean(text: str, max_chars: int) -> str:
    """`text` bounded, without what looks like a credential, and with unprintable characters escaped."""
    cut = _CREDENTIAL.sub("[cut]", text[: 4 * max_chars])
    escaped = cut
    if not cut.isprintable():  # most lines are, and there is one for each tag
        escaped = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
    return escaped if len(escaped) <= max_chars else escaped[: max_chars - 1] + "…"
