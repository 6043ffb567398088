"""The process's own log lines."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta, timezone

import pytest
from rich.console import Console

from reconciler.events import FIELDS, Emitter, Event, Field, Human, JsonLines, LibraryHandler, clean, to_stream


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 31, 23, 59, 59, 123_000, tzinfo=timezone(timedelta(hours=1)))

    def monotonic_s(self) -> float:
        return 0.0


def line(event: Event, **fields: Field) -> str:
    stream = io.StringIO()
    Emitter(JsonLines(stream), StoppedClock(), {"pass_id": "0123456789abcdef"}).emit(event, **fields)
    return stream.getvalue()


def test_a_line_is_one_json_object_with_sorted_keys_level_and_pass() -> None:
    made = line(Event.TAG_WRITE_FAILED, repository="ghcr.io/a/b", attempt=2, duration_s=0.12345, complete=False)
    assert made == (
        '{"attempt": 2, "complete": false, "duration_s": 0.123, "event": "tag_write_failed", "level": "warning",'
        ' "pass_id": "0123456789abcdef", "repository": "ghcr.io/a/b", "ts": "2026-01-31T22:59:59.123Z"}\n'
    )


def test_every_event_is_past_tense_named_once_and_has_a_level() -> None:
    assert len({e.value for e in Event}) == len(Event)
    assert all(e.value == e.name.lower() for e in Event)
    assert Event("tag_written") is Event.TAG_WRITTEN
    assert (Event.TAG_WRITTEN.level, Event.INTEGRITY_VIOLATED.level) == ("info", "error")


@pytest.mark.parametrize("name", ["token", "password", "authorization", "headers", "url", "body", "credential", "ts"])
def test_a_field_that_could_hold_a_secret_does_not_exist(name: str) -> None:
    assert name not in FIELDS
    with pytest.raises(ValueError, match="not a declared field"):
        line(Event.TAG_WRITE_FAILED, **{name: "x"})


@pytest.mark.parametrize("fields", [{"attempt": "2"}, {"repository": 1}, {"complete": 1}, {"attempt": True}])
def test_a_field_of_another_type_is_refused(fields: dict[str, Field]) -> None:
    with pytest.raises(ValueError, match="does not take"):
        line(Event.TAG_WRITE_FAILED, **fields)


@pytest.mark.parametrize(
    "text",
    [
        "GET https://me:hunter2hunter2@ghcr.io/v2/ failed",
        "Authorization: Bearer hunter2hunter2",
        "got 'Basic hunter2hunter2=='",
        "password=hunter2hunter2",
        '{"token": "hunter2hunter2"}',
        "ghp_hunter2hunter2hunter2",
        "github_pat_hunter2hunter2",
        "eyJhunter2hunter2.eyJhunter2hunter2.hunter2hunter2",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\nhunter2\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nhunter2",
    ],
)
def test_what_looks_like_a_credential_is_cut_out_of_texts(text: str) -> None:
    made = line(Event.PASS_FAILED, error=text)
    assert "hunter2" not in made
    assert "[cut]" in made


def test_digests_and_commit_ids_are_not_taken_for_credentials() -> None:
    text = f"ghcr.io/a/b: asked sha256:{'ab' * 32}, got basic authentication, a token endpoint's 503 for {'0f' * 20}"
    assert clean(text, 500) == text


def test_no_value_can_start_a_line_or_steer_a_terminal() -> None:
    hostile = 'x\n{"event": "tag_written"}\r\x1b[2J\u202e\u2028\ud800'
    made = line(Event.PASS_FAILED, error=hostile)
    assert made.count("\n") == 1
    assert made.isascii()
    assert json.loads(made)["error"].isprintable()
    out = io.StringIO()
    Emitter(Human(Console(file=out, width=400)), StoppedClock()).emit(Event.PASS_FAILED, error=hostile)
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_long_values_are_bounded() -> None:
    assert len(line(Event.PASS_FAILED, error="x" * 10**6, repository="y" * 10**6)) < 3000


def test_rich_markup_in_a_value_is_shown_and_not_obeyed() -> None:
    out = io.StringIO()
    Emitter(Human(Console(file=out, width=400)), StoppedClock()).emit(Event.PASS_FAILED, error="[red]x[/red]")
    assert out.getvalue() == "22:59:59 pass failed error=[red]x[/red]\n"


def test_lines_that_could_not_be_written_are_counted_on_the_next_one() -> None:
    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    emitter = Emitter(JsonLines(stream), StoppedClock())
    for _ in range(3):
        emitter.emit(Event.PASS_STARTED)
    stream.full = False
    emitter.emit(Event.PASS_FINISHED)
    emitter.emit(Event.PASS_FINISHED)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["lines_lost"] == 3
    assert "lines_lost" not in second


def test_a_stream_that_is_no_terminal_gets_json() -> None:
    stream = io.StringIO()
    to_stream(stream, StoppedClock()).emit(Event.STARTED, version="1")
    assert json.loads(stream.getvalue())["ts"] == datetime(2026, 1, 31, 22, 59, 59, 123_000, UTC).isoformat(
        timespec="milliseconds"
    ).replace("+00:00", "Z")


def test_a_library_warning_becomes_an_event() -> None:
    records: list[dict[str, Field]] = []
    logger = logging.Logger("waitress.queue")
    logger.addHandler(LibraryHandler(Emitter(lambda r: records.append(dict(r)), StoppedClock())))
    logger.warning("Task queue depth is %d", 7)
    logger.info("not this one")
    assert [(r["library"], r["detail"]) for r in records] == [("waitress.queue", "Task queue depth is 7")]
