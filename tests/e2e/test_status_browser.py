"""The status page in a real browser: with and without script, by keyboard, in both colour schemes, and attacked."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.matrix import Cell, State
from reconciler.shown import Shown
from state.hold import Reason
from tests.contract.web.test_status_page import PAGES, XSS, hostile
from tests.fixtures.browser import ENTER, TAB, Browser, browser_in
from tests.fixtures.shop import eventually
from tests.fixtures.status import Served, cell, held_whole, matrix, serving, shown

pytestmark = pytest.mark.chromium

AXE = "axe-core@4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
SCHEMES = ("light", "dark")
LOOK_NOW = "document.dispatchEvent(new Event('visibilitychange'));"
"""As when the person comes back to the window: the script asks at once."""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser_in(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The window as a person opens it."""
    window.scripting(on=True)
    window.scheme("light")
    window.sized(1280, 900)
    window.opens("about:blank")
    window.console()
    yield window
    window.scripting(on=True)


CELLS = (cell(1, "orders", State.WAITING), cell(1, "web"), held_whole(2, Reason.FORK_NOT_ADMITTED))


@pytest.fixture
def served() -> Iterator[Served]:
    with serving({"shop": shown(CELLS)}) as made:
        yield made


def then(served: Served, cells: tuple[Cell, ...], pass_id: str) -> Shown:
    """Another pass."""
    served.passes["shop"] = made = shown(cells, pass_id)
    return made


def test_without_script_the_page_is_whole_and_does_not_claim_to_be_live(browser: Browser, served: Served) -> None:
    browser.scripting(on=False)
    browser.opens(f"{served.root}/repositories/shop")
    text = browser.text("main")
    assert "waiting" in text
    assert "fork-not-admitted" in text
    assert "wait for CI to push this head's image, or start its build" in text
    browser.opens(f"{served.root}/repositories/shop?state=waiting")
    assert "1 pull request that match" in browser.text("caption")
    assert browser.text("#link") == ""


def test_with_script_the_page_follows_the_passes_and_keeps_focus_place_and_what_was_typed(
    browser: Browser, served: Served
) -> None:
    browser.sized(500, 900)
    wide = matrix(3, 40)
    then(served, wide, "wide-1")
    browser.opens(f"{served.root}/repositories/shop")
    eventually("live", lambda: browser.text("#link") == "live")
    browser.runs(
        "window.same = true; document.querySelector('[name=q]').value = 'half typed';"
        "document.getElementById('matrix').scrollLeft = 120;"
        "document.querySelector('a[href$=\"/2/component-03\"]').focus({preventScroll: true})"
    )
    assert browser.runs("return document.getElementById('spoken').textContent") == ""
    gone = tuple(c for c in wide if c.pr != 3)
    then(served, (*gone, held_whole(3, Reason.DRAFT)), "wide-2")
    browser.runs(LOOK_NOW)
    eventually("the new pass", lambda: "draft" in browser.text("#matrix"))
    assert browser.focused()["href"] == "/repositories/shop/pull-requests/2/component-03"
    state: dict[str, Any] = browser.runs(
        "return {same: window.same, typed: document.querySelector('[name=q]').value,"
        " left: document.getElementById('matrix').scrollLeft, spoken: document.getElementById('spoken').textContent}"
    )
    assert state == {
        "same": True,
        "typed": "half typed",
        "left": 120,
        "spoken": "3 open pull requests: 80 of 81 images ready, 0 waiting for CI, 1 held",
    }
    browser.runs("document.getElementById('matrix').focus({preventScroll: true})")
    then(served, gone, "wide-3")
    browser.runs(LOOK_NOW)
    eventually("the next pass", lambda: "draft" not in browser.text("#matrix"))
    assert browser.focused()["id"] == "matrix"


def test_a_page_whose_parts_are_others_than_before_is_exchanged_as_a_whole(browser: Browser, served: Served) -> None:
    served.passes["shop"] = None
    browser.opens(f"{served.root}/repositories/shop")
    assert "No pass has ended yet." in browser.text("main")
    then(served, CELLS, "first")
    eventually("live", lambda: browser.text("#link") == "live")
    browser.runs(LOOK_NOW)
    eventually("the matrix", lambda: "orders" in browser.text("main"))


