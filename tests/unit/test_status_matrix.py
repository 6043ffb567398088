"""What a search of the matrix finds, page by page, and how parameters are read (pure)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from reconciler.matrix import Cell, State
from reconciler.web.status.heads import release_of
from reconciler.web.status.matrix import ROWS_PER_PAGE, Filters, Index, find, to_json
from reconciler.web.status.params import QUERY_MAX_BYTES, VALUE_MAX_CHARS, BadParameter, Params
from state.hold import Reason
from state.oci import Digest
from tests.fixtures.status import cell, head_of, held_whole, matrix, shown

COMPONENTS = ("billing", "orders", "web")
STATES = st.sampled_from([State.RETAGGED, State.BUILT, State.WAITING, State.HELD])
ROWS = st.lists(st.tuples(*[STATES] * len(COMPONENTS)), max_size=2 * ROWS_PER_PAGE + 5)
FILTERS = st.builds(
    Filters,
    st.lists(STATES, unique=True, max_size=2).map(tuple),
    st.sampled_from([None, "awaits-build", "tag-unknown"]),
    st.sampled_from([None, *COMPONENTS, "gone"]),
    st.sampled_from([None, 1, 7, 10_000]),
    st.sampled_from([None, "ord", "awaits", "shop/web", "nothing like it"]),
)


def cells_of(rows: list[tuple[State, ...]]) -> tuple[Cell, ...]:
    named = ((n, zip(COMPONENTS, row, strict=True)) for n, row in enumerate(rows, 1))
    return tuple(cell(n, name, state) for n, row in named for name, state in row)


def by_the_letter(cells: tuple[Cell, ...], filters: Filters) -> set[Cell]:
    """The meaning of a search, cell by cell and without an index."""
    return {
        c
        for c in cells
        if (not filters.states or c.state in filters.states)
        and filters.reason in (None, c.reason)
        and filters.component in (None, c.component)
        and filters.pr in (None, c.pr)
        and (filters.text is None or filters.text in f"{c.component} {c.image} {c.head} {c.digest} {c.reason}")
    }


@given(rows=ROWS, filters=FILTERS)
def test_the_pages_together_are_what_was_looked_for_and_each_is_bounded(
    rows: list[tuple[State, ...]], filters: Filters
) -> None:
    cells = cells_of(rows)
    index = Index.of(cells)
    pages = find(index, filters, 1).pages
    found: list[Any] = []
    numbers: list[int] = []
    for page in range(1, pages + 1):
        here = find(index, filters, page)
        assert len(here.rows) <= ROWS_PER_PAGE
        numbers += [row.pr for row in here.rows]
        found += to_json(here, index)["cells"]  # type: ignore[operator]
        columns = {c["component"] for c in to_json(here, index)["cells"]}  # type: ignore[union-attr, index, call-overload]
        assert columns <= set(here.columns)
    wanted = by_the_letter(cells, filters)
    assert sorted((c["pr"], c["component"]) for c in found) == sorted((c.pr, c.component) for c in wanted)
    assert numbers == sorted({c.pr for c in wanted}, reverse=True)


def test_a_page_behind_the_last_one_is_the_last_one() -> None:
    index = Index.of(matrix(ROWS_PER_PAGE + 1, 2))
    last = find(index, Filters(), 99)
    assert (last.page, last.pages, [row.pr for row in last.rows]) == (2, 2, [1])


def test_what_the_verifier_said_is_found_in_any_case_of_letters() -> None:
    index = Index.of([cell(1, "web", State.HELD, detail="Signed by NOBODY"), cell(2, "web")])
    assert [row.pr for row in find(index, Filters(text="nobody"), 1).rows] == [1]


def test_a_pull_request_that_is_held_as_a_whole_has_a_row_and_its_reason_a_remedy() -> None:
    found = find(Index.of([held_whole(4, Reason.FORK_NOT_ADMITTED)]), Filters(), 1)
    assert found.rows[0].whole is not None
    ((reason, count, remedy),) = found.reasons
    assert (reason, count) == ("fork-not-admitted", 1)
    assert remedy is not None


def test_a_release_hold_is_no_component() -> None:
    hold = cell(1, "web", State.HELD, "release-unproven")._replace(component=None)
    (row,) = Index.of([cell(1, "web"), hold]).rows
    assert (list(row.cells), row.whole, row.release_holds) == (["web"], None, (hold,))


def test_a_release_set_groups_the_components_of_an_image_and_names_what_is_lacking() -> None:
    orders = cell(1, "orders")
    cells = (orders, orders._replace(component="orders-dispatcher"), cell(1, "web", State.WAITING))
    found = release_of(shown(cells), Index.of(cells), head_of(1))
    assert found is not None
    assert [(i.components, i.cell.digest) for i in found.images] == [(("orders", "orders-dispatcher"), orders.digest)]
    assert [c.component for c in found.lacking] == ["web"]
    assert release_of(shown(cells), Index.of(cells), head_of(2)) is None


def test_a_strangers_pull_request_at_the_same_head_takes_nothing_from_its_release_set() -> None:
    released = Digest.of(b"set")
    cells = (held_whole(9, Reason.FORK_NOT_ADMITTED)._replace(head=head_of(1)), cell(1, "web", release=released))
    found = release_of(shown(cells), Index.of(cells), head_of(1))
    assert found is not None
    assert (found.digest, found.pull_requests, found.lacking) == (released, (9, 1), ())


def params(query: str, known: tuple[str, ...] = ("pr", "q", "head"), repeated: tuple[str, ...] = ("state",)) -> Params:
    return Params.of(Request(EnvironBuilder(query_string=query).get_environ()), known, repeated)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("sate=held", "There is no parameter 'sate' here; there are pr, q, head, state, format."),
        ("pr=1&pr=2", "pr is given more than once."),
        ("q=a%0ab", "q is not printable text of at most 200 characters."),
        ("q=" + "x" * (VALUE_MAX_CHARS + 1), "q is not printable text of at most 200 characters."),
        ("q=" + "%20" * QUERY_MAX_BYTES, "The parameters are longer than 2048 bytes."),
    ],
)
def test_what_is_wrong_with_parameters_is_said_in_a_sentence(query: str, sentence: str) -> None:
    with pytest.raises(BadParameter) as raised:
        params(query)
    assert str(raised.value) == sentence


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "seven", "٧", "9" * 30])
def test_a_number_is_whole_and_from_1(value: str) -> None:
    with pytest.raises(BadParameter, match="pr is a whole number from 1"):
        params(f"pr={value}").number("pr")


def test_an_empty_field_of_a_form_is_none() -> None:
    found = params("pr=&q=&state=&head=")
    assert (found.number("pr"), found.text("q"), found.choices("state", ["held"]), bool(found)) == (
        None,
        None,
        (),
        False,
    )


def test_the_address_of_the_next_page_keeps_what_was_looked_for() -> None:
    found = params("state=held&q=a%26b&state=built")
    assert found.query(page=2) == "?state=held&state=built&q=a%26b&page=2"
    assert found.query(q=None) == "?state=held&state=built"
