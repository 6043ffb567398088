"""The entry codec and canonical JSON: one text for one value, both ways."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from state import canonical, log_commit, sshsig
from state.canonical import Json
from state.entry import Entry, Kind, decode, subject
from state.errors import IntegrityError, InvalidValue
from state.git import CommitId
from tests.unit.test_sshsig import KEY, PUBLIC

KEYS = st.text(st.characters(max_codepoint=0x7F), max_size=8)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.builds(
    Entry,
    kind=st.sampled_from(Kind),
    sequence=st.integers(0, 2**53 - 1),
    epoch=st.integers(0, 2**53 - 1),
    writer=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
    at=st.datetimes(min_value=datetime(1970, 1, 2)).map(lambda t: f"{t:%Y-%m-%dT%H:%M:%S}Z"),  # noqa: DTZ001
    body=st.dictionaries(KEYS.filter(lambda k: k != "head"), JSON, max_size=4),
    blobs=st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True),
        st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
        max_size=3,
    ),
)


@given(value=JSON)
@example(value={"a": '\u2028\x7f\x00ü€😀"\\/'})
@example(value={"b": [], "a": {}, "B": 0, "": -1})
def test_canonical_json_equals_rfc_8785_and_reads_back(value: Json) -> None:
    raw = canonical.dumps(value)
    assert raw == rfc8785.dumps(value)
    assert canonical.loads(raw, what="test", max_bytes=len(raw)) == value


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, -(2**53), {"ü": 1}, {1: 1}, "\ud800", b"x", {"a": {1}}])
def test_values_without_one_canonical_form_are_refused(value: Json) -> None:
    with pytest.raises(InvalidValue):
        canonical.dumps(value)


@pytest.mark.parametrize("raw", [b'{"a":1,"a":2}', b"1.0", b"1e3", b"NaN", b"-Infinity", b"\xff", b"", b"[" * 100_000])
def test_json_from_outside_is_refused_where_readers_could_differ(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        canonical.loads(raw, what="test", max_bytes=len(raw))


def test_json_from_outside_is_bounded() -> None:
    with pytest.raises(InvalidValue, match="at most 3 bytes"):
        canonical.loads(b"1234", what="test", max_bytes=3)


@given(entry=ENTRIES)
def test_an_entry_reads_back_as_it_was(entry: Entry) -> None:
    assert decode(entry.encode()) == entry


@given(entry=ENTRIES, data=st.data())
def test_any_changed_byte_makes_another_entry_or_is_refused(entry: Entry, data: st.DataObject) -> None:
    raw = entry.encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != raw[at]))
    changed = raw[:at] + bytes([new]) + raw[at + 1 :]
    try:
        read = decode(changed)
    except InvalidValue:
        return
    assert read != entry
    assert read.encode() == changed


@given(entry=ENTRIES, parent=st.none() | st.just(CommitId("1" * 40)), data=st.data())
def test_any_changed_byte_of_a_signed_commit_is_refused(
    entry: Entry, parent: CommitId | None, data: st.DataObject
) -> None:
    made, raw = log_commit.sign_entry(entry, parent, lambda payload: sshsig.sign(KEY, payload))
    made.signature.check(made.payload, key=PUBLIC)
    assert made.entry == entry
    assert made.parent == parent
    at = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != raw[at]))

    def read() -> None:
        found = log_commit.parse(raw[:at] + bytes([new]) + raw[at + 1 :])
        found.signature.check(found.payload, key=PUBLIC)

    with pytest.raises((InvalidValue, IntegrityError)):
        read()


ENTRY = Entry(Kind.DECISION, 3, 1, "rec-0", "2026-01-31T23:59:59Z", {"head": "a" * 40, "pull_requests": [1, 2]})


def test_a_lying_subject_line_is_refused() -> None:
    raw = ENTRY.encode()
    assert raw.startswith(b"decision 3: head aaaaaaaaaaaa pr 1,2\n\n")
    with pytest.raises(InvalidValue, match="its subject line lies"):
        decode(raw.replace(b"head aaaa", b"head bbbb", 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b'{"at"', b'{ "at"'),
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":01'),
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":true'),
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":"1"'),
        lambda raw: raw.replace(b'"v":1', b'"v":2'),
        lambda raw: raw.replace(b'"v":1', b'"v":1,"x":1'),
        lambda raw: raw.replace(b'"kind":"decision"', b'"kind":"secret"'),
        lambda raw: raw.replace(b'"writer":"rec-0"', b'"writer":7'),
        lambda raw: raw.replace(b'"blobs":{}', b'"blobs":{"a":1}'),
        lambda raw: raw.replace(b'"blobs":{}', b'"blobs":[]'),
        lambda raw: raw + b"\n",
        lambda raw: raw[:-1],
        lambda _: b"",
        lambda _: b"x\n\n[]\n",
    ],
)
def test_an_entry_has_one_spelling(change: object) -> None:
    assert callable(change)
    changed = change(ENTRY.encode())
    assert changed != ENTRY.encode()
    with pytest.raises(InvalidValue):
        decode(changed)


@pytest.mark.parametrize(
    "entry",
    [
        replace(ENTRY, sequence=-1),
        replace(ENTRY, epoch=-1),
        replace(ENTRY, writer="Rec"),
        replace(ENTRY, writer=""),
        replace(ENTRY, at="2026-01-31 23:59:59"),
        replace(ENTRY, blobs={"../x": "a" * 40}),
        replace(ENTRY, blobs={"x": "a" * 39}),
        replace(ENTRY, body={"x": "y" * 5_000_000}),
    ],
)
def test_a_malformed_entry_is_not_encoded(entry: Entry) -> None:
    with pytest.raises(InvalidValue):
        entry.encode()


@pytest.mark.parametrize("at", ["2026-02-30T00:00:00Z", "2026-01-01T24:61:00Z", "1969-12-31T23:59:59Z"])
def test_a_time_that_git_cannot_hold_is_refused(at: str) -> None:
    with pytest.raises(InvalidValue):
        log_commit.payload(replace(ENTRY, at=at), None)


@given(entry=ENTRIES)
def test_a_subject_is_one_line(entry: Entry) -> None:
    assert re.fullmatch(r"[ -~]+", subject(entry))


def test_a_head_that_breaks_the_subject_line_is_never_written() -> None:
    entry = replace(ENTRY, body={"head": "x\n\ny"})
    with pytest.raises(InvalidValue):
        log_commit.sign_entry(entry, None, lambda payload: sshsig.sign(KEY, payload))


@pytest.mark.parametrize("depth", [100, 330, 500, 900, 990, 5000])
def test_nesting_is_read_or_refused_but_never_crashes(depth: int) -> None:
    text = ENTRY.encode().replace(b'"pull_requests":[1,2]', b'"pull_requests":' + b"[" * depth + b"]" * depth)
    _, raw = log_commit.sign_entry(ENTRY, None, lambda payload: sshsig.sign(KEY, payload))
    header, _, _ = raw.partition(b"\n\n")
    with pytest.raises(InvalidValue):  # the subject no longer fits, or the nesting is too deep
        log_commit.parse(header + b"\n\n" + text)
