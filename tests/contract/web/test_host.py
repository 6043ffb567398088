"""The HTTP host on real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import requests

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter, Field
from reconciler.web.host import PRIVATE_BODY_MAX_BYTES, PUBLIC_BODY_MAX_BYTES, Host
from state.errors import ConfigError

ANY = "127.0.0.1:0"
PRIVATE = ("/", "/healthz", "/readyz", "/metrics")


class Health:
    alive = True
    readiness = (True, "ready")

    def live(self) -> bool:
        return self.alive

    def ready(self) -> tuple[bool, str]:
        return self.readiness


class Running:
    """A host with both listeners, and what it emitted."""

    def __init__(self, **options: Any) -> None:
        self.health = Health()
        self.lines: list[dict[str, Field]] = []
        self.metrics: Callable[[], bytes] = PrometheusMetrics().exposition
        self.host = Host(
            health=self.health,
            metrics=self.exposition,
            emitter=Emitter(lambda r: self.lines.append(dict(r)), SystemClock()),
            **{"private": ANY, "public": ANY, **options},
        )
        self.host.start()

    def exposition(self) -> bytes:
        return self.metrics()

    def url(self, listener: str, path: str) -> str:
        host, port = getattr(self.host, f"{listener}_address")
        return f"http://{host}:{port}{path}"

    def ask(self, listener: str, path: str, method: str = "GET", **kwargs: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url(listener, path), timeout=10, allow_redirects=False, **kwargs)


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.host.stop()


def test_liveness_is_what_the_loop_says(running: Running) -> None:
    assert running.ask("private", "/healthz").status_code == 200
    running.health.alive = False
    assert running.ask("private", "/healthz").status_code == 503


def test_readiness_says_why_not(running: Running) -> None:
    assert running.ask("private", "/readyz").status_code == 200
    running.health.readiness = (False, "the configuration was refused")
    answer = running.ask("private", "/readyz")
    assert (answer.status_code, answer.text) == (503, "the configuration was refused\n")


def test_a_reason_that_quotes_a_stranger_steers_no_terminal(running: Running) -> None:
    running.health.readiness = (False, "one\n  two \x1b[2J\u202e")
    assert running.ask("private", "/readyz").text == "one\n  two \\x1b[2J\\u202e\n"


def test_metrics_are_in_the_text_format(running: Running) -> None:
    answer = running.ask("private", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE ameide_tag_writes_total counter" in answer.text


def test_the_index_names_the_paths(running: Running) -> None:
    text = running.ask("private", "/").text
    assert all(path in text for path in PRIVATE[1:])


@pytest.mark.parametrize("path", [*PRIVATE, "/metrics/", "//metrics", "/x/../metrics", "/%6detrics", "/metrics?x=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_the_public_listener_never_serves_a_private_path(running: Running, path: str, method: str) -> None:
    answer = running.ask("public", path, method, headers={"Host": "127.0.0.1", "X-Forwarded-Host": "private"})
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert b"ameide_" not in answer.content
    if method != "HEAD":
        assert answer.json() == {"error": "Not Found", "status": 404}


def test_only_reading_methods_are_answered(running: Running) -> None:
    answer = running.ask("private", "/healthz", "POST", data=b"x")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert running.ask("private", "/nothing").status_code == 404
    assert running.ask("private", "/healthz", "HEAD").content == b""


@pytest.mark.parametrize(
    ("listener", "limit"), [("private", PRIVATE_BODY_MAX_BYTES), ("public", PUBLIC_BODY_MAX_BYTES)]
)
def test_a_body_over_the_limit_never_reaches_the_application(running: Running, listener: str, limit: int) -> None:
    assert running.ask(listener, "/x", "POST", data=b"x" * limit).status_code == 404
    assert running.ask(listener, "/x", "POST", data=b"x" * (limit + 1)).status_code == 413


def test_a_streamed_body_over_the_limit_is_cut_off_too(running: Running) -> None:
    def chunks() -> Iterable[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    try:
        status = running.ask("public", "/x", "POST", data=chunks()).status_code
    except requests.ConnectionError:
        status = 413  # hung up on while still sending, which is as good
    assert status == 413


def test_large_headers_are_refused(running: Running) -> None:
    assert running.ask("public", "/", headers={"X-Large": "x" * 100_000}).status_code == 431


def test_a_fault_is_told_to_the_operator_and_not_to_the_client(running: Running) -> None:
    def broken() -> bytes:
        raise RuntimeError("inner detail")

    running.metrics = broken
    answer = running.ask("private", "/metrics")
    assert answer.status_code == 500
    assert "inner detail" not in answer.text
    assert running.lines[-1]["event"] == "request_failed"
    assert running.lines[-1]["error"] == "RuntimeError: inner detail"
    assert running.ask("private", "/healthz").status_code == 200


def test_every_answer_forbids_caching_and_sniffing_and_names_no_server(running: Running) -> None:
    for listener in ("private", "public"):
        headers = running.ask(listener, "/healthz").headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in headers


def test_an_application_can_be_put_on_the_public_listener() -> None:
    def outside(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    running = Running(outside=outside)
    try:
        assert running.ask("public", "/hooks").text == "/hooks"
    finally:
        running.host.stop()


def test_bound_addresses_are_told_and_a_missing_listener_has_none() -> None:
    running = Running(public=None)
    try:
        host, port = running.host.private_address or ("", 0)
        assert host == "127.0.0.1"
        assert running.host.public_address is None
        assert running.lines[0]["address"] == f"127.0.0.1:{port}"
    finally:
        running.host.stop()


def test_a_taken_address_is_refused_and_nothing_stays_bound() -> None:
    with socket.socket() as taken, socket.socket() as probe:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        before = threading.active_count()
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:"):
            Running(private=f"127.0.0.1:{free}", public=f"127.0.0.1:{taken.getsockname()[1]}")
        assert threading.active_count() == before
        with socket.socket() as again:
            again.bind(("127.0.0.1", free))


def test_stopping_ends_every_thread_and_connection_even_with_an_idle_client() -> None:
    before = threading.active_count()
    running = Running()
    with socket.create_connection(running.host.private_address or ("", 0), timeout=10) as idle:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\nok\n"):  # head and body may come in two pieces
            piece = idle.recv(4096)
            assert piece, answer
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200")
        running.host.stop()
        assert idle.recv(4096) == b""
    assert threading.active_count() == before
    running.host.stop()


def test_a_request_that_runs_is_finished_before_the_host_stops() -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        assert go.wait(10)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    running = Running(outside=slow)
    answers: list[bytes] = []
    client = threading.Thread(target=lambda: answers.append(running.ask("public", "/").content))
    client.start()
    assert entered.wait(10)
    stopper = threading.Thread(target=running.host.stop)
    stopper.start()
    go.set()
    stopper.join(10)
    client.join(10)
    assert not stopper.is_alive()
    assert answers == [b"done"]
