"""Canonical JSON: one spelling of every value, and strict reading."""

from __future__ import annotations

import json
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from state import canonical
from state.errors import InvalidValue
from tests.thorough import examples

many = examples(120)
INT_MAX = 2**53 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(max_codepoint=127))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-INT_MAX, INT_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


# That drawn values have the bytes of RFC 8785 and read back is a property in test_entry.py.


@pytest.mark.parametrize(
    "value",
    [
        '\x00\x1f\x7f\x80\u2028\u2029\ufeff\U0001f600"\\/\b\f\n\r\t',
        {"b": 1, "a": {"Z": None, "": [True, -INT_MAX, INT_MAX]}, "~": "", "\x00": 0},
    ],
)
def test_the_awkward_characters_and_numbers_are_spelled_as_in_rfc_8785(value: canonical.Json) -> None:
    assert canonical.dumps(value) == rfc8785.dumps(value)


@many
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_in_which_members_were_added_does_not_matter(
    value: dict[str, canonical.Json], random: object
) -> None:
    rows = list(value.items())
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert canonical.dumps(dict(rows)) == canonical.dumps(value)
    assert canonical.digest(dict(rows)) == canonical.digest(value)


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), INT_MAX + 1, -INT_MAX - 1, {"ü": 1}, {1: 2}, {None: 1}, "\ud800", {"a": "\udfff"}, b"x", {1}],
)
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue):
        canonical.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"1 2",
        b"1.5",
        b"1e3",
        b"NaN",
        b"-Infinity",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"b":2,"a":3}}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"1" * 5000,
    ],
    ids=lambda raw: raw[:12].decode(errors="replace"),
)
def test_what_is_not_acceptable_json_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"^the thing: "):
        canonical.loads(raw, what="the thing", max_bytes=1_000_000)


def test_reading_is_bounded() -> None:
    assert canonical.loads(b"[1]", what="it", max_bytes=3) == [1]
    with pytest.raises(InvalidValue, match="at most 2 bytes"):
        canonical.loads(b"[1]", what="it", max_bytes=2)


def test_a_value_that_is_nested_too_deeply_to_write_is_refused() -> None:
    value: canonical.Json = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidValue, match="too deeply"):
        canonical.dumps(value)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def test_a_reader_gives_members_of_the_type_asked_for() -> None:
    read = canonical.reading(
        {"t": "x", "n": None, "i": 3, "f": True, "ts": ["a"], "is": [1], "o": {}, "os": [{}], "c": "red"}, "it"
    )
    assert (read.text("t"), read.text_or_none("t"), read.text_or_none("n")) == ("x", "x", None)
    assert (read.integer("i"), read.flag("f"), read.texts("ts"), read.integers("is")) == (3, True, ["a"], [1])
    assert (read.object("o"), read.objects("os"), read.one_of("c", Colour)) == ({}, [{}], Colour.RED)


@pytest.mark.parametrize("wrong", [None, "x", 3, True, [None], [True], {"a": 1}, 1.5])
@pytest.mark.parametrize(
    "method", ["text", "integer", "flag", "texts", "integers", "object", "objects", "text_or_none"]
)
def test_a_reader_refuses_a_member_of_another_type_by_name(method: str, wrong: object) -> None:
    fits = {
        "text": str,
        "integer": int,
        "flag": bool,
        "object": dict,
        "text_or_none": (str, type(None)),
    }.get(method, ())
    read = getattr(canonical.reading({"key": wrong}, "the thing"), method)  # type: ignore[dict-item]
    if isinstance(wrong, fits) and not (method == "integer" and wrong is True):
        assert read("key") == wrong
    else:
        with pytest.raises(InvalidValue, match=r"^the thing: key must be "):
            read("key")


@pytest.mark.parametrize("wrong", ["green", "RED", None, 5])
def test_a_reader_refuses_a_word_that_is_not_in_the_closed_list(wrong: canonical.Json) -> None:
    with pytest.raises(InvalidValue, match="c must be"):
        canonical.reading({"c": wrong}, "it").one_of("c", Colour)


def test_a_missing_member_is_refused() -> None:
    with pytest.raises(InvalidValue, match="gone"):
        canonical.reading({}, "it").text("gone")


def test_the_encoder_agrees_with_a_plain_reader() -> None:
    assert json.loads(canonical.dumps({"b": [1, "ü"], "a": None})) == {"a": None, "b": [1, "ü"]}