def test_a_page_that_lost_its_server_says_so(browser: Browser, served: Served) -> None:
    browser.opens(f"{served.root}/repositories/shop")
    eventually("live", lambda: browser.text("#link") == "live")
    served.host.stop()
    browser.runs(LOOK_NOW)
    eventually("lost", lambda: browser.text("#link").startswith("not live, may be old: "))
    assert "waiting" in browser.text("main")


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(browser: Browser, served: Served) -> None:
    browser.opens(f"{served.root}/repositories/shop")
    browser.types(TAB)
    assert browser.focused()["text"] == "Skip to content"
    browser.types(ENTER)
    assert browser.focused()["id"] == "main"
    seen = []
    for _ in range(40):
        browser.types(TAB)
        seen.append(browser.focused())
        if seen[-1]["tag"] == "BODY":
            break
    without_ring = [e for e in seen if e["tag"] != "BODY" and not e["ring"]]
    assert without_ring == []
    links = [e["href"] for e in seen]
    for wanted in ("?state=held", "/repositories/shop/pull-requests/1", "/repositories/shop/pull-requests/1/orders"):
        assert wanted in links
    assert {"SELECT", "INPUT", "BUTTON"} <= {e["tag"] for e in seen}
    browser.runs("document.querySelector('a[href$=\"/1/orders\"]').focus()")
    browser.types(ENTER)
    eventually("the cell", lambda: "How it came to be" in browser.text("main"))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_page_breaks_its_own_policy_and_nothing_of_strangers_runs(browser: Browser, scheme: str) -> None:
    browser.scheme(scheme)
    with hostile() as served:
        for path in (*PAGES, "/repositories/new", f"/repositories/shop?q={XSS}", "/repositories/shop?pr=x"):
            browser.opens(f"{served.root}{path}")
            eventually("the script has run", lambda: browser.text("#link") != "")
            # An alert would have made the driver refuse this, an inserted element would be here.
            assert browser.runs("return document.querySelectorAll('img[src=x], main script').length") == 0
            assert [line for line in browser.console() if "status of 400" not in line] == []


def test_each_scheme_has_its_colours(browser: Browser, served: Served) -> None:
    grounds = {}
    for scheme in SCHEMES:
        browser.scheme(scheme)
        browser.opens(f"{served.root}/repositories/shop")
        grounds[scheme] = browser.runs("return getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 20, 24)"}


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.sized(width, 800)
    with hostile() as served:
        served.passes["wide"] = None
        served.passes["shop"] = shown(matrix(3, 40), "wide")
        for path in ("/", "/health", "/repositories/shop", "/repositories/shop/pull-requests/1"):
            browser.opens(f"{served.root}{path}")
            assert browser.runs("return document.documentElement.scrollWidth") <= width, path


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """The text of axe-core, from the package registry, checked against its digest."""
    directory = tmp_path_factory.mktemp("axe")
    command = ["npm", "pack", "--silent", AXE]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 and "chromium" not in str(request.config.getoption("--require-suites")):
        pytest.skip(f"{AXE} cannot be fetched from the package registry: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    (packed,) = directory.glob("*.tgz")
    raw = packed.read_bytes()
    assert base64.b64encode(hashlib.sha512(raw).digest()).decode() == AXE_SHA512
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.node
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing(browser: Browser, axe: str, scheme: str, width: int) -> None:
    browser.scheme(scheme)
    browser.sized(width, 900)
    with hostile() as served:
        served.passes["new"] = shown(matrix(3, 30), "other")
        for path in (*PAGES, "/repositories/new", "/repositories/new?state=held", "/nothing"):
            browser.opens(f"{served.root}{path}")
            browser.runs(axe)
            found = browser.runs_async("const done = arguments[0]; axe.run().then((r) => done(r.violations));")
            report = [(v["id"], [n["target"] for n in v["nodes"]][:3], v["help"]) for v in found]
            assert report == [], path
