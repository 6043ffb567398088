"""What is done with a lane's pull request, the list of its files, and what the operator's log adds up to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lane.deciding import Act, Seen, decide, ended
from reconciler.lane.file_list import PATH, difference, listed, read_list, with_list
from reconciler.lane.records import Proposal, Proposals, Standing, State, Step, intent_body, outcome_body
from reconciler.lane.wording import body, changed, title
from reconciler.ports import Change
from reconciler.preview.render import HEADER
from state.entry import Entry, Kind, decode, subject
from state.errors import ConfigError, InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest

MAIN, BRANCH = RefName.branch("main"), RefName.branch("ameide/lane/7/0123456789ab")
OURS, THEIRS = CommitId("a" * 40), CommitId("b" * 40)
OPENED = Proposal(Step.OPEN, BRANCH, MAIN, "alice", OURS, (CommitId("c" * 40),))


def change(number: int, *, is_open: bool = False, merged: bool = False) -> Change:
    return Change(number, BRANCH, MAIN, is_open, "", "", merged)


def standing(state: State = State.OPEN, number: int | None = 1, *, closed_by_us: bool = False) -> Standing:
    return Standing(OPENED, state, (OURS,), number, closed_by_us)


def act(seen: Seen, before: Standing | None = None, *, again: bool = False) -> Act:
    return decide(before, seen, again=again).act


@pytest.mark.parametrize("again", [False, True])
def test_nothing_is_proposed_where_nothing_differs(again: bool) -> None:
    for tip in (None, OURS, THEIRS):
        assert act(Seen(False, tip, (change(1),), False), standing(), again=again) is Act.NONE


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("before", [None, standing(), standing(State.DECLINED)])
def test_a_commit_that_is_not_ours_is_never_worked_on(before: Standing | None, again: bool) -> None:
    for changes in ((), (change(1, is_open=True),), (change(1),)):
        assert act(Seen(True, THEIRS, changes, True), before, again=again) is Act.HANDS_OFF


@pytest.mark.parametrize(
    ("changes", "before", "without", "with_again"),
    [
        ((), None, Act.OPEN, Act.OPEN),
        ((change(1),), standing(), Act.DECLINED, Act.OPEN),
        ((change(1, merged=True),), standing(State.MERGED), Act.DECLINED, Act.OPEN),
        ((change(1),), standing(State.CLOSED, closed_by_us=True), Act.OPEN, Act.OPEN),
        ((change(1), change(2)), standing(State.CLOSED, closed_by_us=True), Act.DECLINED, Act.OPEN),
        ((change(1), change(2, is_open=True)), standing(State.DECLINED), Act.KEEP, Act.KEEP),
    ],
)
def test_a_persons_no_counts_and_our_own_close_does_not(
    changes: tuple[Change, ...], before: Standing | None, without: Act, with_again: Act
) -> None:
    seen = Seen(True, None, changes, True)
    assert (act(seen, before), act(seen, before, again=True)) == (without, with_again)


def test_an_open_one_that_does_not_merge_is_brought_up_to_the_base() -> None:
    opened = (change(1, is_open=True),)
    assert act(Seen(True, OURS, opened, False), standing()) is Act.UPDATE
    assert act(Seen(True, OURS, opened, True), standing()) is Act.KEEP


def test_what_became_of_one_is_told_by_the_forge_and_the_branch() -> None:
    assert ended(standing(), OURS, (change(1, is_open=True),)) is None
    assert ended(standing(), THEIRS, (change(1, is_open=True),)) is State.HANDS_OFF
    assert ended(standing(), OURS, (change(1, merged=True),)) is State.MERGED
    assert ended(standing(), OURS, (change(1),)) is State.DECLINED
    assert ended(standing(closed_by_us=True), OURS, (change(1),)) is State.CLOSED
    assert ended(standing(), OURS, ()) is State.DROPPED


# --- the log


def entry(kind: Kind, body_: dict[str, Any]) -> Entry:
    return Entry(kind, 3, 1, "rec-0", "2026-01-31T23:59:59Z", body_)


def test_an_entry_is_read_back_and_its_subject_says_what_it_is() -> None:
    made = entry(Kind.INTENT, intent_body(OPENED))
    assert decode(made.encode()) == made
    assert subject(made) == "intent 3: 1 lane proposals"


def test_the_log_adds_up() -> None:
    log, intent = Proposals(), CommitId("1" * 40)
    log.apply(intent, entry(Kind.INTENT, intent_body(OPENED)))
    assert (log.standing[BRANCH].state, log.standing[BRANCH].commits) == (State.INTENDED, (OURS,))
    assert list(log.open_intents) == [intent]
    log.apply(CommitId("2" * 40), entry(Kind.OUTCOME, outcome_body(intent, OPENED._replace(change=4), State.OPEN)))
    assert (log.standing[BRANCH].state, log.standing[BRANCH].change, log.open_intents) == (State.OPEN, 4, {})
    closing = OPENED._replace(step=Step.CLOSE, commit=None, change=4)
    log.apply(intent, entry(Kind.INTENT, intent_body(closing)))
    log.apply(CommitId("3" * 40), entry(Kind.OUTCOME, outcome_body(intent, closing, State.CLOSED)))
    assert (log.standing[BRANCH].closed_by_us, log.standing[BRANCH].commits) == (True, (OURS,))


def test_what_no_intent_opened_is_not_believed() -> None:
    with pytest.raises(InvalidValue, match="no intent"):
        Proposals().apply(OURS, entry(Kind.OUTCOME, outcome_body(None, OPENED, State.OPEN)))
    with pytest.raises(InvalidValue, match="without a commit"):
        Proposals().apply(OURS, entry(Kind.INTENT, intent_body(OPENED._replace(commit=None))))


def test_entries_of_other_commands_are_passed_over() -> None:
    log = Proposals()
    log.apply(OURS, entry(Kind.INTENT, {"untags": []}))
    log.apply(OURS, entry(Kind.TOMBSTONE, {"tags": [], "withdrawn": [], "seen_at": "2026-01-31T23:59:59Z"}))
    assert (log.standing, log.open_intents) == ({}, {})


# --- the list

RENDERED = f"# {HEADER}\n".encode()
paths = st.sampled_from(["a.yaml", "b/a.yaml", "b/c.yaml", "d.yaml"])
trees = st.dictionaries(paths, st.sampled_from([RENDERED, RENDERED + b"x: 1\n", b"by: hand\n"]))
lanes = st.dictionaries(paths, st.sampled_from([RENDERED + b"x: 1\n", RENDERED + b"x: 2\n"]), min_size=1)


@given(former=lanes, rendered=lanes, there=trees)
def test_no_file_is_touched_that_no_rendering_wrote(
    former: dict[str, bytes], rendered: dict[str, bytes], there: dict[str, bytes]
) -> None:
    before = read_list(listed(former), "list")
    made = difference(rendered, there, before)
    for path, new in made.files.items():
        if new is None:
            assert path not in rendered
            assert there[path] == former[path]
        elif path not in made.in_the_way:
            assert there.get(path, RENDERED).startswith(RENDERED)
    if not made.in_the_way:
        after = {p: raw for p, raw in {**there, **made.files}.items() if raw is not None}
        assert {p: after[p] for p in rendered} == rendered
        assert {p: raw for p, raw in there.items() if p not in made.files}.items() <= after.items()
        assert not difference(rendered, after, read_list(listed(rendered), "list")).files


def test_sha256sum_reads_the_list() -> None:
    files = with_list({"a.yaml": RENDERED})
    assert files[PATH].decode() == f"# {HEADER}\n{Digest.of(RENDERED).hex}  a.yaml\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a checklist\n",
        RENDERED + b"0123  a.yaml\n",
        RENDERED + b"0" * 64 + b" a.yaml\n",
        RENDERED + b"0" * 64 + b"  ../a.yaml\n",
        RENDERED + b"0" * 64 + b"  /etc/passwd\n",
        RENDERED + b"0" * 64 + b"  .git/config\n",
        RENDERED + 2 * (b"0" * 64 + b"  a.yaml\n"),
        RENDERED + b"".join(b"%064d  a%d.yaml\n" % (n, n) for n in range(2_001)),
        RENDERED + b"\xff\n",
    ],
)
def test_what_is_no_list_of_ours_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigError, match="list"):
        read_list(raw, "list")


# --- texts


def test_texts_fit_a_forge_whatever_is_in_the_lane() -> None:
    rendered = {f"{'long' * 50}-{n}|`.yaml": RENDERED for n in range(2_000)}
    made = difference(rendered, {}, {})
    files = changed(made, {})
    text = body(files, made._replace(edited=tuple(rendered)), Digest.of(b""), "alice", OURS)
    assert len(text) < 65_536
    assert "and 19" in text
    assert len(title("shop", files)) < 120
