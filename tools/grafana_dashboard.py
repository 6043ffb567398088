#!/usr/bin/env python3
"""Print the Grafana dashboard examples/grafana/ameide.json: the rows below, laid out in order. Needs nothing.

    tools/grafana_dashboard.py > examples/grafana/ameide.json

Source: Grafana, "JSON model" (schema version 39: Grafana 11 and newer).
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final, NamedTuple

_REPOSITORY: Final = 'repository=~"$repository"'


class Panel(NamedTuple):
    """One panel: its title, its expressions with their legends, and how it is drawn."""

    title: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    unit: str = "short"
    stacked: bool = False


ROWS: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Is it well?",
        (
            Panel(
                "Age of truth",
                ((f"time() - ameide_last_complete_listing_timestamp_seconds{{{_REPOSITORY}}}", "{{repository}}"),),
                "stat",
                "s",
            ),
            Panel("Quarantined heads", ((f"ameide_quarantined_heads{{{_REPOSITORY}}}", "{{repository}}"),), "stat"),
            Panel(
                "Integrity violations, 24 h",
                ((f"increase(ameide_integrity_violations_total{{{_REPOSITORY}}}[24h])", "{{repository}}"),),
                "stat",
            ),
            Panel("Configuration in force", (("ameide_config_last_load_successful", "accepted"),), "stat"),
        ),
    ),
    (
        "Heads",
        (
            Panel(
                "Heads by state",
                ((f"sum by (state) (ameide_heads{{{_REPOSITORY}}})", "{{state}}"),),
                stacked=True,
            ),
            Panel(
                "Holds by reason",
                ((f"sum by (reason) (ameide_holds{{{_REPOSITORY}}}) > 0", "{{reason}}"),),
                stacked=True,
            ),
            Panel(
                "Time to a complete head",
                (
                    (
                        "histogram_quantile(0.5, sum by (le) "
                        f"(rate(ameide_head_completion_seconds_bucket{{{_REPOSITORY}}}[1h])))",
                        "half of them",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (le) "
                        f"(rate(ameide_head_completion_seconds_bucket{{{_REPOSITORY}}}[1h])))",
                        "19 of 20",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Baselines that are not main",
                ((f"sum by (kind) (ameide_baseline_drift{{{_REPOSITORY}}})", "{{kind}}"),),
            ),
        ),
    ),
    (
        "Passes",
        (
            Panel(
                "Passes by result",
                ((f"sum by (result) (rate(ameide_passes_total{{{_REPOSITORY}}}[5m]))", "{{result}}"),),
                unit="ops",
                stacked=True,
            ),
            Panel(
                "Time of a pass by stage",
                (
                    (
                        f"sum by (stage) (rate(ameide_pass_stage_seconds_sum{{{_REPOSITORY}}}[5m]))"
                        " / on () group_left () "
                        f"sum(rate(ameide_pass_seconds_count{{{_REPOSITORY}}}[5m]))",
                        "{{stage}}",
                    ),
                ),
                unit="s",
                stacked=True,
            ),
            Panel("Not read", ((f"ameide_unread{{{_REPOSITORY}}}", "{{repository}}"),)),
            Panel("Log entries not pushed", ((f"ameide_log_unpushed_entries{{{_REPOSITORY}}}", "{{repository}}"),)),
        ),
    ),
    (
        "Writes and budgets",
        (
            Panel(
                "Tag writes by result",
                (("sum by (result) (rate(ameide_tag_writes_total[5m]))", "{{result}}"),),
                unit="ops",
                stacked=True,
            ),
            Panel(
                "Tag writes left this hour", ((f"ameide_write_budget_remaining{{{_REPOSITORY}}}", "{{repository}}"),)
            ),
            Panel(
                "Forge quota left",
                (
                    (
                        f"ameide_forge_quota_remaining{{{_REPOSITORY}}} / ameide_forge_quota_limit{{{_REPOSITORY}}}",
                        "{{repository}}",
                    ),
                ),
                unit="percentunit",
            ),
            Panel(
                "Requests by status",
                (
                    ("sum by (host, status) (rate(ameide_registry_requests_total[5m]))", "{{host}} {{status}}"),
                    (
                        f"sum by (repository, status) (rate(ameide_forge_requests_total{{{_REPOSITORY}}}[5m]))",
                        "forge of {{repository}} {{status}}",
                    ),
                ),
                unit="reqps",
            ),
        ),
    ),
    (
        "Publishing and previews",
        (
            Panel(
                "GitOps pull requests",
                ((f"sum by (state) (ameide_gitops_pull_requests{{{_REPOSITORY}}}) > 0", "{{state}}"),),
            ),
            Panel(
                "Approvals that do not count now",
                ((f"sum by (code) (ameide_approvals_refused{{{_REPOSITORY}}}) > 0", "{{code}}"),),
            ),
            Panel(
                "Notifications by result",
                ((f"sum by (result) (increase(ameide_notifications_total{{{_REPOSITORY}}}[5m]))", "{{result}}"),),
            ),
            Panel(
                "Preview namespaces",
                ((f"sum by (reason) (ameide_janitor_namespaces{{{_REPOSITORY}}}) > 0", "{{reason}}"),),
            ),
        ),
    ),
    (
        "The process",
        (
            Panel("Memory", (('process_resident_memory_bytes{job="ameide"}', "{{instance}}"),), unit="bytes"),
            Panel("Processor", (('rate(process_cpu_seconds_total{job="ameide"}[5m])', "{{instance}}"),)),
            Panel("Open files", (('process_open_fds{job="ameide"}', "{{instance}}"),)),
            Panel("Size of the log", ((f"ameide_log_size_bytes{{{_REPOSITORY}}}", "{{repository}}"),), unit="bytes"),
        ),
    ),
)
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_PANEL_WIDTH, _PANEL_HEIGHT, _GRID_WIDTH = 6, 7, 24


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        position = {"h": 1, "w": _GRID_WIDTH, "x": 0, "y": top}
        panels.append(
            {
                "collapsed": False,
                "gridPos": position,
                "id": len(panels) + 1,
                "panels": [],
                "title": title,
                "type": "row",
            }
        )
        top += 1
        for number, panel in enumerate(row):
            position = {"h": _PANEL_HEIGHT, "w": _PANEL_WIDTH, "x": number * _PANEL_WIDTH, "y": top}
            panels.append(_panel(panel, position, len(panels) + 1))
        top += _PANEL_HEIGHT
    return {
        "editable": True,
        "panels": panels,
        "refresh": "1m",
        "schemaVersion": 39,
        "tags": ["ameide"],
        "templating": {"list": [_datasource_variable(), _repository_variable()]},
        "time": {"from": "now-6h", "to": "now"},
        "title": "ameide",
        "uid": "ameide",
    }


def _panel(panel: Panel, position: dict[str, int], number: int) -> dict[str, Any]:
    stacking = {"mode": "normal" if panel.stacked else "none"}
    custom = {"custom": {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking}}
    return {
        "datasource": _DATASOURCE,
        "fieldConfig": {
            "defaults": {"min": 0, "unit": panel.unit, **(custom if panel.kind == "timeseries" else {})},
            "overrides": [],
        },
        "gridPos": position,
        "id": number,
        "targets": [
            {"datasource": _DATASOURCE, "expr": expression, "legendFormat": legend, "refId": chr(ord("A") + n)}
            for n, (expression, legend) in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": panel.kind,
    }


def _datasource_variable() -> dict[str, Any]:
    return {"label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource"}


def _repository_variable() -> dict[str, Any]:
    return {
        "current": {"text": "All", "value": "$__all"},
        "datasource": _DATASOURCE,
        "includeAll": True,
        "label": "Repository",
        "multi": True,
        "name": "repository",
        "query": {"query": "label_values(ameide_heads, repository)", "refId": "repository"},
        "refresh": 2,
        "type": "query",
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
