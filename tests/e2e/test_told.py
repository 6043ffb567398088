"""A running reconciler that is scraped, traced and told of: on real sockets, with a receiver that hangs."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.demo.world import REPOSITORY_ID
from reconciler.head_states import Drift, HeadState
from reconciler.matrix import State
from reconciler.metric_table import METRICS, exposed_name
from reconciler.stages import Stage
from state.entry import Kind
from state.hold import Reason
from tests.e2e.test_daemon import Process, Start, filled, start
from tests.fixtures.registry_stub import Reply, Seen, Stub
from tests.fixtures.shop import DOCS, Shop, changes, eventually

__all__ = ["start"]  # the fixture
SECRET = "whsec_" + base64.b64encode(b"planted-secret-of-notifications!").decode()


@pytest.fixture
def outside() -> Iterator[Stub]:
    """Collector and receiver in one: `/v1/traces` is answered; `/hook` hangs until the test is over."""
    stub = Stub()

    def answer(seen: Seen) -> Reply:
        if seen.path == "/hook":
            stub.closing.wait()
            return Reply(drop=True)
        return Reply(200, {"Content-Type": "application/json"}, b"{}")

    stub.answer = answer
    yield stub
    stub.close()


def spans(outside: Stub) -> list[dict[str, Any]]:
    bodies = [json.loads(seen.body) for seen in outside.requests if seen.path == "/v1/traces"]
    return [
        span
        for body in bodies
        for resource in body["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def scraped(process: Process) -> dict[str, list[tuple[str, dict[str, str], float]]]:
    """Family → its samples."""
    text = process.get("/metrics").text
    found = text_string_to_metric_families(text)
    return {family.name: [(s.name, dict(s.labels), s.value) for s in family.samples] for family in found}


def test_it_is_scraped_traced_and_told_of_and_a_receiver_that_hangs_is_in_nobodys_way(
    shop: Shop, start: Start, outside: Stub
) -> None:
    secret = shop.root / "notify"
    secret.write_text(SECRET + "\n")
    _, waiting = shop.opens("orders", changes("orders"))
    shop.configure(
        notifications={"url": f"{outside.url}/hook", "signing_secret_file": str(secret)},
        tracing={"endpoint": f"{outside.url}/v1/traces"},
    )
    process = start()
    process.until("pass_finished")
    eventually("the receiver hangs", lambda: [s for s in outside.requests if s.path == "/hook"])
    _, head = shop.opens("docs", DOCS)
    eventually("every tag of a later head", filled(shop, head))
    process.until_ready()
    eventually(
        "the pass that filled it has ended", lambda: "head_completion_seconds_count" in process.get("/metrics").text
    )

    # Numbers: every metric is announced, and no label grows with pull requests.
    families = scraped(process)
    names = {exposed_name(name, metric).removesuffix("_total") for name, metric in METRICS.items()}
    assert names <= families.keys()
    assert "process_resident_memory_bytes" in families
    for name, metric in METRICS.items():
        for sample, labels, _ in families[exposed_name(name, metric).removesuffix("_total")]:
            assert set(labels) - {"le"} == set(metric.labels), sample
    closed = {
        "heads": ("state", HeadState),
        "cells": ("state", State),
        "holds": ("reason", Reason),
        "baseline_drift": ("kind", Drift),
        "pass_stage": ("stage", Stage),
        "log_appends": ("kind", Kind),
    }
    for name, (label, members) in closed.items():
        samples = families[exposed_name(name, METRICS[name]).removesuffix("_total")]
        assert {labels[label] for _, labels, _ in samples} <= {member.value for member in members}
        assert samples, name
    values = {(n, *sorted(labels.items())): value for rows in families.values() for n, labels, value in rows}
    shop_label = ("repository", "shop")
    assert values["ameide_holds", ("reason", "awaits-build"), shop_label] == 1
    assert values["ameide_heads", shop_label, ("state", "waiting")] == 1
    assert values["ameide_log_size_bytes", shop_label] > 0
    assert values["ameide_config_last_load_successful",] == 1
    assert values["ameide_head_completion_seconds_count", shop_label] >= 1
    if (promtool := shutil.which("promtool")) is not None:
        text = process.get("/metrics").text
        linted = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert linted.returncode == 0, linted.stdout + linted.stderr

    # A configuration that is refused is a number too.
    shop.configure(mode="fil")
    process.until("config_refused")
    assert scraped(process)["ameide_config_last_load_successful"][0][2] == 0

    assert process.ends(signal.SIGTERM) == 0

    # Log lines: one id a pass, on each of its lines, and no secret.
    (finished, *_) = process.events("pass_finished")
    lines = [json.loads(line) for line in process.log.splitlines()]
    of_pass = [line for line in lines if line.get("pass_id") == finished["pass_id"]]
    assert {"pass_started", "pass_finished", "decision_pinned"} <= {line["event"] for line in of_pass}
    assert all(line["name"] == "shop" for line in of_pass)
    assert SECRET not in process.log

    # Spans: stages below their pass, calls below their stage, nothing that a pull request controls.
    found = spans(outside)
    assert len({span["spanId"] for span in found}) == len(found)
    by_id = {span["spanId"]: span for span in found}
    for span in found:
        assert re.fullmatch("[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch("[0-9a-f]{16}", span["spanId"])
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    stages = [span for span in found if span["name"].startswith("stage ")]
    assert {span["name"] for span in stages} >= {"stage list", "stage tags", "stage apply", "stage push"}
    assert {by_id[span["parentSpanId"]]["name"] for span in stages} == {"pass"}
    puts = [span for span in found if span["name"] == "PUT"]
    assert {by_id[span["parentSpanId"]]["name"] for span in puts} == {"stage apply"}
    told = json.dumps([span["attributes"] for span in found])
    assert head not in told
    assert waiting not in told
    assert "orders" not in told
    assert SECRET not in outside.requests[0].body.decode()
    assert (
        f"urn:ameide:repository:{REPOSITORY_ID}" in next(s for s in outside.requests if s.path == "/hook").body.decode()
    )


def test_without_a_collector_no_span_is_kept_and_nobody_is_asked(shop: Shop, outside: Stub) -> None:
    shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        running.until_quiet()
        text = running.metrics.exposition().decode()
    assert outside.requests == []
    assert "ameide_spans_total{" not in text
