"""Repeating, waiting, pacing: in manual time, so that nothing here sleeps."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import urllib3.exceptions

from reconciler.adapters.http_errors import unanswered
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_pacing import Pacer
from state.errors import Denied, Fenced, RateLimited, ReconcilerError, Terminal, Unavailable, Unsupported
from state.oci import OCI_INDEX, Tag
from tests.contract.registry.support import (
    MANIFEST,
    START,
    TAG,
    Connect,
    CountingMetrics,
    FixedRandom,
    ManualClock,
    repository,
)
from tests.fixtures.registry_stub import Reply, Seen, Stub, error

OK = Reply(200, {"Content-Type": OCI_INDEX, "Docker-Content-Digest": MANIFEST.digest}, MANIFEST.raw)
TODAY = {"Date": format_datetime(START, usegmt=True)}
CREATED = Reply(201, {"Docker-Content-Digest": MANIFEST.digest})
DROP = Reply(drop=True)


@pytest.mark.parametrize("passing", [Reply(s) for s in (408, 429, 500, 502, 503, 504)] + [DROP])
def test_a_passing_fault_is_tried_again(stub: Stub, client: Connect, passing: Reply) -> None:
    clock = ManualClock()
    registry = client(stub.host, clock=clock, random=FixedRandom(1))
    stub.script(passing, passing, OK)
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    assert clock.slept == [0.25, 0.5]
    stub.script(passing, CREATED)
    registry.put_manifest(repository(stub.host), TAG, MANIFEST)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 501])
def test_a_lasting_refusal_is_not_tried_again(stub: Stub, client: Connect, status: int) -> None:
    stub.script(Reply(status), CREATED)
    with pytest.raises((Denied, Terminal, Unsupported), match=str(status)):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    assert stub.methods() == ["PUT"]


@pytest.mark.parametrize(("share", "expected"), [(1, [0.25, 0.5, 1, 2, 4, 8, 8]), (0, [0] * 7), (0.5, [0.125, 0.25])])
def test_waits_double_up_to_a_cap_with_full_jitter(
    stub: Stub, client: Connect, share: float, expected: list[float]
) -> None:
    clock = ManualClock()
    stub.script(Reply(503))
    with pytest.raises(Unavailable, match=f"answered 503; tried {len(expected) + 1} times"):
        client(
            stub.host,
            clock=clock,
            random=FixedRandom(share),
            limits=Limits(attempts=len(expected) + 1, writes_per_s=None),
        ).manifest(repository(stub.host), TAG)
    assert clock.slept == expected
    assert len(stub.requests) == len(expected) + 1


@pytest.mark.parametrize(
    ("reply", "pause_s"),
    [
        (error(429, "TOOMANYREQUESTS", Retry_After="7"), 7),
        (error(503, "UNAVAILABLE", Retry_After=format_datetime(START + timedelta(seconds=9), usegmt=True), **TODAY), 9),
        (error(429, "TOOMANYREQUESTS", "retry-after: 10.3ms, allowed: 2000/minute"), 0.0103),
        (error(403, "DENIED", "rate limit; retry-after: 2s"), 2),
        (error(503, "X", Retry_After="soon"), 0),
        (error(503, "X", Retry_After=format_datetime(START - timedelta(seconds=9), usegmt=True), **TODAY), 0),
    ],
)
def test_the_pause_a_registry_asks_for_is_kept(stub: Stub, client: Connect, reply: Reply, pause_s: float) -> None:
    clock = ManualClock()
    stub.script(reply, OK)
    client(stub.host, clock=clock).manifest(repository(stub.host), TAG)
    assert sum(clock.slept) == pytest.approx(pause_s)


def test_a_date_to_come_back_at_is_read_by_the_clock_of_the_server(stub: Stub, client: Connect) -> None:
    theirs = START + timedelta(days=3)  # or ours was set back
    dates = {"Date": theirs, "Retry-After": theirs + timedelta(seconds=9)}
    stub.script(Reply(429, {name: format_datetime(at, usegmt=True) for name, at in dates.items()}), OK)
    clock = ManualClock()
    client(stub.host, clock=clock).manifest(repository(stub.host), TAG)
    assert sum(clock.slept) == 9


@pytest.mark.parametrize("asked", ["999999999", format_datetime(START + timedelta(days=3), usegmt=True)])
def test_no_answer_silences_us_for_more_than_an_hour(stub: Stub, client: Connect, asked: str) -> None:
    clock = ManualClock()
    registry = client(stub.host, clock=clock)
    stub.script(error(429, "TOOMANYREQUESTS", Retry_After=asked, **TODAY), OK)
    with pytest.raises(RateLimited) as caught:
        registry.manifest(repository(stub.host), TAG)
    assert caught.value.retry_after_s == 3600
    clock.advance(3601)
    assert registry.manifest(repository(stub.host), TAG) == MANIFEST


@pytest.mark.parametrize("status", [429, 503])
def test_a_pause_that_is_too_long_is_the_callers(stub: Stub, client: Connect, status: int) -> None:
    clock = ManualClock()
    stub.script(error(status, "X", Retry_After="31"))
    with pytest.raises((RateLimited, Unavailable)) as caught:
        client(stub.host, clock=clock).manifest(repository(stub.host), TAG)
    assert caught.value.retry_after_s == 31
    assert (len(stub.requests), clock.slept) == (1, [])


def test_a_call_never_waits_beyond_its_own_limit(stub: Stub, client: Connect) -> None:
    clock = ManualClock()
    stub.script(error(503, "X", Retry_After="20"))
    with pytest.raises(Unavailable):
        client(stub.host, clock=clock, limits=Limits(call_timeout_s=50, writes_per_s=None)).manifest(
            repository(stub.host), TAG
        )
    assert clock.slept == [20, 20]


def test_a_403_that_is_a_rate_limit_cools_its_owner_down_and_nobody_else(stub: Stub, client: Connect) -> None:
    clock = ManualClock()
    registry = client(stub.host, clock=clock)
    stub.script(error(403, "DENIED", "You have exceeded a secondary rate limit"))
    with pytest.raises(RateLimited) as caught:
        registry.manifest(repository(stub.host), TAG)
    assert caught.value.retry_after_s == 60
    stub.script(OK)
    clock.advance(10)
    with pytest.raises(RateLimited, match="nothing was sent") as held:
        registry.manifest(repository(stub.host, "acme/billing"), TAG)
    assert held.value.retry_after_s == 50
    assert len(stub.requests) == 1
    assert registry.manifest(repository(stub.host, "beta/billing"), TAG) == MANIFEST
    clock.advance(50)
    assert registry.manifest(repository(stub.host), TAG) == MANIFEST


def test_a_rate_limit_to_the_end_says_when_to_come_back(stub: Stub, client: Connect) -> None:
    stub.script(error(429, "TOOMANYREQUESTS"))
    with pytest.raises(RateLimited, match="tried 4 times") as caught:
        client(stub.host).manifest(repository(stub.host), TAG)
    assert caught.value.retry_after_s == 60


@pytest.mark.parametrize("fault", [DROP, Reply(504), Reply(500)])
def test_a_put_without_an_answer_says_that_it_may_have_happened(stub: Stub, client: Connect, fault: Reply) -> None:
    stub.script(fault, error(429, "TOOMANYREQUESTS", Retry_After="99"))
    with pytest.raises(RateLimited, match="the write may have happened"):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    stub.script(fault)
    with pytest.raises(Unavailable) as caught:
        client(stub.host).manifest(repository(stub.host, "beta/x"), TAG)
    assert "may have happened" not in str(caught.value)


@pytest.mark.parametrize("refused", [400, 401, 403, 404, 405, 409, 422])
def test_a_put_that_is_refused_when_it_is_sent_again_may_have_happened_before(
    stub: Stub, client: Connect, refused: int
) -> None:
    registry, where = client(stub.host), repository(stub.host)
    for put in (
        lambda: registry.put_manifest(where, TAG, MANIFEST),
        lambda: registry.put_tags(where, [TAG, Tag("b" * 40)], MANIFEST),
    ):
        stub.script(Reply(502), Reply(refused))
        with pytest.raises(Unavailable, match=f"answered {refused} .* the write may have happened before"):
            put()


def test_a_put_that_is_redirected_when_it_is_sent_again_may_have_happened_before(stub: Stub, client: Connect) -> None:
    registry, where = client(stub.host), repository(stub.host)
    redirected = Reply(303, {"Location": "https://login.example/"})
    stub.script(DROP, redirected)
    with pytest.raises(Unavailable, match=r"was redirected .* the write may have happened before"):
        registry.put_manifest(where, TAG, MANIFEST)
    stub.script(redirected)
    with pytest.raises(Terminal, match="was redirected"):
        registry.put_manifest(where, TAG, MANIFEST)


def test_an_immutable_tag_that_refuses_the_second_try_of_its_own_write_is_written(stub: Stub, client: Connect) -> None:
    stub.script(DROP, error(409, "TAG_INVALID"), OK)
    client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    assert stub.methods() == ["PUT", "PUT", "HEAD"]


def test_a_put_that_was_limited_or_never_sent_did_not_happen(stubs: Callable[..., Stub], client: Connect) -> None:
    stub = stubs()
    stub.script(error(429, "TOOMANYREQUESTS"))
    with pytest.raises(RateLimited) as limited:
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST)
    gone = stubs()
    gone.close()
    with pytest.raises(Unavailable, match="Connection refused") as refused:
        client(gone.host).put_manifest(repository(gone.host), TAG, MANIFEST)
    assert "may have happened" not in str(limited.value) + str(refused.value)


def test_leave_to_write_is_asked_for_before_every_try(stub: Stub, client: Connect) -> None:
    left = [None, None, Fenced("another writer took over")]

    def confirm() -> None:
        if (error := left.pop(0)) is not None:
            raise error

    stub.script(Reply(503), DROP, CREATED)
    with pytest.raises(Fenced):
        client(stub.host).put_manifest(repository(stub.host), TAG, MANIFEST, confirm)
    assert stub.methods() == ["PUT", "PUT"]


def test_an_upload_is_never_repeated(stub: Stub, client: Connect) -> None:
    stub.script(Reply(503))
    registry = client(stub.host)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(Unavailable):
            registry.do_request(f"{stub.url}/v2/acme/orders/blobs/uploads/1", method)
    assert stub.methods() == ["POST", "PUT", "PATCH", "DELETE"]


def test_every_request_is_counted(stub: Stub, client: Connect) -> None:
    metrics = CountingMetrics()
    stub.script(DROP, Reply(503), OK)
    client(stub.host, metrics=metrics).resolve(repository(stub.host), TAG)
    assert metrics.counted == {
        ("registry_requests", f"host={stub.host}", "method=HEAD", f"status={status}"): 1
        for status in ("none", "5xx", "2xx")
    } | {("registry_retries", f"host={stub.host}", "reason=unavailable"): 2}


# --- pacing ----------------------------------------------------------------------------------------------------------


def test_writes_of_one_owner_are_paced_and_reads_are_not(stub: Stub, client: Connect) -> None:
    clock = ManualClock()
    stub.answer = lambda seen: CREATED if seen.method == "PUT" else OK
    registry = client(stub.host, clock=clock, limits=Limits(writes_per_s=10, writes_burst=5))
    for _ in range(20):
        registry.resolve(repository(stub.host), TAG)
    for _ in range(5):
        registry.put_manifest(repository(stub.host), TAG, MANIFEST)
    assert clock.slept == []
    for n in range(10):
        registry.put_manifest(repository(stub.host, f"acme/r{n}"), TAG, MANIFEST)
    assert clock.slept == pytest.approx([0.1] * 10)
    registry.put_manifest(repository(stub.host, "beta/orders"), TAG, MANIFEST)
    assert len(clock.slept) == 10


def test_a_rate_limit_halves_the_write_rate_once_and_writes_raise_it_again() -> None:
    clock = ManualClock()
    pacer = Pacer("ghcr.io", Limits(writes_per_s=10, writes_burst=1), clock, clock.sleep)
    sent = [pacer.admit("acme", write=True, until=9e9) for _ in range(4)]
    for at in sent:
        pacer.limited("acme", sent_at=at, pause_s=1)
    assert pacer.rate("acme") == 5
    pacer.limited("acme", sent_at=pacer.admit("acme", write=True, until=9e9), pause_s=0)
    assert pacer.rate("acme") == 2.5
    for _ in range(1000):
        pacer.wrote("acme")
    assert pacer.rate("acme") == 10


def test_a_turn_too_far_off_is_refused_and_not_taken() -> None:
    clock = ManualClock()
    waits: list[float] = []
    pacer = Pacer("ghcr.io", Limits(writes_per_s=0.1, writes_burst=1), clock, waits.append)
    pacer.admit("acme", write=True, until=9e9)
    for _ in range(3):
        pacer.admit("acme", write=True, until=9e9)
    with pytest.raises(RateLimited) as caught:
        pacer.admit("acme", write=True, until=9e9)
    assert waits == pytest.approx([10, 20, 30])
    assert caught.value.retry_after_s == pytest.approx(40)
    with pytest.raises(RateLimited):
        pacer.admit("acme", write=True, until=clock.at_s + 1)


def test_threads_share_one_pace() -> None:
    waits: list[float] = []
    pacer = Pacer("ghcr.io", Limits(writes_per_s=10, writes_burst=1), ManualClock(), waits.append)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: pacer.admit("acme", write=True, until=9e9), range(64)))
    assert sorted(waits) == pytest.approx([n / 10 for n in range(1, 64)])


# --- every exception of the libraries has a family -------------------------------------------------------------------


def _tree(root: type[BaseException]) -> set[type[BaseException]]:
    return {root}.union(*(_tree(kind) for kind in root.__subclasses__()))


LIBRARY = sorted(
    {
        kind
        for root in (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
        for kind in _tree(root)
        if kind.__module__.partition(".")[0] in {"requests", "urllib3", "http", "ssl", "socket", "builtins"}
    },
    key=lambda kind: (kind.__module__, kind.__qualname__),
)


@pytest.mark.parametrize("kind", LIBRARY, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_an_exception_of_a_library_gets_a_family_and_tells_no_address(kind: type[Exception]) -> None:
    raised = kind.__new__(kind, "https://u:hush@x.example/?sig=hush")
    raised.args = ("https://u:hush@x.example/?sig=hush",)
    made = unanswered(raised, "ghcr.io/acme/orders")
    assert isinstance(made, (Unavailable, Terminal))
    assert isinstance(made, ReconcilerError)
    assert "hush" not in str(made)


def test_a_certificate_that_does_not_verify_is_for_the_operator() -> None:
    inner = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    assert isinstance(unanswered(requests.exceptions.SSLError(inner), "x"), Terminal)


# --- nothing comes from the environment ------------------------------------------------------------------------------


def test_no_file_of_the_home_and_no_variable_changes_a_request(
    stub: Stub, client: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = json.dumps({"auths": {stub.host: {"auth": "dXNlcjpodXNo"}}})
    for folder in (".docker", "elsewhere", ".config/containers"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (".docker/config.json", "elsewhere/config.json", ".config/containers/auth.json"):
        (tmp_path / file).write_text(login)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password hush\n")
    netrc.chmod(0o600)
    for name, value in {
        "HOME": tmp_path,
        "NETRC": netrc,
        "DOCKER_CONFIG": tmp_path / "elsewhere",
        "REGISTRY_AUTH_FILE": tmp_path / "elsewhere/config.json",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    def answer(seen: Seen) -> Reply:
        if seen.path == "/token":
            return Reply(200, {}, b'{"token":"anonymous"}')
        if seen.headers.get("authorization") == "Bearer anonymous":
            return OK
        return error(401, "UNAUTHORIZED", WWW_Authenticate=f'Bearer realm="{stub.url}/token"')

    stub.answer = answer
    registry = client(stub.host)
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    registry.do_request(f"{stub.url}/v2/acme/orders/blobs/x")
    assert {r.headers.get("authorization") for r in stub.requests} == {None, "Bearer anonymous"}
    stub.answer = lambda _: error(401, "UNAUTHORIZED", WWW_Authenticate="Basic")
    with pytest.raises(Denied, match="no credential is configured"):
        client(stub.host).resolve(repository(stub.host), TAG)
