"""Commit ids and ref names are what git says they are."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state.errors import InvalidValue
from state.git import CommitId, RefName
from tests.thorough import examples

HEX = "0123456789abcdef0123456789abcdef01234567"


@given(st.from_regex(r"[0-9a-f]{40}", fullmatch=True))
def test_forty_lower_case_hex_digits_are_a_commit_id(text: str) -> None:
    assert CommitId(text) == text
    assert CommitId(text).short == text[:12]


@pytest.mark.parametrize(
    "text",
    ["", HEX[:39], HEX + "8", HEX[:12], HEX.upper(), HEX + "\n", " " + HEX, "٠" * 40, "０" * 40, "g" * 40, None, 5],
)
def test_anything_else_is_not_a_commit_id(text: object) -> None:
    with pytest.raises(InvalidValue, match="commit id"):
        CommitId(text)  # type: ignore[arg-type]


def accepted_by_git(name: str) -> bool:
    done = subprocess.run(["git", "check-ref-format", name.encode()], check=False, capture_output=True)
    return done.returncode == 0


WORDS = st.sampled_from(
    ["a", "main", ".", "..", "/", "@", "{", "@{", ".lock", "~", "^", ":", "?", "*", "[", "\\", " ", "ü"]
)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")


@examples(250)
@given(st.lists(WORDS | CHARACTERS, min_size=1, max_size=7).map("".join))
@example("heads/a.lock/b")
@example("heads/a\n")
@example("heads/a.lock\n")
@example("heads/.a")
@example("heads/a.")
@example("heads/a./b")
@example("heads/@")
@example("heads/-a")
@example("heads/a\x7f")
@example("heads/a\x80")
def test_a_name_below_refs_is_accepted_exactly_where_git_accepts_it(rest: str) -> None:
    name = "refs/" + rest
    try:
        accepted = RefName(name) == name
    except InvalidValue:
        accepted = False
    assert accepted == accepted_by_git(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "main",
        "heads/main",
        "refs/",
        "Refs/heads/main",
        "refs/heads/\ud800",
        "refs/heads/a\x00",
        "refs/" + "a" * 251,
        None,
    ],
)
def test_what_is_not_a_full_name_below_refs_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue, match="ref name"):
        RefName(text)  # type: ignore[arg-type]


def test_a_branch_is_known_by_its_short_name() -> None:
    assert RefName.branch("feature/x") == "refs/heads/feature/x"
    assert RefName.branch("feature/x").short == "feature/x"
    assert RefName("refs/pull/1/head").short == "refs/pull/1/head"
