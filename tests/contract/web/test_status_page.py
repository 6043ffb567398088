"""The status page on a real listener: addresses, answers, who may read it, and what strangers wrote."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import requests

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.events import Emitter
from reconciler.matrix import State
from reconciler.shown import Approval, Evidence, Planned, Published
from reconciler.web.host import Host
from reconciler.web.status.access import IdentityProxy
from reconciler.web.status.site import Condition
from reconciler.web.status.views import RENDERS_MAX
from state.git import CommitId, RefName
from state.hold import Reason
from state.oci import Digest
from state.pin_plan import PinPlan, Target
from state.publishing import LoggedMarker, Proposal, ProposalState, Standing, Step
from tests.fixtures.status import Served, cell, head_of, held_whole, matrix, serving, shown

HEAD = head_of(1)
PAGES = (
    "/",
    "/health",
    "/repositories/shop",
    "/repositories/shop/pull-requests/1",
    "/repositories/shop/pull-requests/1/web",
    f"/repositories/shop/heads/{HEAD}",
    "/repositories/shop/approvals",
    "/repositories/shop/gitops",
    "/repositories/shop/log",
)
XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
EVIL_DIGEST = Digest.of(b"evil")


def evil() -> Published:
    """Every text of publishing that is not of a closed form, hostile."""
    target = Target("dev", 7, RefName.branch("main"), "dev")
    plan = PinPlan(1001, 1, HEAD, EVIL_DIGEST, target, ())
    marker = LoggedMarker(CommitId("a" * 40), XSS, XSS, "", (XSS,), EVIL_DIGEST, EVIL_DIGEST)
    branch = RefName.branch("ameide/dev/x")
    opened = Proposal(Step.OPEN, "dev", EVIL_DIGEST, 1, HEAD, branch, approvals=(XSS,))
    standing = Standing(opened, ProposalState.DECLINED, CommitId("b" * 40), (), 5, XSS)
    return Published(
        (Planned(1, "dev", plan, plan.digest()), Planned(1, "prod", None, None, XSS)),
        (Approval(marker, 1, "dev", None, None, "expired", XSS),),
        (standing,),
    )


@contextmanager
def hostile() -> Iterator[Served]:
    """A repository in which strangers had a word, and one without a pass."""
    web = cell(1, "web", State.HELD, "baseline-refused", detail=XSS, digest=EVIL_DIGEST)
    cells = (web, cell(1, "orders"), held_whole(2, Reason.FORK_NOT_ADMITTED))
    assert web.image is not None
    evidence = {(web.image, EVIL_DIGEST): (Evidence(XSS, EVIL_DIGEST),)}
    one = shown(cells, problems=(XSS,), problem_count=1, published=evil(), evidence=evidence)
    with serving({"shop": one, "new": None}) as made:
        made.process.where = Condition("reconciling", XSS, 3)
        made.process.readiness = (False, XSS)
        yield made


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Only looked at."""
    with hostile() as made:
        yield made


