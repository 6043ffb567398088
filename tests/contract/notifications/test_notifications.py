"""State changes told to a real HTTP server that fails in every way, from a real log of real passes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemRandom
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.notifier_http import HttpReceiver, bearer, signed_by
from reconciler.demo.world import REPOSITORY_ID
from reconciler.events import Emitter, Field
from reconciler.notifying.memory import Memory
from reconciler.notifying.notices import NoticeType
from reconciler.notifying.outbox import Outbox, Standing
from reconciler.notifying.sender import Sender
from reconciler.passes import PassReport
from reconciler.webhooks.signatures import Sender as Deliverer
from reconciler.webhooks.signatures import is_signed
from state.entry import Kind
from state.log_read import LogReader
from tests.e2e.test_drift import moved
from tests.fixtures.registry_stub import Reply, Seen, Stub
from tests.fixtures.shop import DOCS, LOG_REF, SWEPT_S, Running, Shop, SkewedClock, changes

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
TAKEN = Reply(202)


class Told:
    """A sender without its thread, on the shop's log; every pause is over when a test says so."""

    def __init__(self, shop: Shop, stub: Stub, **options: Any) -> None:
        self.clock = SkewedClock()
        self.metrics = PrometheusMetrics()
        self.lines: list[dict[str, Field]] = []
        self.memory = shop.root / "state" / "notifications" / "1.json"
        emit = Emitter(lambda r: self.lines.append(dict(r)), self.clock)
        secret = shop.root / "notify-secret"
        if not secret.exists():
            secret.write_text(SECRET + "\n")
        self.receiver = HttpReceiver(stub.url + "/hook", signed_by(secret, self.clock), self.clock)
        wanted, max_age_s = options.get("wanted", frozenset(NoticeType)), options.get("max_age_s", 3600)

        def box(_: str) -> tuple[int, Outbox]:
            made = Outbox(
                lambda: LogReader(shop.log, LOG_REF),
                Memory(self.memory),
                self.clock,
                wanted=wanted,
                max_age_s=max_age_s,
                on_lost=lambda error: self.lines.append({"event": "lost", "error": str(error)}),
            )
            return REPOSITORY_ID, made

        self.sender = Sender(
            self.receiver, box, clock=self.clock, random=SystemRandom(), metrics=self.metrics, emit=emit
        )

    def passed(self, report: PassReport) -> None:
        self.sender.passed("shop", Standing(report.conditions, report.observed_in))
        self.sender.turn()

    def counted(self, result: str) -> float:
        text = self.metrics.exposition().decode()
        found = [line for line in text.splitlines() if f'result="{result}"' in line and "notifications_total" in line]
        return float(found[0].rpartition(" ")[2]) if found else 0.0


@pytest.fixture
def receiver() -> Iterator[Stub]:
    made = Stub()
    made.script(TAKEN)
    yield made
    made.close()


Tell = Callable[..., Told]


@pytest.fixture
def tell(shop: Shop, receiver: Stub) -> Iterator[Tell]:
    made: list[Told] = []

    def start(**options: Any) -> Told:
        made.append(Told(shop, receiver, **options))
        return made[-1]

    yield start
    for each in made:
        each.receiver.close()


def events(seen: list[Seen]) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in seen]


def types(seen: list[Seen]) -> list[str]:
    return [event["type"].removeprefix("dev.ameide.") for event in events(seen)]


@contextmanager
def one_filled_head(shop: Shop) -> Iterator[tuple[Running, PassReport, str]]:
    _, head = shop.opens("docs", DOCS)
    with shop.reconciler() as running:
        yield running, running.until_quiet(), head


def test_a_completed_head_is_a_cloud_event_signed_as_standard_webhooks(shop: Shop, receiver: Stub, tell: Tell) -> None:
    with one_filled_head(shop) as (_, report, head):
        other = tell(wanted=frozenset({NoticeType.HOLD_APPEARED}))
        other.passed(report)
        assert receiver.requests == [], "only the types that are asked for are told"
        other.memory.unlink()
        tell().passed(report)
    (seen,) = receiver.requests
    assert (seen.method, seen.path) == ("POST", "/hook")
    assert seen.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert is_signed(Deliverer.GITLAB, [SECRET], seen.headers, seen.body, datetime.now(UTC))
    assert not is_signed(Deliverer.GITLAB, [SECRET], seen.headers, seen.body + b" ", datetime.now(UTC))
    event = json.loads(seen.body)
    # Source: CloudEvents 1.0.2, "Required Attributes"; JSON event format 1.0.2.
    assert {"specversion", "id", "source", "type"} <= event.keys()
    assert all(name.isalnum() and name.islower() for name in event)
    assert event["specversion"] == "1.0"
    assert event["type"] == "dev.ameide.head.completed"
    assert event["source"] == f"urn:ameide:repository:{REPOSITORY_ID}"
    assert event["subject"] == f"head/{head}"
    assert seen.headers["webhook-id"] == event["id"]
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert event["data"]["pull_requests"] == [1]
    assert event["data"]["head"] == head
    assert event["data"]["repository"] == "shop"


def test_a_hold_is_told_when_it_appears_and_when_it_is_cleared(shop: Shop, receiver: Stub, tell: Tell) -> None:
    _, head = shop.opens("orders", changes("orders"))
    told = tell()
    with shop.reconciler() as running:
        told.passed(running.until_quiet())
        assert types(receiver.requests) == ["hold.appeared"]
        assert events(receiver.requests)[0]["data"]["reason"] == "awaits-build"
        told.passed(running.until_quiet())
        assert len(receiver.requests) == 1, "nothing changed"
        shop.world.ci_builds("orders", head)
        told.passed(running.until_quiet())
    assert types(receiver.requests[1:]) == ["hold.cleared", "head.completed"]
    assert len({event["id"] for event in events(receiver.requests)}) == 3


