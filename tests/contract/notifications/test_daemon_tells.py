"""What the daemon passes on to its sender: nothing of a cut listing, and in mode `observe` there is no sender."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pygit2
import pytest

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.local_store import record_ref
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.daemon import Daemon
from reconciler.events import Emitter
from reconciler.passes import PassReport
from reconciler.settings import load
from reconciler.telling import notified
from tests.contract.notifications.test_notifications import TAKEN, types
from tests.fixtures.registry_stub import Stub
from tests.fixtures.shop import DOCS, Shop, changes, eventually

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@pytest.fixture
def told(shop: Shop, stub: Stub) -> Stub:
    """The receiver that the shop's configuration names."""
    stub.script(TAKEN)
    secret = shop.root / "notify-secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    named: dict[str, Any] = {"url": f"{stub.url}/hook", "signing_secret_file": str(secret)}
    shop.configure(notifications=named, listen={"private": None}, poll_interval_s=1)
    return stub


def test_what_a_cut_listing_lacks_has_not_ended(shop: Shop, told: Stub) -> None:
    number, _ = shop.opens("orders", changes("orders"))
    code = pygit2.Repository(str(shop.code))
    record, damaged = code.references[record_ref(number)].target, code.create_blob(b"{}")

    def waits(report: PassReport) -> bool:
        """A build is waited for: somebody is told, then the listing is cut."""
        eventually("the hold is told", lambda: types(told.requests) == ["hold.appeared"])
        code.references[record_ref(number)].set_target(damaged)
        return report.complete

    def cut(report: PassReport) -> bool:
        code.references[record_ref(number)].set_target(record)
        shop.opens("docs", DOCS)
        return not report.complete

    def filled(report: PassReport) -> bool:
        eventually("the other head is told", lambda: "head.completed" in types(told.requests))
        return report.complete

    steps: list[Callable[[PassReport], bool]] = [waits, cut, filled]

    def passed(_: str, report: PassReport) -> None:
        assert steps.pop(0)(report)
        if not steps:
            daemon.stop()

    daemon = Daemon(shop.config, Emitter(lambda _: None, SystemClock()), passed)
    daemon.run()
    assert types(told.requests) == ["hold.appeared", "head.completed"]


@pytest.mark.parametrize("mode", ["observe", "fill"])
def test_in_mode_observe_nobody_is_told(shop: Shop, told: Stub, mode: str) -> None:
    settings = load(shop.configure(mode=mode)).settings
    clock = SystemClock()
    with notified(
        settings,
        lambda _: None,
        clock=clock,
        random=SystemRandom(),
        metrics=PrometheusMetrics(),
        emit=Emitter(lambda _: None, clock),
    ) as sender:
        assert (sender is None) == (mode == "observe")
    assert told.requests == []
