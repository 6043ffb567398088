"""Numbers about this process for Prometheus: a fixed table of names, each with fixed labels.

Source: Prometheus "Metric and label naming", text exposition format 0.0.4. An unknown name or another set of labels is
an error of the program and raises. Label values are bounded in length and number; what exceeds counts as `other`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from reconciler import __version__
from reconciler.metric_table import METRICS, Kind, Metric, exposed_name

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SERIES_MAX: Final = 2000
_LABEL_MAX_CHARS: Final = 100
_OTHER: Final = "other"


class PrometheusMetrics:
    """Implements `ports.Metrics` with a registry of its own; `exposition` is what `/metrics` answers.

    Args:
        table: the metrics that there are, by the name that the code uses.
        of_process: whether the process's own (memory, descriptors, CPU) come with them.
    """

    def __init__(self, table: Mapping[str, Metric] = METRICS, *, of_process: bool = True) -> None:
        self._table = table
        self._registry = CollectorRegistry()
        if of_process:
            ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in table}
        self._made: dict[str, Counter | Gauge | Histogram] = {
            name: _make(exposed_name(name, metric), metric, self._registry) for name, metric in table.items()
        }
        self.gauge("build_info", 1, version=__version__)

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        made = self._labelled(name, Kind.COUNTER, labels)
        assert isinstance(made, Counter)  # noqa: S101 - _labelled has checked the kind; this tells the type checker
        made.inc(by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        made = self._labelled(name, Kind.GAUGE, labels)
        assert isinstance(made, Gauge)  # noqa: S101 - as above
        made.set(value)

    def info(self, name: str, **labels: str) -> None:
        """Set a gauge to 1 at these labels alone: what was told with others before is over."""
        self._labelled(name, Kind.GAUGE, labels)  # refuses before anything is cleared
        with self._lock:
            self._made[name].clear()
            self._series[name] = set()
        self.gauge(name, 1, **labels)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        made = self._labelled(name, Kind.HISTOGRAM, labels)
        assert isinstance(made, Histogram)  # noqa: S101 - as above
        made.observe(seconds)

    @contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        """Observes the duration even if the block raises."""
        self._labelled(name, Kind.HISTOGRAM, labels)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe(name, time.perf_counter() - start, **labels)

    def value(self, name: str, **labels: str) -> float | None:
        """What a gauge was set to last; None if it never was."""
        made = self._made[name]
        samples = (sample for family in made.collect() for sample in family.samples)
        return next((sample.value for sample in samples if sample.labels == labels), None)

    def exposition(self) -> bytes:
        """All metrics in the text format of CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _labelled(self, name: str, kind: Kind, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        metric = self._table.get(name)
        if metric is None:
            raise ValueError(f"metric {name!r} is not in the table of metrics")
        if metric.kind is not kind:
            raise ValueError(f"metric {name} is a {metric.kind.value}, not a {kind.value}")
        if set(labels) != set(metric.labels):
            raise ValueError(f"metric {name}: expected the labels {metric.labels}, got {tuple(sorted(labels))}")
        values = tuple(labels[label][:_LABEL_MAX_CHARS] for label in metric.labels)
        with self._lock:
            if values not in self._series[name]:
                if len(self._series[name]) >= _SERIES_MAX:
                    values = tuple(_OTHER for _ in values)
                self._series[name].add(values)
        made = self._made[name]
        return made.labels(*values) if values else made


def _make(name: str, metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    match metric.kind:
        case Kind.COUNTER:
            return Counter(name, metric.help, metric.labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(name, metric.help, metric.labels, registry=registry)
        case Kind.HISTOGRAM:
            return Histogram(name, metric.help, metric.labels, registry=registry, buckets=metric.buckets_s)