FAULTS = {
    "500": (Reply(500), 1),
    "429 with a pause": (Reply(429, {"Retry-After": "77"}), 77),
    "503 with a pause": (Reply(503, {"Retry-After": "77"}), 77),
    "404": (Reply(404), 1),
    "401": (Reply(401), 1),
    "it has read the request, and the answer is lost": (Reply(drop=True), 1),
    "a redirect": (Reply(302, {"Location": "/elsewhere"}), 1),
    "a redirect that keeps the method": (Reply(307, {"Location": "/elsewhere"}), 1),
}


def test_what_is_not_taken_is_sent_again_with_the_same_id_after_a_pause(shop: Shop, receiver: Stub, tell: Tell) -> None:
    with one_filled_head(shop) as (_, report, _head):
        for what, (fault, at_least_s) in FAULTS.items():
            receiver.requests.clear()
            receiver.script(fault, TAKEN)
            (shop.root / "state" / "notifications" / "1.json").unlink(missing_ok=True)
            told = tell()
            told.passed(report)
            (failed,) = [line for line in told.lines if line["event"] == "notification_failed"]
            wait_s = failed["retry_after_s"]
            assert isinstance(wait_s, float)
            assert wait_s >= at_least_s, what
            assert len(receiver.requests) == 1, what
            told.clock.skew_s += wait_s
            told.sender.turn()
            first, second = receiver.requests
            assert first.body == second.body
            assert first.headers["webhook-id"] == second.headers["webhook-id"]
            assert second.path == "/hook", "no redirect is followed"
            assert told.counted("delivered") == 1
            assert SECRET not in json.dumps(told.lines)


def test_a_notice_that_is_refused_for_its_content_does_not_hold_back_the_next(
    shop: Shop, receiver: Stub, tell: Tell
) -> None:
    receiver.script(Reply(422), TAKEN)
    shop.opens("docs", DOCS)
    shop.opens("more", {"README.md": "more\n"})
    told = tell()
    with shop.reconciler() as running:
        told.passed(running.until_quiet())
    assert len({event["subject"] for event in events(receiver.requests)}) == 2
    assert (told.counted("delivered"), told.counted("dropped")) == (1, 1)
    assert [line["reason"] for line in told.lines if line["event"] == "notification_dropped"] == ["refused"]


def test_a_restart_tells_nothing_again_and_a_lost_memory_tells_it_with_the_same_ids(
    shop: Shop, receiver: Stub, tell: Tell
) -> None:
    with one_filled_head(shop) as (running, report, head):
        moved(shop, "orders", head)
        told = tell()
        told.passed(report)
        running.clock.skew_s += SWEPT_S
        later = running.until_quiet()
        told.passed(later)
        first = events(receiver.requests)
        assert "dev.ameide.head.quarantined" in {event["type"] for event in first}
        again = tell()
        again.passed(later)
        assert events(receiver.requests) == first
        again.memory.write_bytes(again.memory.read_bytes()[:40])
        lost = tell()
        lost.passed(later)
    assert [line["event"] for line in lost.lines][:1] == ["lost"]
    repeated = events(receiver.requests)[len(first) :]
    of_log = [event for event in first if event["type"].endswith("quarantined")]
    assert [event for event in repeated if event["type"].endswith("quarantined")] == of_log
    assert lost.memory.read_bytes().startswith(b"{")


def test_a_crash_before_it_was_remembered_sends_it_again_with_the_same_id(
    shop: Shop, receiver: Stub, tell: Tell
) -> None:
    with one_filled_head(shop) as (_, report, _head):
        told = tell()
        told.memory.parent.parent.mkdir(exist_ok=True)
        told.memory.parent.write_text("no directory")  # the disk does not take it, as after a crash
        told.passed(report)
        assert told.lines[-1]["event"] == "notification_failed"
        told.memory.parent.unlink()
        tell().passed(report)
    first, second = receiver.requests
    assert first.body == second.body


def test_what_is_too_old_is_given_up_and_counted(shop: Shop, receiver: Stub, tell: Tell) -> None:
    receiver.script(Reply(500))
    with one_filled_head(shop) as (running, report, head):
        told = tell(max_age_s=3600)
        told.passed(report)
        receiver.script(TAKEN)
        told.clock.skew_s += 600
        told.sender.turn()
        moved(shop, "orders", head)
        running.clock.skew_s += SWEPT_S
        later = running.until_quiet()
        assert shop.entries(Kind.QUARANTINE)
        told.clock.skew_s = running.clock.skew_s + 2 * 3600
        told.passed(later)
    assert "head.quarantined" not in types(receiver.requests)
    assert "hold.appeared" in types(receiver.requests), "what stands now is told however long it has stood"
    assert told.counted("dropped") == 1


def test_a_bearer_token_is_sent_and_told_to_nobody_else(shop: Shop, receiver: Stub, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2hunter2\n")
    clock = SkewedClock()
    made = HttpReceiver(receiver.url, bearer(token), clock)
    assert made.deliver("1", b"{}").value == "taken"
    assert receiver.requests[0].headers["authorization"] == "Bearer hunter2hunter2"
    token.write_text("rotated\n")
    made.deliver("2", b"{}")
    assert receiver.requests[1].headers["authorization"] == "Bearer rotated"
    made.close()
