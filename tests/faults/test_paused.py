"""A reconciler that stands still (SIGSTOP) while another takes its log over: on waking up it writes nothing more."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_daemon import Start, start
from tests.fixtures.registry_stub import Front, Reply, Seen, Stub
from tests.fixtures.shop import DOCS, Shop, serving

assert start


@pytest.fixture
def front(tmp_path: Path, stub: Stub) -> Iterator[Front]:
    with serving(tmp_path / "registry") as upstream:
        yield Front(stub, upstream.host)


@pytest.fixture
def shop(tmp_path: Path, front: Front) -> Shop:
    (tmp_path / "shop").mkdir()
    return Shop(tmp_path / "shop", front.host)


@pytest.mark.parametrize("method", ["HEAD", "PUT"], ids=["while it looks", "while it writes"])
def test_a_reconciler_that_stood_still_overwrites_nothing_that_was_made_meanwhile(
    shop: Shop, front: Front, start: Start, method: str
) -> None:
    _, head = shop.opens("docs", DOCS)
    held, go = threading.Event(), threading.Event()
    pid: list[int] = []
    known = threading.Event()

    def fault(seen: Seen) -> Reply | None:
        if held.is_set() or (seen.method, seen.path) != (method, f"/v2/shop/orders/manifests/{head}"):
            return None
        known.wait(20)
        os.kill(pid[0], signal.SIGSTOP)
        held.set()
        go.wait(20)
        # The look is answered with what was true then, and the write did not arrive: the client will try it again.
        return Reply(404) if method == "HEAD" else Reply(503)

    front.fault = fault
    process = start()
    pid.append(process.popen.pid)
    known.set()
    try:
        assert held.wait(20)
        theirs = shop.world.ci_builds("orders", head)
        next(shop.log.glob("*.flock")).unlink()  # another machine on a shared disk does not see this lock
        with shop.reconciler() as other:
            other.until_quiet()
        entries = [e.id for e in shop.entries()]
    finally:
        os.kill(pid[0], signal.SIGCONT)
        go.set()
    assert process.ends() == 3
    assert process.events("writer_fenced")
    assert "Traceback" not in process.log
    assert shop.tags(head)["orders"] == theirs != shop.main("orders")
    assert [e.id for e in shop.entries()] == entries
    shop.verified()
