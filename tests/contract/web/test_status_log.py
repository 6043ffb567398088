"""The log's pages over a real log: search, the way from page to page, and how much of it one page reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from reconciler.web.status import logbook
from reconciler.web.status.logbook import ENTRIES_PER_PAGE, SCAN_MAX_S, LogBook, Wanted
from state.entry import Kind
from state.git import CommitId
from state.log_branch import Role
from tests.fixtures.log import NAME, LogBench
from tests.fixtures.status import Served, head_of, serving, shown

ENTRIES = 130
"""Beside genesis and epoch."""


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogBench, list[CommitId]]:
    """A log of quarantines, one for each head, newest last; its entries' ids."""
    bench = LogBench(tmp_path_factory.mktemp("log"))
    with bench.log() as log:
        for n in range(1, ENTRIES + 1):
            body = {"breaches": [], "head": head_of(n), "note": f"Note<{n}>", "pull_requests": [n % 10]}
            log.append(Kind.QUARANTINE, body)
        return bench, [logged.id for logged in log.entries()]


@pytest.fixture(scope="module")
def served(ids: tuple[LogBench, list[CommitId]]) -> Iterator[Served]:
    with serving({"shop": shown(())}, ids[0].repo) as made:
        for site in made.pages._sites.values():
            site.repository_id = lambda: NAME.repository_id
        yield made


def walk(served: Served, query: str) -> list[list[str]]:
    """The ids on each page, from page to page."""
    pages, start = [], ""
    while True:
        found = served.json(f"/repositories/shop/log?{query}{start}")
        pages.append([entry["id"] for entry in found["entries"]])
        if found["next"] is None:
            return pages
        start = f"&start={found['next']}"


def test_page_by_page_every_entry_is_there_once_newest_first(
    served: Served, ids: tuple[LogBench, list[CommitId]]
) -> None:
    pages = walk(served, "")
    assert [entry for page in pages for entry in page] == ids[1][::-1]
    assert max(map(len, pages)) == ENTRIES_PER_PAGE


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("kind=epoch", [1]),
        ("pr=3", [n + 1 for n in range(1, ENTRIES + 1) if n % 10 == 3]),
        (f"head={head_of(17)}", [18]),
        ("q=nOtE%3C99%3E", [100]),
        ("kind=quarantine&pr=3&q=note%3C13%3E", [14]),
        ("q=nothing+like+it", []),
    ],
)
def test_a_search_finds_what_matches_and_nothing_else(
    served: Served, ids: tuple[LogBench, list[CommitId]], query: str, wanted: list[int]
) -> None:
    assert [entry for page in walk(served, query) for entry in page] == [ids[1][n] for n in reversed(wanted)]


def test_one_page_looks_at_so_many_entries_and_says_where_it_stopped(
    ids: tuple[LogBench, list[CommitId]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "SCAN_MAX_ENTRIES", 20)
    found = LogBook(ids[0].repo, NAME.repository_id, NAME.role).page(Wanted(text="nothing like it"))
    assert (found.entries, found.looked_at, found.further) == ((), 20, ids[1][-21])


def test_one_page_takes_so_long_and_gets_on_however_slow_the_disk_is(ids: tuple[LogBench, list[CommitId]]) -> None:
    ticks = count()
    slow = LogBook(ids[0].repo, NAME.repository_id, NAME.role, lambda: next(ticks) * SCAN_MAX_S * 2)
    found = slow.page(Wanted())
    assert (found.looked_at, found.further) == (1, ids[1][-2])


def test_an_entry_has_a_page_of_its_own_and_is_text(served: Served, ids: tuple[LogBench, list[CommitId]]) -> None:
    answer = served.ask(f"/repositories/shop/log/{ids[1][100]}")
    assert answer.status_code == 200
    assert "Note&lt;99&gt;" in answer.text
    assert served.json(f"/repositories/shop/log/{ids[1][100]}")["body"]["note"] == "Note<99>"
    again = served.ask(f"/repositories/shop/log/{ids[1][100]}", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_an_entry_that_is_not_there_is_404_and_so_is_a_start(served: Served) -> None:
    unknown = "e" * 40
    for path in (f"/repositories/shop/log/{unknown}", f"/repositories/shop/log?start={unknown}"):
        answer = served.ask(path)
        assert (answer.status_code, unknown[:12] in answer.text) == (404, True)
    assert served.ask("/repositories/shop/log?start=abc").status_code == 400
    assert served.ask("/repositories/shop/log?head=xyz").status_code == 400


def test_a_page_is_another_one_once_something_was_appended(tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = LogBench(tmp_path_factory.mktemp("log"))
    with bench.log() as log, serving({"shop": shown(())}, bench.repo) as served:
        for site in served.pages._sites.values():
            site.repository_id = lambda: NAME.repository_id
        has = {"If-None-Match": served.ask("/repositories/shop/log").headers["ETag"]}
        assert served.ask("/repositories/shop/log", headers=has).status_code == 304
        log.append(Kind.CONFIG, {"digest": "sha256:" + "0" * 64})
        assert served.ask("/repositories/shop/log", headers=has).status_code == 200


def test_of_the_other_writers_only_those_that_wrote_are_there(served: Served) -> None:
    assert 'name="role"' not in served.ask("/repositories/shop/log").text
    assert served.json(f"/repositories/shop/log?role={Role.JANITOR}")["entries"] == []


def test_where_no_log_is_yet_the_page_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving({"shop": shown(())}, tmp_path_factory.mktemp("none") / "log.git") as served:
        answer = served.ask("/repositories/shop/log")
        assert (answer.status_code, "There is no log yet" in answer.text) == (200, True)


def test_what_lies_there_instead_of_a_log_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving({"shop": shown(())}, tmp_path_factory.mktemp("no-log")) as served:
        answer = served.ask("/repositories/shop/log")
        assert (answer.status_code, "not a git repository that can be read" in answer.text) == (503, True)
