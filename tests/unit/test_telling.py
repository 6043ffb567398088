"""Log lines that belong together and do not repeat, spans, and the numbers of a pass: the parts, each alone."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.conditions import Condition, conditions
from reconciler.events import Emitter, Event, Field, carry, carrying
from reconciler.head_states import HeadState, _state
from reconciler.log_size import log_size_bytes
from reconciler.matrix import State
from reconciler.notifying.memory import Memory, Told
from reconciler.notifying.notices import of_condition
from reconciler.process_log import process_log
from reconciler.quieting import ONE_EVENT_MAX, SAME_MAX, WINDOW_S, Quietened
from reconciler.stages import Stage, measured, stage
from state.errors import IntegrityError
from state.git import CommitId
from state.hold import Reason
from state.oci import Repository
from state.plan import Hold

HEAD = CommitId("a" * 40)
IMAGES = [Repository(f"ghcr.io/acme/{name}") for name in ("orders", "web")]


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at_s, UTC)

    def monotonic_s(self) -> float:
        return self.at_s


def lines_of() -> tuple[list[dict[str, Field]], Emitter]:
    lines: list[dict[str, Field]] = []
    return lines, Emitter(lambda r: lines.append(dict(r)), HandClock())


# --- one id per pass on every line


def test_lines_of_worker_threads_and_libraries_carry_the_pass() -> None:
    out = io.StringIO()
    with process_log(out, HandClock()) as emit, ThreadExecutor(4) as executor, carrying(name="shop"):
        carry(pass_id="0123456789abcdef")
        threads = executor.map(lambda n: (logging.getLogger("urllib3").warning("no %d", n), threading.get_ident()), [1])
        emit.emit(Event.PASS_FAILED, error="x")
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["event"] for one in told] == ["library_warned", "pass_failed"]
    assert {(one["pass_id"], one["name"]) for one in told} == {("0123456789abcdef", "shop")}
    (result,) = threads
    assert not isinstance(result, Exception)
    assert result[1] != threading.get_ident()


def test_nothing_is_carried_out_of_a_pass_nor_without_one() -> None:
    lines, emit = lines_of()
    with carrying(name="shop"):
        carry(pass_id="1")
    carry(pass_id="2")
    emit.emit(Event.PASS_STARTED)
    assert "pass_id" not in lines[0]
    assert "name" not in lines[0]


def test_libraries_are_let_go_of_after_the_process_log() -> None:
    before = list(logging.getLogger().handlers)
    with process_log(io.StringIO(), HandClock()):
        assert len(logging.getLogger().handlers) == len(before) + 1
    assert logging.getLogger().handlers == before


# --- a bound on repeated lines


def quiet() -> tuple[list[dict[str, Field]], Emitter, HandClock]:
    lines: list[dict[str, Field]] = []
    clock = HandClock()
    return lines, Emitter(Quietened(lambda r: lines.append(dict(r)), clock), clock), clock


def test_a_line_that_says_the_same_is_bounded_and_what_was_left_out_is_counted() -> None:
    lines, emit, clock = quiet()
    for n in range(100):
        emit.emit(Event.PASS_FAILED, name="shop", error="x", pass_id=f"{n}", retry_after_s=n)
    assert len(lines) == SAME_MAX
    emit.emit(Event.PASS_FAILED, name="other", error="x")
    assert len(lines) == SAME_MAX + 1, "another line is its own"
    clock.at_s += WINDOW_S
    emit.emit(Event.PASS_FAILED, name="shop", error="x")
    assert [line["event"] for line in lines[-2:]] == ["lines_suppressed", "pass_failed"]
    assert (lines[-2]["action"], lines[-2]["count"]) == ("pass_failed", 100 - SAME_MAX)


def test_an_event_is_bounded_whatever_its_fields_but_an_error_never_by_others() -> None:
    lines, emit, _ = quiet()
    for n in range(ONE_EVENT_MAX + 100):
        emit.emit(Event.TAG_WRITE_FAILED, error=f"{n}")
        emit.emit(Event.HEAD_QUARANTINED, head=f"{n}")
    counted = [line["event"] for line in lines]
    assert counted.count("tag_write_failed") == ONE_EVENT_MAX
    assert counted.count("head_quarantined") == ONE_EVENT_MAX + 100


def test_normal_work_is_always_told() -> None:
    lines, emit, _ = quiet()
    for _ in range(50):
        emit.emit(Event.PASS_FINISHED, complete=True)
    assert len(lines) == 50


# --- stages


class Durations:
    """Metrics that keep which durations were observed."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []

    def count(self, name: str, by: float = 1, **labels: str) -> None: ...

    def gauge(self, name: str, value: float, **labels: str) -> None: ...

    def observe(self, name: str, seconds: float, **labels: str) -> None: ...

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        try:
            yield
        finally:
            self.seen.append((name, labels))


def test_a_stage_is_timed_for_its_repository_also_where_it_fails_and_not_outside_a_pass() -> None:
    metrics = Durations()
    with measured(metrics, "shop"), pytest.raises(KeyError), stage(Stage.LIST):
        raise KeyError
    with stage(Stage.TAGS):
        pass
    assert metrics.seen == [("pass_stage", {"repository": "shop", "stage": "list"})]


# --- heads, conditions, memory


