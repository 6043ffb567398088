"""Numbers about this process for Prometheus: a fixed table of names, each with fixed labels.

Source: Prometheus "Metric and label naming", text exposition format 0.0.4. An unknown name or another set of labels is
an error of the program and raises. Label values are bounded in length and number; what exceeds counts as `other`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from reconciler import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SERIES_MAX: Final = 2000
_LABEL_MAX_CHARS: Final = 100
_OTHER: Final = "other"
_BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_LONG_BUCKETS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets_s: tuple[float, ...] = _BUCKETS_S


_REPOSITORY: Final = ("repository",)

METRICS: Final[dict[str, Metric]] = {
    "build_info": Metric(Kind.GAUGE, ("version",), "1, labelled with the version that runs."),
    "passes": Metric(Kind.COUNTER, ("repository", "result"), "Passes by result."),
    "pass": Metric(Kind.HISTOGRAM, _REPOSITORY, "Duration of a pass."),
    "last_complete_pass_timestamp_seconds": Metric(
        Kind.GAUGE,
        _REPOSITORY,
        "Unix time of the last complete listing; time() less it is the age of truth.",
    ),
    "cells": Metric(Kind.GAUGE, ("repository", "state"), "Wanted tags, one per open head and image, by state."),
    "holds": Metric(Kind.GAUGE, ("repository", "reason"), "Gaps held now, by reason."),
    "actions_dropped": Metric(Kind.COUNTER, ("repository",), "Planned actions whose premise no longer held."),
    "tag_write": Metric(Kind.HISTOGRAM, (), "Duration of a request that writes one tag or several."),
    "tag_writes": Metric(Kind.COUNTER, ("result",), "Tag writes by result."),
    "release_sets_published": Metric(Kind.COUNTER, _REPOSITORY, "Release sets of complete heads."),
    "tags_adopted": Metric(Kind.COUNTER, _REPOSITORY, "Tags found in place that count."),
    "quarantined_heads": Metric(Kind.GAUGE, _REPOSITORY, "Heads whose recorded tags were moved or removed."),
    "write_budget_remaining": Metric(Kind.GAUGE, _REPOSITORY, "Tag writes that this hour still allows."),
    "head_completion": Metric(
        Kind.HISTOGRAM, _REPOSITORY, "Time from the first sight of a head to its completeness.", _LONG_BUCKETS_S
    ),
    "registry_requests": Metric(Kind.COUNTER, ("host", "method", "status"), "Requests to a registry by status."),
    "forge_requests": Metric(
        Kind.COUNTER, ("repository", "method", "status"), "Requests to a forge's API by status; a 304 costs no quota."
    ),
    "forge_quota_limit": Metric(Kind.GAUGE, _REPOSITORY, "Requests or points that the forge grants in its window."),
    "forge_quota_remaining": Metric(Kind.GAUGE, _REPOSITORY, "What is left of them, as the forge said last."),
    "log_appends": Metric(Kind.COUNTER, ("repository", "kind"), "Entries appended to the log."),
    "log_mirror_behind": Metric(Kind.GAUGE, _REPOSITORY, "1 while the log's mirror lacks what the remote has."),
    "log_sequence": Metric(Kind.GAUGE, _REPOSITORY, "Sequence number of the newest log entry."),
    "integrity_violations": Metric(
        Kind.COUNTER, _REPOSITORY, "Bytes, signatures or history that were not what they claim; alarm on any."
    ),
    "config_loads": Metric(Kind.COUNTER, ("result",), "Loads of the configuration by result."),
    "webhooks": Metric(Kind.COUNTER, ("repository", "result"), "Deliveries of forges by result."),
    "markers": Metric(
        Kind.COUNTER, ("repository", "result"), "Markers that were posted: received, refused, or failed on our side."
    ),
    "gitops_pull_requests": Metric(Kind.GAUGE, ("repository", "state"), "GitOps pull requests of ours by state."),
    "approvals_refused": Metric(
        Kind.GAUGE, ("repository", "code"), "Recorded approvals that do not lead to a pull request now, by code."
    ),
    "plugin_answers": Metric(
        Kind.COUNTER, ("repository", "result"), "Answers to the ApplicationSet controller: served, or unsure."
    ),
    "wakeups": Metric(Kind.COUNTER, ("reason",), "Wake-ups of the loop by reason."),
}
"""Every metric of this process by the name that the code uses."""


def exposed_name(name: str) -> str:
    """The name on `/metrics`: `ameide_` before it, `_total` after a counter's, `_seconds` after a duration's."""
    suffix = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.HISTOGRAM: "_seconds"}[METRICS[name].kind]
    return f"ameide_{name}{suffix}"


class PrometheusMetrics:
    """Implements `ports.Metrics` with a registry of its own; `exposition` is what `/metrics` answers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in METRICS}
        self._made: dict[str, Counter | Gauge | Histogram] = {
            name: _make(exposed_name(name), metric, self._registry) for name, metric in METRICS.items()
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

    def exposition(self) -> bytes:
        """All metrics in the text format of CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _labelled(self, name: str, kind: Kind, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        metric = METRICS.get(name)
        if metric is None:
            raise ValueError(f"metric {name!r} is not in the table of {__name__}")
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