@pytest.fixture
def changing() -> Iterator[Served]:
    with hostile() as made:
        yield made


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_html_that_nothing_but_itself_can_change(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.findall(r"<(script|style)(?! src=)", answer.text) == []


@pytest.mark.parametrize("path", [*PAGES, f"/repositories/shop?q={XSS}", f"/repositories/shop/log?q={XSS}", f"/{XSS}"])
def test_what_strangers_wrote_is_text(served: Served, path: str) -> None:
    text = served.ask(path).text
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(..)", text)
    assert "&lt;script&gt;alert(1)" in text  # it is there at all: every page shows why the process is not ready


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_json_too_by_parameter_and_by_accept(served: Served, path: str) -> None:
    by_parameter = served.ask(f"{path}?format=json")
    by_accept = served.ask(path, headers={"Accept": "application/json, text/html;q=0.5"})
    assert by_parameter.headers["Content-Type"] == by_accept.headers["Content-Type"] == "application/json"
    assert by_parameter.json() == by_accept.json()
    assert by_parameter.text.isascii()
    assert by_parameter.headers["ETag"] != served.ask(path).headers["ETag"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_that_the_reader_has_is_not_made_again(served: Served, path: str) -> None:
    has = served.ask(path).headers["ETag"]
    again = served.ask(path, headers={"If-None-Match": has})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", has)
    assert again.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_another_pass_is_another_page(changing: Served) -> None:
    of_the_pass = [p for p in PAGES if p not in ("/", "/health", "/repositories/shop/log")]

    def answers(has: dict[str, str]) -> set[int]:
        return {changing.ask(path, headers={"If-None-Match": has[path]}).status_code for path in of_the_pass}

    def held() -> dict[str, str]:
        return {path: changing.ask(path).headers["ETag"] for path in of_the_pass}

    has, old = held(), changing.passes["shop"]
    assert answers(has) == {304}
    assert old is not None
    changing.passes["shop"] = old._replace(pass_id="pass-2")
    assert answers(has) == {200}
    has = held()
    changing.process.where = Condition("stalled", "another reason", 0)
    assert answers(has) == {200}
    has = held()
    changing.process.readiness = (True, "ready")
    assert answers(has) == {200}


@pytest.mark.parametrize("path", PAGES)
def test_only_reading_is_answered(served: Served, path: str) -> None:
    answer = served.ask(path, "POST")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert served.ask(path, "DELETE").status_code == 405
    head = served.ask(path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["ETag"] == served.ask(path).headers["ETag"]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/repositories",
        "/repositories/",
        "/repositories/other",
        "/repositories/shop/",
        "/repositories/shop/nothing",
        "/repositories/shop/approvals/x",
        "/repositories/shop/pull-requests",
        "/repositories/shop/pull-requests/3",
        "/repositories/shop/pull-requests/one",
        "/repositories/shop/pull-requests/1/gone",
        "/repositories/shop/pull-requests/2/web",
        "/repositories/shop/pull-requests/1//",
        "/repositories/shop/heads/abc",
        f"/repositories/shop/heads/{head_of(77)}",
        f"/repositories/shop/log/{'0' * 39}",
        "/assets/status.css",
        "/assets/../pages.py",
        "/%2e%2e/etc/passwd",
        "/health/",
    ],
)
def test_what_is_not_there_is_404(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status_code == 404
    assert "<h1>Not there</h1>" in answer.text
    assert served.ask(path, headers={"Accept": "application/json"}).json()["status"] == 404
    assert [line["event"] for line in served.lines] == ["listening"]  # no fault of ours


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (
            "?state=green",
            "state is one of retagged, built, waiting, planned, held, not-previewed; got &#39;green&#39;.",
        ),
        ("?reason=x", "reason is one of suspended, "),
        ("?pr=0", "pr is a whole number from 1"),
        ("?page=x", "page is a whole number from 1"),
        ("?wat=1", "There is no parameter &#39;wat&#39; here; there are "),
        ("?format=xml", "format is one of html, json; got &#39;xml&#39;."),
        ("?q=" + "x" * 201, "q is not printable text of at most 200 characters."),
        ("?q=" + "x" * 3000, "The parameters are longer than 2048 bytes."),
        ("?q=%00", "q is not printable text"),
    ],
)
def test_a_bad_parameter_is_400_with_a_sentence(served: Served, query: str, says: str) -> None:
    answer = served.ask(f"/repositories/shop{query}")
    assert answer.status_code == 400
    assert says in answer.text


def test_a_parameter_that_a_page_does_not_have_is_400(served: Served) -> None:
    assert {path: served.ask(f"{path}?state=held").status_code for path in PAGES if path != "/repositories/shop"} == (
        dict.fromkeys((p for p in PAGES if p != "/repositories/shop"), 400)
    )


def test_before_the_first_pass_the_page_says_so(served: Served) -> None:
    for page in ("", "/pull-requests/1", "/approvals", "/gitops", f"/heads/{HEAD}"):
        answer = served.ask(f"/repositories/new{page}")
        assert (answer.status_code, "No pass has ended yet." in answer.text) == (200, True)


def test_the_matrix_of_a_busy_repository_comes_in_pages_and_small() -> None:
    cells = matrix(120, 50)
    with serving({"shop": shown(cells)}) as served:
        found = served.json("/repositories/shop?page=2")
        assert (found["page"], found["pages"], found["pull_requests"]) == (2, 3, 120)
        assert {c["pr"] for c in found["cells"]} == set(range(21, 71))
        name = next(c.component for c in cells if c.state is State.HELD and c.component is not None)
        held = served.json(f"/repositories/shop?state=held&component={name}")
        assert {(c["state"], c["component"]) for c in held["cells"]} == {("held", name)}
        text = served.ask("/repositories/shop?page=2").text
        assert 'href="?page=3"' in text
        raw = requests.get(
            f"{served.root}/repositories/shop", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=30
        )
        packed = raw.raw.read()
        assert len(packed) < len(gzip.decompress(packed)) / 8


