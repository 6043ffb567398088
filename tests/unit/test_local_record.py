"""The codec of a pull request's record on the forge `local`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.local_record import ID_MAX, RECORD_MAX_BYTES, Record, State, decode
from state.errors import InvalidValue
from state.git import CommitId, RefName

RECORD = Record(
    number=7,
    state=State.OPEN,
    base=RefName("refs/heads/main"),
    author_id=42,
    head_repository_id=4711,
    labels=("hold", "preview"),
    draft=True,
    title="Faster orders",
    head_branch=RefName("refs/heads/orders"),
)
GOLDEN = (
    b'{"author_id":42,"base":"refs/heads/main","draft":true,"head_branch":"refs/heads/orders",'
    b'"head_repository_id":4711,"labels":["hold","preview"],"number":7,"state":"open","title":"Faster orders","v":1}'
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

records = st.builds(
    Record,
    number=st.integers(1, 2**31 - 1),
    state=st.sampled_from(State),
    base=st.just(RefName("refs/heads/main")),
    author_id=st.integers(1, ID_MAX),
    head_repository_id=st.none() | st.integers(1, ID_MAX),
    labels=st.sets(TEXT.filter(bool), max_size=4).map(lambda found: tuple(sorted(found))),
    draft=st.booleans(),
    title=TEXT,
    body=TEXT,
    head_branch=st.none() | st.just(RefName("refs/heads/größe")),
    pushed=st.none() | st.tuples(st.just(CommitId("a" * 40)), st.integers(1, ID_MAX)),
    close_reason=TEXT,
)


def changed(**fields: Any) -> bytes:
    """The golden record with some fields replaced (None removes one), still in canonical form."""
    value = {k: v for k, v in {**json.loads(GOLDEN), **fields}.items() if v is not ...}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_the_bytes_on_disk_are_fixed() -> None:
    assert RECORD.encode() == GOLDEN
    assert decode(GOLDEN, 7) == RECORD


@given(records)
def test_reading_gives_back_what_was_written(record: Record) -> None:
    assert decode(record.encode(), record.number) == record


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"number":' + b"9" * 5000 + b"}",
        GOLDEN + b"\n",
        GOLDEN.replace(b'"number":7', b'"number":7,"number":7'),
        GOLDEN.replace(b'"v":1', b'"v":1.0'),
        GOLDEN.replace(b"Faster orders", b"\\ud800"),
        GOLDEN.replace(b"Faster orders", b"x" * RECORD_MAX_BYTES),
        changed(v=2),
        changed(v=...),
        changed(state="opened"),
        changed(state=1),
        changed(number="7"),
        changed(number=True),
        changed(number=8),
        changed(base="main"),
        changed(base="refs/tags/v1"),
        changed(base="refs/heads/../x"),
        changed(head_branch=""),
        changed(head_branch="refs/pull/1/head"),
        changed(author_id=0),
        changed(author_id=ID_MAX + 1),
        changed(head_repository_id=-1),
        changed(head_repository_id=...),
        changed(labels="hold"),
        changed(labels=["preview", "hold"]),
        changed(labels=["hold", "hold"]),
        changed(labels=[""]),
        changed(labels=[1]),
        changed(labels=[f"{n:04}" for n in range(101)]),
        changed(labels=["x" * 101]),
        changed(draft=0),
        changed(draft=None),
        changed(title=""),
        changed(title="x" * 257),
        changed(merged_by=1),
    ],
    ids=lambda raw: raw[-60:].decode(errors="backslashreplace"),
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        decode(raw, 7)


def test_a_later_format_is_named_as_such() -> None:
    with pytest.raises(InvalidValue, match="format version 2, this program reads 1"):
        decode(changed(v=2), 7)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode(errors="replace")))
def test_strange_bytes_give_no_other_error(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        decode(raw, 7)


@given(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255))
def test_one_wrong_byte_gives_a_value_with_those_bytes_or_an_error(at: int, byte: int) -> None:
    raw = GOLDEN[:at] + bytes([byte]) + GOLDEN[at + 1 :]
    try:
        found = decode(raw, 7)
    except InvalidValue:
        return
    assert found.encode() == raw
