"""The example alerts and the dashboard: only metrics and labels that there are, and what to do about each alert."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.metric_table import JANITOR_METRICS, METRICS, Kind, exposed_name
from tests.unit.test_operator_manual import anchors
from tools import grafana_dashboard, operator_manual

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KNOWN = {exposed_name(name, metric): metric for name, metric in {**METRICS, **JANITOR_METRICS}.items()}
OF_PROCESS = {
    f"process_{name}"
    for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds", "start_time_seconds", "max_fds")
}
OF_THE_SCRAPE = {"job", "instance"}
"""Labels that Prometheus itself puts on every series."""


def rules() -> list[dict[str, Any]]:
    groups = YAML(typ="safe").load(operator_manual.ALERTS)["groups"]
    return [rule for group in groups for rule in group["rules"]]


def rule_tests() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load(EXAMPLES / "prometheus" / "ameide-alerts.test.yaml")["tests"]
    return found


def queries() -> list[str]:
    dashboard = json.loads((EXAMPLES / "grafana" / "ameide.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def unknown(expression: str) -> list[str]:
    """What an expression names that no scrape has: metrics, and labels of the metrics in it."""
    names = operator_manual.NAMES.findall(expression)
    families = {operator_manual.family(name) for name in names}
    wrong = sorted(families - KNOWN.keys() - OF_PROCESS)
    wrong += [n for n in names if n in KNOWN and KNOWN[n].kind is Kind.HISTOGRAM]  # a scrape has its parts alone
    histograms = {f for f in families if f in KNOWN and KNOWN[f].kind is Kind.HISTOGRAM}
    allowed = {label for f in families if f in KNOWN for label in KNOWN[f].labels} | OF_THE_SCRAPE
    allowed |= {"le"} if histograms else set()
    for found in re.findall(r"\b(?:by|without|on|group_left) \(([^)]*)\)", expression):
        wrong += [label for label in re.split(r"[,\s]+", found) if label and label not in allowed]
    for name, matchers in re.findall(r"([a-z_]+)\{([^}]*)\}", expression):
        metric = KNOWN.get(operator_manual.family(name))
        own = (set(metric.labels) if metric is not None else set()) | OF_THE_SCRAPE
        wrong += [label for label in re.findall(r"([a-z_]+)=", matchers) if label not in own]
    assert names, expression
    return wrong


@pytest.mark.parametrize("expression", [rule["expr"] for rule in rules()] + queries())
def test_an_expression_names_only_what_a_scrape_has(expression: str) -> None:
    assert unknown(expression) == []


@pytest.mark.parametrize(
    "expression",
    [
        "ameide_no_such > 0",
        "ameide_passes > 0",
        'ameide_passes_total{outcome="ready"}',
        "sum by (head) (ameide_holds)",
        "sum by (le) (ameide_holds)",
        "ameide_holds_bucket",
        "ameide_pass_seconds",
    ],
)
def test_a_wrong_expression_is_found(expression: str) -> None:
    assert unknown(expression)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"].endswith(".")
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(ROOT / path)


def test_the_manual_has_no_alert_that_is_gone_and_each_is_tested_both_ways() -> None:
    names = [rule["alert"] for rule in rules()]
    text = operator_manual.PAGE.read_text()
    assert re.findall(r"^### (Ameide\w+)$", text, re.MULTILINE) == names
    tested = [(t["name"], bool(t["alert_rule_test"][0]["exp_alerts"])) for t in rule_tests()]
    assert tested == [(f"{n} {what}", fires) for n in names for what, fires in (("fires", True), ("is silent", False))]


def test_the_dashboard_is_what_its_source_makes() -> None:
    made = (EXAMPLES / "grafana" / "ameide.json").read_text()
    assert made == grafana_dashboard.text(), "run: tools/grafana_dashboard.py > examples/grafana/ameide.json"
    panels = json.loads(made)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)


# --- with promtool


def promtool(*arguments: str, stdin: str | None = None) -> None:
    program = shutil.which("promtool")
    assert program is not None
    done = subprocess.run([program, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
def test_prometheus_takes_the_alerts_and_each_fires_on_what_it_is_about() -> None:
    folder = EXAMPLES / "prometheus"
    promtool("check", "rules", str(folder / "ameide-alerts.yaml"))
    promtool("test", "rules", str(folder / "ameide-alerts.test.yaml"))


@pytest.mark.promtool
def test_prometheus_takes_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    rows = [
        {"record": f"panel:{n}", "expr": expression.replace("$repository", ".*")}
        for n, expression in enumerate(queries())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rows}]}))
    promtool("check", "rules", str(file))