def test_plans_approvals_and_proposals_come_by_the_hundred_with_what_still_runs_first() -> None:
    one = evil()
    over = one.proposals[0]
    live = replace(over, proposal=over.proposal._replace(pull_request=77), state=ProposalState.OPEN)
    many = Published(
        tuple(Planned(n, "dev", None, None, "why") for n in range(250, 0, -1)),
        one.approvals * 120,
        (*(one.proposals * 149), live),
    )
    with serving({"shop": shown(matrix(1, 1), published=many)}) as served:
        found = [served.json(f"/repositories/shop/approvals?page={n}") for n in (1, 2, 3, 4)]
        assert [(len(f["plans"]), len(f["approvals"]), f["pages"]) for f in found] == [
            (100, 100, 3),
            (100, 20, 3),
            (50, 0, 3),
            (0, 0, 3),
        ]
        assert "None on this page." in served.ask("/repositories/shop/approvals?page=3").text
        first, second = (served.json(f"/repositories/shop/gitops?page={n}")["proposals"] for n in (1, 2))
        assert (len(first), len(second), first[0]["pr"]) == (100, 50, 77)
        assert "149 declined" in served.ask("/repositories/shop/gitops?page=2").text


def test_with_one_repository_its_matrix_is_the_first_page() -> None:
    with serving({"shop": shown(matrix(3, 2))}) as served:
        answer = served.ask("/")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/repositories/shop")
        assert served.json("/")["repositories"][0]["name"] == "shop"


def test_an_asset_has_its_digest_in_its_name_and_is_kept_for_ever(served: Served) -> None:
    names = set(re.findall(r"/assets/[^\"]+", served.ask("/health").text))
    assert {name.rpartition(".")[2] for name in names} == {"css", "js", "svg"}
    for name in names:
        answer = served.ask(name)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"].partition(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}


def test_probes_are_answered_while_as_many_pages_as_may_be_are_made() -> None:
    going_on = threading.Event()
    begun = threading.Semaphore(0)

    with serving({"shop": shown(matrix(1, 1))}) as served:

        def slow(number: int) -> str | None:
            del number
            begun.release()
            assert going_on.wait(30)
            return None

        for site in served.pages._sites.values():
            site.pull_request_url = slow
        with ThreadPoolExecutor(RENDERS_MAX) as others:
            waiting = [others.submit(served.ask, "/repositories/shop/pull-requests/1") for _ in range(RENDERS_MAX)]
            try:
                for _ in range(RENDERS_MAX):
                    assert begun.acquire(timeout=30)
                busy = served.ask("/repositories/shop/pull-requests/1")
                assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
                assert "Too many pages are being made" in busy.text
                assert served.ask("/healthz").status_code == 200
                assert served.ask("/metrics").status_code == 200
            finally:
                going_on.set()
            assert [w.result().status_code for w in waiting] == [200] * RENDERS_MAX
        assert served.ask("/repositories/shop/pull-requests/1").status_code == 200


# --- who may read it


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1"])
def test_a_site_whose_name_was_made_to_lead_here_reads_nothing(served: Served, host: str) -> None:
    answer = served.ask("/repositories/shop", headers={"Host": host})
    assert answer.status_code == 403
    assert "shop" not in answer.text
    assert XSS not in answer.text
    assert served.ask("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8080"])
def test_this_machine_may_ask_by_any_of_its_names(served: Served, host: str) -> None:
    assert served.ask("/health", headers={"Host": host}).status_code == 200


def test_behind_an_identity_proxy_only_the_proxy_says_who_reads() -> None:
    header = "X-Auth-Request-Email"
    here, elsewhere = IdentityProxy.make(header, ["127.0.0.0/30"]), IdentityProxy.make(header, ["10.2.3.4"])
    with serving({"shop": shown(matrix(1, 1))}, proxy=here) as served:
        alice = served.ask("/repositories/shop", headers={header: "alice@example.com", "Host": "status.example"})
        assert (alice.status_code, "alice@example.com" in alice.text) == (200, True)
        bob = {header: "bob@example.com", "If-None-Match": alice.headers["ETag"]}
        assert served.ask("/repositories/shop", headers=bob).status_code == 200  # another reader, another page
        for given in ({}, {header: ""}, {header: "a@x, b@x"}, {header: "x" * 201}, {"X_Auth_Request_Email": "a@x"}):
            refused = served.ask("/repositories/shop", headers=given)
            assert (refused.status_code, "shop" in refused.text) == (403, False)
        assert served.ask("/healthz").status_code == served.ask("/metrics").status_code == 200
    with serving({"shop": shown(matrix(1, 1))}, proxy=elsewhere) as served:
        refused = served.ask("/repositories/shop", headers={header: "alice@example.com", "X-Forwarded-For": "10.2.3.4"})
        assert (refused.status_code, "shop" in refused.text) == (403, False)


def test_the_public_listener_never_serves_a_page(served: Served) -> None:
    host = Host(
        private="127.0.0.1:0",
        public="127.0.0.1:0",
        health=served.process,
        metrics=PrometheusMetrics().exposition,
        emitter=Emitter(lambda _: None, SystemClock()),
        pages=served.pages.handle,
    )
    with host:
        assert host.public_address is not None
        root = "http://{}:{}".format(*host.public_address)
        assert {requests.get(f"{root}{path}", timeout=30).status_code for path in PAGES} == {404}
