"""The janitor's numbers as a text file, for node_exporter's textfile collector: it runs and ends, nobody scrapes it.

Source: prometheus/node_exporter, "Textfile Collector": the file appears whole, by a rename.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.janitor.deciding import Reason
from reconciler.janitor.records import Result
from reconciler.janitor.running import Report
from reconciler.metric_table import JANITOR_METRICS
from reconciler.ports import Clock
from state.errors import ConfigError


class MetricsFile:
    """Written anew after each run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._metrics = PrometheusMetrics(JANITOR_METRICS, of_process=False)

    def ran(self, name: str, report: Report) -> None:
        """Take up the run over the repository `name`, and write. Raises ConfigError if the file cannot be written."""
        metrics, decision = self._metrics, report.decision
        if decision.complete:
            metrics.gauge("janitor_last_run_timestamp_seconds", self._clock.now().timestamp(), repository=name)
            found = Counter(ruling.reason for ruling in decision.rulings)
            for reason in Reason:
                metrics.gauge("janitor_namespaces", found[reason], repository=name, reason=reason.value)
            marked = sum(ruling.tombstone is not None for ruling in decision.rulings)
            metrics.gauge("janitor_tombstones", marked, repository=name)
        done = Counter(d.result for d in report.done if not report.rehearsed)
        for result in Result:
            metrics.gauge("janitor_last_run_deletions", done[result], repository=name, result=result.value)
        self._write()

    def _write(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._metrics.exposition())
            fresh.replace(self._path)
        except OSError as error:
            raise ConfigError(
                f"{self._path}: metrics cannot be written ({error.strerror}); name a file in a directory of ours"
            ) from error
