"""The status page of 1,000 pull requests with 50 components each: what one page costs against what is on it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Final

from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from bench.measure import Bench, Contender, Row, Target, seconds, versus
from reconciler.web.status.access import Access
from reconciler.web.status.matrix import ROWS_PER_PAGE
from reconciler.web.status.pages import StatusPages
from reconciler.web.status.site import Site
from tests.fixtures.status import Process, matrix, shown

PULL_REQUESTS: Final = 1000
COMPONENTS: Final = 50
_SIZE: Final = f"{PULL_REQUESTS} PRs x {COMPONENTS} components"
_MATRIX: Final = "/repositories/shop"


def run(bench: Bench) -> list[Row]:
    many, few = _pages(PULL_REQUESTS), _pages(ROWS_PER_PAGE)
    etag = _ask(many, _MATRIX).headers["ETag"]
    _ask(few, _MATRIX)
    cells = json.dumps([cell.to_json() for cell in matrix(PULL_REQUESTS, COMPONENTS)])
    page = _timed(partial(_ask, many, _MATRIX))

    def against(what: str, ours: Contender, peer: Contender, of: str, target: Target | None) -> Row:
        found = versus(what, bench.rounds, ours, {"peer": peer})["peer"]
        return Row(f"status.{what}", _SIZE, 1000 * found.ours, 1000 * found.peer, "ms", found.ratio, target, of)

    read = _timed(partial(json.loads, cells))
    small = f"the same page of {ROWS_PER_PAGE} PRs in all, which are those that it shows"
    search = _timed(partial(_ask, many, f"{_MATRIX}?q=nothing+like+it"))
    return [
        against("page", page, _timed(partial(_ask, few, _MATRIX)), small, Target("<=", 1.5)),
        against("unchanged", _timed(partial(_ask, many, _MATRIX, etag)), page, "the page itself", Target("<=", 0.1)),
        against("first", _first, read, "json.loads of the cells", Target("<=", 1.5)),
        against("search", search, read, "json.loads of the cells", Target("<=", 1.5)),
    ]


def _pages(pull_requests: int) -> StatusPages:
    left = shown(matrix(pull_requests, COMPONENTS))
    site = Site("shop", Path("/nowhere"), lambda: 1, lambda: left, lambda _: None)
    return StatusPages([site], Process(), Access("127.0.0.1"))


def _first() -> float:
    """The first view after a pass, for which the cells are sorted out."""
    pages = _pages(PULL_REQUESTS)
    return seconds(partial(_ask, pages, _MATRIX))


def _ask(pages: StatusPages, path: str, etag: str | None = None) -> Response:
    headers = {"Host": "localhost", "Accept": "text/html", "Accept-Encoding": "gzip"}
    if etag is not None:
        headers["If-None-Match"] = etag
    answer = pages.handle(Request(EnvironBuilder(path, headers=headers).get_environ()))
    assert answer.status_code == (200 if etag is None else 304)
    return answer


def _timed(call: partial[object]) -> Contender:
    return partial(seconds, call)
