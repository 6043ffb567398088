"""`ameide reconciler run` as a service of Type=notify: what it tells its manager, and when."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.test_daemon import Start, start
from tests.fixtures.notify import notify_socket
from tests.fixtures.shop import DOCS, Shop

assert start


def test_a_service_from_start_to_drain(shop: Shop, start: Start, tmp_path: Path) -> None:
    shop.configure(request_timeout_s=7)
    shop.opens("docs", DOCS)
    with notify_socket(str(tmp_path / "notify")) as manager:
        process = start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="180000000")
        first = manager.until(READY="1")
        assert first[0] == {"EXTEND_TIMEOUT_USEC": "88000000", "STATUS": "opening shop, 1 of 1"}
        assert process.events("started"), "READY=1 comes when the log is open and it listens"
        assert shop.entries()[1].entry.kind.value == "epoch"
        assert first[-1]["WATCHDOG_USEC"] == "88000000", "60 s more than one call of four tries of 7 s"
        manager.until(WATCHDOG="1")
        manager.until(STATUS="ready")
        assert process.ends(signal.SIGTERM) == 0
        assert {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "88000000", "STATUS": "draining"} in manager.sent()


def test_a_manager_whose_address_is_none_is_bad_input(shop: Shop, start: Start) -> None:
    process = start(NOTIFY_SOCKET="vsock:2:9999")
    assert process.ends() == 2
    assert "NOTIFY_SOCKET: expected /path or @name" in process.log
