"""docs/operator-manual.md and the pages it names know every metric, label, log line, alert and notification."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler import events
from reconciler.approval.codes import Code
from reconciler.events import Event
from reconciler.metric_table import JANITOR_METRICS, LABELS, METRICS, Kind, Metric, exposed_name
from reconciler.notifying.notices import NoticeType
from reconciler.stages import Stage
from state.hold import Reason
from tools import operator_manual

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ALL = {**METRICS, **JANITOR_METRICS}
SOURCES = {
    path: path.read_text()
    for path in (ROOT / "reconciler").rglob("*.py")
    if path.name not in {"metric_table.py", "events.py"}
}


def test_the_tables_are_those_of_the_code() -> None:
    page = operator_manual.PAGE.read_text()
    assert operator_manual.rendered(page) == page, "run: .venv/bin/python -m tools.operator_manual"


def test_every_log_line_has_a_meaning_and_from_warning_on_a_thing_to_do() -> None:
    told = operator_manual.meanings()
    assert set(told) == {event.value for event in Event}
    assert all(text.endswith(".") and len(text) > 20 for text in told.values())


def test_every_log_line_is_written_somewhere_and_every_metric_is_set_somewhere() -> None:
    code = "\n".join([*SOURCES.values(), Path(events.__file__).read_text().partition("class Emitter:")[2]])
    assert [event.name for event in Event if f"Event.{event.name}" not in code] == []
    assert [name for name in ALL if f'"{name}"' not in code] == []


@pytest.mark.parametrize(("name", "metric"), ALL.items(), ids=ALL)
def test_a_metric_follows_the_conventions(name: str, metric: Metric) -> None:
    """Source: prometheus.io, "Metric and label naming" and what `promtool check metrics` warns of."""
    exposed = exposed_name(name, metric)
    assert re.fullmatch(r"ameide_[a-z]+(_[a-z]+)*", exposed)
    assert exposed.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert exposed.endswith("_seconds") or metric.kind is not Kind.HISTOGRAM
    assert not re.search(r"_(count|sum|bucket)$", exposed)
    assert not re.search(r"_(milliseconds|ms|minutes|kb|mb|percent|gauge|counter|histogram)(_|$)", exposed)
    assert "timestamp" not in exposed or exposed.endswith("_timestamp_seconds")
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert metric.help.endswith(".")
    assert set(metric.labels) <= LABELS.keys()
    assert not set(metric.labels) & {"le", "quantile", "job", "instance"}


def test_no_label_is_told_that_no_metric_has() -> None:
    assert {label for metric in ALL.values() for label in metric.labels} == LABELS.keys()


def test_every_stage_is_named() -> None:
    assert re.findall(r"`([a-z]+)`", LABELS["stage"]) == [stage.value for stage in Stage]


@pytest.mark.parametrize(
    ("page", "members"),
    [
        ("troubleshooting.md", [reason.value for reason in Reason]),
        ("approvals.md", [code.value for code in Code]),
        ("notifications.md", [kind.value for kind in NoticeType]),
    ],
)
def test_the_page_of_a_closed_list_knows_each_member(page: str, members: list[str]) -> None:
    assert f"]({page}" in operator_manual.PAGE.read_text(), "the manual names the page"
    text = (DOCS / page).read_text()
    assert [member for member in members if f"`{member}`" not in text] == []


def test_no_notification_is_described_that_is_not_sent() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \|", (DOCS / "notifications.md").read_text(), re.MULTILINE)
    assert rows == [kind.value for kind in NoticeType]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_the_two_pages_leads_somewhere() -> None:
    for page in (operator_manual.PAGE, DOCS / "notifications.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            path = DOCS / name if name else page
            assert path.is_file(), target
            assert not anchor or anchor in anchors(path), target
