"""Clock, chance, executor, metrics and the markers that never come."""

from __future__ import annotations

import re
import threading
from datetime import UTC

import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.executor import ThreadExecutor
from reconciler.adapters.markers_none import NoMarkers
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.ports import Clock, Executor, Markers, Metrics, Random


def test_the_adapters_have_the_shape_of_their_ports() -> None:
    clock: Clock = SystemClock()
    random: Random = SystemRandom()
    metrics: Metrics = PrometheusMetrics()
    markers: Markers = NoMarkers()
    with ThreadExecutor(1) as made:
        executor: Executor = made
        assert executor.map(str, [1]) == ["1"]
    assert clock.now().tzinfo is UTC
    assert clock.monotonic_s() <= clock.monotonic_s()
    assert all(2.0 <= random.uniform(2.0, 3.0) <= 3.0 for _ in range(100))
    assert re.fullmatch("[0-9a-f]{16}", random.token())
    assert random.token() != random.token()
    assert list(markers.pending()) == []
    metrics.count("wakeups", reason="timer")


def test_results_come_in_the_order_of_the_items_whatever_finishes_first() -> None:
    second_done = threading.Event()

    def call(n: int) -> int:
        if n == 0:
            assert second_done.wait(10)
        else:
            second_done.set()
        return n * 10

    with ThreadExecutor(2) as executor:
        assert executor.map(call, [0, 1]) == [0, 10]


def test_an_error_is_the_result_of_its_item() -> None:
    with ThreadExecutor(2) as executor:
        results = executor.map(lambda n: 1 // n, [1, 0, -1])
    assert (results[0], results[2]) == (1, -1)
    assert isinstance(results[1], ZeroDivisionError)


def test_a_map_inside_a_mapped_call_does_not_wait_for_its_own_pool() -> None:
    with ThreadExecutor(1) as executor:
        done: list[object] = []
        outer = threading.Thread(
            target=lambda: done.append(executor.map(lambda n: executor.map(str, [n]), [1, 2])), daemon=True
        )
        outer.start()
        outer.join(10)
        assert done == [[["1"], ["2"]]]


def test_a_closed_executor_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    executor = ThreadExecutor(4)
    executor.map(str, range(20))
    executor.close()
    assert threading.active_count() == before


def test_numbers_appear_under_their_exposed_names() -> None:
    metrics = PrometheusMetrics()
    metrics.count("tag_writes", 3, result="written")
    metrics.gauge("holds", 7, repository="shop", reason="awaits-build")
    with metrics.timed("tag_write"):
        pass
    text = metrics.exposition().decode()
    assert 'ameide_tag_writes_total{result="written"} 3.0' in text
    assert 'ameide_holds{reason="awaits-build",repository="shop"} 7.0' in text
    assert "ameide_tag_write_seconds_count 1.0" in text


def test_what_a_gauge_was_set_to_can_be_read() -> None:
    metrics = PrometheusMetrics()
    metrics.gauge("forge_quota_remaining", 4200, repository="shop")
    assert metrics.value("forge_quota_remaining", repository="shop") == 4200
    assert metrics.value("forge_quota_remaining", repository="other") is None
    assert metrics.value("forge_quota_limit", repository="shop") is None


def test_a_block_that_raises_is_timed_too() -> None:
    metrics = PrometheusMetrics()
    with pytest.raises(KeyError), metrics.timed("tag_write"):
        raise KeyError
    assert "ameide_tag_write_seconds_count 1.0" in metrics.exposition().decode()


@pytest.mark.parametrize(
    ("method", "name", "labels"),
    [
        ("count", "no_such", {}),
        ("count", "tag_writes", {}),
        ("count", "tag_writes", {"result": "x", "head": "y"}),
        ("gauge", "tag_writes", {"result": "x"}),
        ("observe", "cells", {"repository": "x", "state": "y"}),
    ],
)
def test_a_name_or_label_outside_the_table_is_an_error(method: str, name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metric"):
        getattr(PrometheusMetrics(), method)(name, 1, **labels)


def test_the_number_of_series_is_bounded_and_no_count_is_lost() -> None:
    metrics = PrometheusMetrics()
    for n in range(2500):
        metrics.count("wakeups", reason=str(n))
    text = metrics.exposition().decode()
    assert len(re.findall(r"^ameide_wakeups_total\{", text, re.MULTILINE)) == 2001
    assert 'ameide_wakeups_total{reason="other"} 500.0' in text
