"""What a pull request is told: one line that says it all, remedies, and a table that is never broken."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.matrix import Cell, State, matrix
from reconciler.ports import StatusState
from reconciler.pull_request_status import FIRST_LINE_MAX_CHARS, TEXT_MAX_BYTES, plain, status, waited
from state.hold import REMEDY, Reason
from tests.thorough import examples
from tests.unit.strategies import FORK, HEADS, ORDERS, digest, pull_request, snapshot

A, _ = HEADS
READY = Cell(1, A, "orders", ORDERS, State.RETAGGED, digest("orders"), "inputs-unchanged", proven=True)
WAITING = READY._replace(component="billing", state=State.WAITING, digest=None, reason="awaits-build", proven=False)
HELD = READY._replace(component="web", state=State.HELD, digest=None, reason="tag-unknown", proven=False)
WHOLE = HELD._replace(component=None, image=None, reason="fork-not-admitted")
UNRELEASED = WHOLE._replace(image=ORDERS, reason="release-unproven")
NOTHING = WHOLE._replace(state=State.NOT_PREVIEWED, reason="not-previewed")
many = examples(150)


def line(*cells: Cell, age_s: float | None = None) -> str:
    return status(cells, age_s)[1].split("\n", 1)[0]


def named(count: int, cell: Cell, name: str = "c") -> list[Cell]:
    return [cell._replace(component=f"{name}{n}") for n in range(count)]


def unescaped(row: str) -> list[str]:
    return [cell.strip() for cell in row.removeprefix("|").removesuffix("|").split("|")]


# --- the first line


FIRST_LINES = {
    "1 of 1 ready": (READY,),
    "1 of 2 ready · waiting for CI: billing (8 min)": (READY, WAITING),
    "0 of 1 ready · held: tag-unknown": (HELD,),
    "1 of 3 ready · waiting for CI: billing (8 min) · held: tag-unknown": (READY, WAITING, HELD),
    "held: fork-not-admitted": (WHOLE,),
    "1 of 1 ready · held: release-unproven": (READY, UNRELEASED),
    "0 of 1 ready · held: write-budget-spent": (HELD._replace(reason="write-budget-spent"),),
    "nothing is previewed": (NOTHING,),
    "1 of 1 ready · released": (READY._replace(release=digest("set")),),
    "1 of 1 ready · unproven": (READY._replace(proven=False),),
}


@pytest.mark.parametrize("text", FIRST_LINES)
def test_the_first_line_says_what_is_ready_waited_for_and_held(text: str) -> None:
    assert line(*FIRST_LINES[text], age_s=8 * 60 + 59) == text


def test_names_are_dropped_until_the_line_fits_and_the_longer_list_gives_first() -> None:
    cells = [*named(30, WAITING, "a-rather-long-name-"), *named(3, READY, "r"), HELD]
    text = line(*cells, age_s=600)
    assert len(text) <= FIRST_LINE_MAX_CHARS
    assert text.startswith("3 of 34 ready · waiting for CI: a-rather-long-name-0, a-rather-long-name-1")
    assert text.endswith(" more (10 min) · held: tag-unknown")
    shown, more = text.count("a-rather-long-name-"), int(re.findall(r"and (\d+) more", text)[0])
    assert shown + more == 30


def test_where_no_name_fits_they_are_counted() -> None:
    long = [WAITING._replace(component=f"{n:03}" + "x" * 120) for n in range(12)]
    held = HELD._replace(reason="no-faithful-baseline")
    assert line(*long, held) == "0 of 13 ready · waiting for CI: 12 components · held: no-faithful-baseline"
    assert line(*long[:1], held, READY._replace(release=digest("set"), proven=False)) == (
        "1 of 3 ready · waiting for CI: 1 component · held: no-faithful-baseline · unproven"
    )


@pytest.mark.parametrize(
    ("age_s", "text"),
    [
        (-9, ""),
        (119, ""),
        (120, "2 min"),
        (8 * 60, "8 min"),
        (9 * 60 + 59, "8 min"),
        (10 * 60, "10 min"),
        (59 * 60, "50 min"),
        (3600, "1 h"),
        (5 * 3600, "3 h"),
        (23 * 3600, "12 h"),
        (24 * 3600, "1 d"),
        (400 * 24 * 3600, "400 d"),
    ],
)
def test_waiting_grows_in_steps(age_s: float, text: str) -> None:
    assert waited(age_s) == text


def test_a_head_that_waits_for_a_day_is_told_of_that_fifteen_times() -> None:
    texts = [line(WAITING, age_s=s) for s in range(0, 24 * 3600 + 60, 30)]
    assert 1 + sum(one != other for one, other in pairwise(texts)) == 16


def test_how_long_a_head_is_there_changes_nothing_where_ci_owes_nothing() -> None:
    assert status((READY, HELD), 1e6) == status((READY, HELD), None)


# --- the state


@pytest.mark.parametrize(
    ("cells", "state"),
    [
        ((READY, READY._replace(state=State.BUILT)), StatusState.SUCCESS),
        ((NOTHING,), StatusState.SUCCESS),
        ((READY, WAITING), StatusState.PENDING),
        ((READY._replace(state=State.PLANNED),), StatusState.PENDING),
        ((WAITING, HELD), StatusState.FAILURE),
        ((WHOLE,), StatusState.FAILURE),
        ((WHOLE._replace(reason="author-outside"),), StatusState.FAILURE),
        ((WHOLE._replace(reason="draft"),), StatusState.PENDING),
        ((WHOLE._replace(reason="label-missing"),), StatusState.PENDING),
        ((WHOLE._replace(reason="hold-label"),), StatusState.PENDING),
        ((HELD._replace(reason="not-yet-read"), HELD), StatusState.FAILURE),
        ((HELD._replace(reason="not-yet-read"), READY), StatusState.PENDING),
    ],
)
def test_only_what_will_not_pass_by_itself_is_a_failure(cells: tuple[Cell, ...], state: StatusState) -> None:
    assert status(cells)[0] is state


# --- remedies and table


def test_the_text_has_a_remedy_per_reason_and_a_row_per_component_the_held_ones_first() -> None:
    text = status((READY, WAITING, HELD, HELD._replace(component="zoo")), 600)[1]
    assert text.split("\n") == [
        "1 of 4 ready · waiting for CI: billing (10 min) · held: tag-unknown",
        "",
        f"- `awaits-build`: {REMEDY[Reason.AWAITS_BUILD]}",
        f"- `tag-unknown`: {REMEDY[Reason.TAG_UNKNOWN]}",
        "",
        "| component | state | digest | why |",
        "|---|---|---|---|",
        "| `web` | held |  | tag-unknown |",
        "| `zoo` | held |  | tag-unknown |",
        "| `billing` | waiting |  | awaits-build |",
        f"| `orders` | retagged | `{digest('orders').hex[:12]}` | inputs-unchanged |",
    ]


def test_a_head_of_which_nothing_is_previewed_is_told_how_to_have_something() -> None:
    assert f"\n- `not-previewed`: {REMEDY[Reason.NOT_PREVIEWED]}\n" in status((NOTHING,))[1]


def test_drift_and_missing_proof_are_told_in_the_row() -> None:
    row = status((READY._replace(drift=True, proven=False),))[1].split("\n")[-1]
    assert unescaped(row)[-1] == "inputs-unchanged (main has moved on) (unproven)"


def test_nothing_that_a_pull_request_or_a_signer_says_is_in_it() -> None:
    said = "SAID-BY-A-STRANGER"
    stranger = pull_request(1, A, head_repository_id=FORK, labels=(said,))
    assert said not in status(matrix(snapshot(stranger)).cells)[1]
    assert said not in status((HELD._replace(detail=said),))[1]


def test_rows_that_do_not_fit_are_counted_after_the_table_and_not_in_it() -> None:
    cells = [*named(50, READY), HELD]
    whole = status(cells)[1]
    text = status(cells, max_bytes=len(whole.encode()) - 1)[1]
    rows = [r for r in text.split("\n") if r.startswith("| `")]
    assert unescaped(rows[0])[0] == "`web`"
    assert text.split("\n")[-2:] == ["", f"and {51 - len(rows)} more"]
    assert status(cells, max_bytes=len(whole.encode()))[1] == whole


def test_a_budget_of_one_line_gives_one_line() -> None:
    cells = [*named(30, WAITING), HELD]
    assert "\n" not in status(cells, 600, max_bytes=FIRST_LINE_MAX_CHARS)[1]


def test_a_budget_of_bytes_counts_bytes_in_the_first_line_too() -> None:
    cells = [READY, *(WAITING._replace(component=c * 30) for c in "ab"), HELD._replace(reason="hold-label")]
    missing = FIRST_LINE_MAX_CHARS - len(line(*cells, age_s=600))
    cells[2] = WAITING._replace(component="b" * (30 + missing))
    full = line(*cells, age_s=600)
    assert (len(full), len(full.encode())) == (FIRST_LINE_MAX_CHARS, FIRST_LINE_MAX_CHARS + 2)  # a dot is two bytes
    assert len(status(cells, 600, max_bytes=FIRST_LINE_MAX_CHARS)[1].encode()) <= FIRST_LINE_MAX_CHARS


@pytest.mark.parametrize(("cells", "max_bytes"), [((), TEXT_MAX_BYTES), ((READY,), FIRST_LINE_MAX_CHARS - 1)])
def test_no_cell_and_no_room_are_refused(cells: tuple[Cell, ...], max_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected a cell and at least 140 bytes"):
        status(cells, max_bytes=max_bytes)


# --- laws

TEXTS = st.text(alphabet="ab0|`@[](){}<>*_~#!\\\n\r\t &;:/.-wüé\u202e\u200b", max_size=200)
CELLS = st.tuples(
    TEXTS | st.sampled_from(["orders", "a" * 100, "@octocat", "www.example.com", "https://a.b/c", "[a](b)"]),
    st.sampled_from(State),
    st.sampled_from([None, digest("orders")]),
    st.sampled_from(Reason),
    st.booleans(),
    st.booleans(),
).map(lambda drawn: Cell(1, A, drawn[0], ORDERS, drawn[1], drawn[2], drawn[3].value, *drawn[4:]))


@many
@given(
    st.lists(CELLS, min_size=1, max_size=60),
    st.none() | st.floats(0, 1e9),
    st.integers(FIRST_LINE_MAX_CHARS, 6000) | st.just(TEXT_MAX_BYTES),
)
def test_no_text_is_too_long_and_no_table_is_broken(cells: list[Cell], age_s: float | None, max_bytes: int) -> None:
    text = status(cells, age_s, max_bytes=max_bytes)[1]
    first, *rest = text.split("\n")
    assert len(first) <= FIRST_LINE_MAX_CHARS
    assert len(text.encode()) <= max_bytes
    assert "@" not in text
    if "| component | state | digest | why |" not in rest:
        assert not any(row.startswith("|") for row in rest)
        return
    start = rest.index("| component | state | digest | why |")
    assert rest[start - 1] == ""
    rows = rest[start + 2 :]
    more = 0
    if rows[-1].startswith("and "):
        assert rows[-2] == ""
        more, rows = int(rows[-1].split()[1]), rows[:-2]
    assert rows
    assert len(rows) + more == len(cells)
    for row in rows:
        assert re.fullmatch(
            r"\| `[A-Za-z0-9._/?-]*…?` \| [a-z-]+ \| (`[0-9a-f]{12}`)? \| [a-z-]+"
            r"( \(main has moved on\))?( \(unproven\))? \|",
            row,
        )


@many
@given(TEXTS)
def test_a_name_is_never_markup_a_mention_or_a_link(name: str) -> None:
    written = plain(name)
    assert re.fullmatch(r"[A-Za-z0-9._/?-]{0,80}…?", written)
    assert "www." not in written.lower()
    assert len(written) == min(len(name), 81)


def test_an_ordinary_name_is_written_as_it_is() -> None:
    assert plain("orders-v0_worker/a.b") == "orders-v0_worker/a.b"
    assert plain("@octocat|`[a](https://b)") == "?octocat???a??https?//b?"
    assert plain("WWW.example.com") == "WWW?example.com"