@pytest.mark.parametrize(
    ("found", "quarantined", "state"),
    [
        ({State.RETAGGED, State.BUILT}, False, HeadState.COMPLETE),
        ({State.RETAGGED, State.BUILT}, True, HeadState.QUARANTINED),
        ({State.RETAGGED, State.HELD, State.WAITING}, False, HeadState.HELD),
        ({State.RETAGGED, State.WAITING, State.PLANNED}, False, HeadState.WAITING),
        ({State.RETAGGED, State.PLANNED}, False, HeadState.PLANNED),
        ({State.NOT_PREVIEWED}, False, HeadState.NOT_PREVIEWED),
    ],
)
def test_a_head_has_the_state_of_what_is_worst_about_it(found: set[State], quarantined: bool, state: HeadState) -> None:
    assert _state(found, quarantined) is state


def test_a_hold_of_many_images_is_one_condition_and_texts_are_none() -> None:
    holds = [Hold(HEAD, image, Reason.AWAITS_BUILD, (n,), "a text") for n, image in enumerate(IMAGES)]
    [found] = conditions(holds, (), (), {})
    assert found.pull_requests == (0, 1)
    assert "a text" not in json.dumps(found.to_json())
    assert Condition.from_json(found.to_json()) == found
    [violated] = conditions((), (), (IntegrityError("bad bytes of a stranger"),), {})
    assert "stranger" not in json.dumps(violated.to_json())


def test_a_condition_that_comes_again_is_another_event_and_the_same_one_never_is() -> None:
    [hold] = conditions([Hold(HEAD, None, Reason.DRAFT, (7,))], (), (), {})
    at, first, later = "2026-01-31T23:59:59Z", CommitId("b" * 40), CommitId("c" * 40)
    ids = []
    for begins, observed_in in ((True, first), (False, first), (True, later), (True, first)):
        notice = of_condition(hold, begins=begins, observed_in=observed_in, at=at)
        assert notice is not None
        ids.append(notice.id)
    assert len(set(ids[:3])) == 3
    assert ids[3] == ids[0]


def test_what_was_told_survives_and_what_is_damaged_is_told_apart_from_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "deep" / "1.json")
    assert memory.load() == Told()
    told = Told(HEAD, conditions([Hold(HEAD, None, Reason.DRAFT, (7,))], (), (), {}))
    memory.save(told)
    assert memory.load() == told
    whole = memory.path.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b'"v":1', b'"v":2'), b"[]", b"\xff" * 10, b"{}"):
        memory.path.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            memory.load()
    memory.path.unlink()
    memory.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError):
        memory.load()


@pytest.mark.parametrize("each", [4, 3], ids=["a sample stands for many", "few are counted"])
def test_the_size_of_a_log_is_packs_and_loose_objects(tmp_path: Path, each: int) -> None:
    assert log_size_bytes(tmp_path) == 0
    objects = tmp_path / "objects"
    for n in range(256):
        (objects / f"{n:02x}").mkdir(parents=True)
        for file in range(each):
            (objects / f"{n:02x}" / str(file)).write_bytes(b"x" * 10)
    (objects / "pack").mkdir()
    (objects / "pack" / "p.pack").write_bytes(b"x" * 1000)
    (objects / "01" / "one").write_bytes(b"x")  # not in the sample
    counted = 1 if each < 4 else 0
    assert log_size_bytes(tmp_path) == 256 * each * 10 + 1000 + counted


def test_the_one_object_of_a_log_that_has_just_begun_counts(tmp_path: Path) -> None:
    (tmp_path / "objects" / "ff").mkdir(parents=True)
    (tmp_path / "objects" / "ff" / "x").write_bytes(b"x" * 10)
    assert log_size_bytes(tmp_path) == 10


def test_one_series_of_an_info_metric_is_there_at_a_time() -> None:
    metrics = PrometheusMetrics()
    metrics.info("config_info", digest="one")
    metrics.info("config_info", digest="two")
    text = metrics.exposition().decode()
    assert 'ameide_config_info{digest="two"} 1.0' in text
    assert "one" not in [line.partition('digest="')[2].partition('"')[0] for line in text.splitlines()]
    with pytest.raises(ValueError, match="expected the labels"):
        metrics.info("config_info", head="x")


def test_settings_of_telling_are_consistent_or_refused() -> None:
    from pydantic import ValidationError

    from reconciler.settings.telling import NotificationsSettings, TracingSettings

    secret = {"signing_secret_file": Path("/s")}
    good: list[dict[str, Any]] = [
        {"url": "http://broker.knative:80/x", **secret},
        {"url": "https://e.example/x", "bearer_token_file": Path("/t"), "ca_file": Path("/ca")},
    ]
    for each in good:
        NotificationsSettings(**each)
    bad: list[dict[str, Any]] = [
        {"url": "https://e.example/x"},
        {"url": "https://e.example/x", "bearer_token_file": Path("/t"), **secret},
        {"url": "http://e.example/x", "bearer_token_file": Path("/t")},
        {"url": "http://e.example/x", "ca_file": Path("/ca"), **secret},
        {"url": "https://me:secret@e.example/x", **secret},
        {"url": "https://e.example/x?token=1", **secret},
        {"url": "ftp://e.example/x", **secret},
        {"url": "https://e.example/x", "types": (), **secret},
        {"url": "https://e.example/x", "types": ("head.complete",), **secret},
        {"url": "https://e.example/x", "max_age_s": 1, **secret},
    ]
    for each in bad:
        with pytest.raises(ValidationError):
            NotificationsSettings(**each)
    TracingSettings(endpoint="http://collector:4318/v1/traces")
    with pytest.raises(ValidationError):
        TracingSettings(endpoint="http://collector:4318/v1/traces", bearer_token_file=Path("/t"))
