"""Two replicas as processes: one works, the other takes over, and one that was cut off writes nothing more."""

from __future__ import annotations

import signal

from state.entry import Kind, Logged
from state.log_read import LogReader
from state.log_verify import verify
from tests.e2e.test_daemon import Process, Start, filled, start
from tests.fixtures.shop import DOCS, LOG_REF, eventually
from tests.fixtures.standby import Replicas

assert start

WITHIN_S = 120
"""Two processes start and a lease lapses: on a busy machine that takes its time."""


def entries(replicas: Replicas, *kinds: Kind) -> list[Logged]:
    """What is on the log's remote, verified."""
    report = verify(replicas.remote, allowed_signers_file=replicas.shop.allowed_signers)
    assert report.clean, report.problems
    return [e for e in LogReader(replicas.remote, LOG_REF).entries() if not kinds or e.entry.kind in kinds]


def leads(process: Process) -> bool:
    return process.readiness() == (200, "ready\n")


def until(process: Process, name: str) -> None:
    eventually(name, lambda: process.events(name), within_s=WITHIN_S)


def until_leading(process: Process) -> None:
    eventually("it leads", lambda: leads(process), within_s=WITHIN_S)


def pair(replicas: Replicas, start: Start) -> tuple[Process, Process]:
    """One that leads, and one that stands by."""
    first = start(replicas.config("a"))
    until_leading(first)
    second = start(replicas.config("b"))
    until(second, "standing_by")
    return first, second


def test_one_works_and_the_other_takes_over_when_it_ends_in_whatever_way(replicas: Replicas, start: Start) -> None:
    shop, api = replicas.shop, replicas.api
    first, second = pair(replicas, start)
    assert second.readiness() == (503, f"standing by: {api.holder()} holds the lease\n")
    assert second.get("/healthz").status_code == 200
    _, head = shop.opens("docs", DOCS)
    eventually("every tag of the head", filled(shop, head))
    # A leader whose clock was set back: that it renews is what counts.
    for _ in range(3):
        reads = api.requests(replicas.token("b"), "GET")
        api.edit(renewTime="1970-01-01T00:00:00.000000Z")
        eventually("a look", lambda reads=reads: api.requests(replicas.token("b"), "GET") > reads)  # type: ignore[misc]
    assert not second.events("leadership_taken")

    assert first.ends(signal.SIGTERM) == 0
    until_leading(second)
    again = start(replicas.config("a"))
    until(again, "standing_by")
    _, head = shop.opens("more", {"README.md": "more\n"})
    eventually("every tag of the next head", filled(shop, head))

    second.popen.kill()
    second.popen.wait()
    # A leader whose clock was set forth: that it does not renew any more is what counts.
    api.edit(renewTime="2100-01-01T00:00:00.000000Z")
    _, head = shop.opens("last", {"README.md": "last\n"})
    eventually("every tag of the last head", filled(shop, head), within_s=WITHIN_S)
    assert again.ends(signal.SIGTERM) == 0
    assert api.holder() == "", "given back"
    assert [e.entry.epoch for e in entries(replicas, Kind.EPOCH)] == [1, 2, 3]
    assert not any(p.events("writer_fenced") for p in (first, second, again))


def test_who_is_cut_off_from_the_lease_stops_and_the_other_goes_on(replicas: Replicas, start: Start) -> None:
    first, second = pair(replicas, start)
    with replicas.api.simulated.lock:
        replicas.api.cut_off.add(replicas.token("a"))
    eventually("it ends", lambda: first.popen.poll() is not None, within_s=WITHIN_S)
    assert first.ends() == 3
    assert "lease preview-system/ameide: not renewed within 5 s" in first.log
    assert "Traceback" not in first.log
    until_leading(second)
    _, head = replicas.shop.opens("docs", DOCS)
    eventually("every tag of the head", filled(replicas.shop, head))
    assert [e.entry.epoch for e in entries(replicas, Kind.EPOCH)] == [1, 2]
    assert second.ends(signal.SIGTERM) == 0
