"""SIGSTOP in the middle of a batch while the other replica takes over: the request on its way is the last one."""

from __future__ import annotations

import os
import signal
import threading

from state.entry import Kind
from tests.e2e.test_daemon import Start, filled, start
from tests.e2e.test_standby import WITHIN_S, entries, pair, until, until_leading
from tests.faults.test_paused import front, shop
from tests.fixtures.registry_stub import Front, Reply, Seen
from tests.fixtures.shop import DOCS, IMAGE_NAMES, eventually
from tests.fixtures.standby import Replicas

assert front
assert shop
assert start


def test_an_old_leader_that_wakes_up_writes_nothing_more(replicas: Replicas, front: Front, start: Start) -> None:
    shop = replicas.shop
    shop.configure(workers=1)
    first, second = pair(replicas, start)
    held, go = threading.Event(), threading.Event()
    late: list[str] = []

    def fault(seen: Seen) -> Reply | None:
        if seen.method != "PUT" or "/manifests/" not in seen.path:
            return None
        if not held.is_set():
            os.kill(first.popen.pid, signal.SIGSTOP)
            held.set()
            go.wait(WITHIN_S)
            return Reply(503)  # it did not arrive, and the client would try again
        late.append(seen.path)
        return None

    front.fault = fault
    try:
        _, head = shop.opens("docs", DOCS)
        assert held.wait(WITHIN_S)
        until(second, "leadership_taken")
        eventually("every tag of the head", filled(shop, head), within_s=WITHIN_S)
        written = len(late)
        assert written == len(IMAGE_NAMES), "the second one wrote each tag once"
        until_leading(second)
    finally:
        os.kill(first.popen.pid, signal.SIGCONT)
        go.set()
    assert first.ends() == 3
    assert "Traceback" not in first.log
    assert len(late) == written, "and the first one nothing"
    assert second.ends(signal.SIGTERM) == 0
    assert shop.tags(head) == {image: shop.main(image) for image in IMAGE_NAMES}
    outcomes = [row["result"] for e in entries(replicas, Kind.OUTCOME) for row in e.entry.body["writes"]]  # type: ignore[union-attr,call-overload,index]
    assert sorted(outcomes) == sorted(["dropped", "written"] * len(IMAGE_NAMES))
    assert [e.entry.epoch for e in entries(replicas, Kind.EPOCH)] == [1, 2]
