"""The proxy of the chaos runs: which faults have an effect, what the client sees of it, and what is written down."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256

import pytest
import requests

from tests.chaos.proxy import Aim, Fault, FaultProxy, Loop, TagWrite
from tests.fixtures.registry_stub import Reply, Stub
from tests.fixtures.shop import eventually

PATH = "/v2/shop/orders/manifests/" + "a" * 40
BODY = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{sha256(BODY).hexdigest()}"


@pytest.fixture
def proxy(stub: Stub) -> Iterator[FaultProxy]:
    stub.answer = lambda _: Reply(201, {"Docker-Content-Digest": DIGEST}, b"x" * 1000)
    loop = Loop()
    made = FaultProxy(loop, "registry", stub.port, seed=1)
    yield made
    made.close()
    loop.close()


def puts(proxy: FaultProxy) -> int | None:
    """The status of the answer; None where there is none, or not all of it."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.put(f"http://127.0.0.1:{proxy.port}{PATH}", data=BODY, timeout=20).status_code
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None


@pytest.mark.parametrize(
    ("fault", "arrives", "says"),
    [
        (Fault.REFUSE, False, {None}),
        (Fault.RESET_BEFORE, False, {None}),
        (Fault.ANSWER_5XX, False, {502, 503}),
        (Fault.RESET_AFTER, True, {None}),
        (Fault.LOST_5XX, True, {502, 503}),
        (Fault.CUT, True, {None}),
    ],
)
def test_a_fault_has_its_effect_or_none_and_the_client_cannot_tell(
    proxy: FaultProxy, stub: Stub, fault: Fault, arrives: bool, says: set[int | None]
) -> None:
    proxy.rate, proxy.drawn_from = 1.0, (fault,)
    assert puts(proxy) in says
    assert [(seen.method, seen.path, seen.body) for seen in stub.requests] == [("PUT", PATH, BODY)] * arrives
    written = TagWrite("shop/orders", "a" * 40, DIGEST, 201, delivered=False, hands=False)
    eventually("it is written down", lambda: proxy.tag_writes == [written] * arrives)
    assert dict(proxy.faults) == {fault.value: 1}
    with proxy:
        assert puts(proxy) == 201, "who is at work by hand meets none"
    by_hand = written._replace(delivered=True, hands=True)
    eventually("it is written down", lambda: proxy.tag_writes == [written] * arrives + [by_hand])


@pytest.mark.parametrize("after", [False, True])
def test_a_deed_is_aimed_before_a_request_or_after_its_effect(proxy: FaultProxy, stub: Stub, after: bool) -> None:
    done = threading.Event()
    proxy.aim(Aim(lambda request: request.method == "PUT", 2, done.set, after=after))
    assert (puts(proxy), done.is_set()) == (201, False)
    assert (puts(proxy), done.is_set()) == (None, True)
    assert len(stub.requests) == 1 + after
    assert puts(proxy) == 201


def test_a_server_that_is_not_there_resets(proxy: FaultProxy, stub: Stub) -> None:
    stub.close()
    assert puts(proxy) is None
    eventually("it is written down", lambda: [write.status for write in proxy.tag_writes] == [None])
