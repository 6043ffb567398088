"""Markers: what is signed is one canonical statement, with a published schema, and nothing else is read as one."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import approval, canonical
from state.approval import (
    ADMISSION,
    APPROVAL,
    PAYLOAD_MAX_BYTES,
    REVOCATION,
    Admission,
    Approval,
    Marker,
    Revocation,
    parse,
    payload,
)
from state.errors import InvalidValue
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from tests.fixtures.approvals import ORDERS, admits, approves, revokes, statement_of

SCHEMAS = {
    kind: json.loads((resources.files("state") / "schema" / f"{name}-v1.json").read_text())
    for kind, name in ((APPROVAL, "publish-approval"), (ADMISSION, "admission"), (REVOCATION, "revocation"))
}
EXAMPLES: dict[str, Marker] = {"approval": approves("alice", "bob"), "admission": admits(), "revocation": revokes()}

_ids = st.text("0123456789abcdef", min_size=32, max_size=32)
_counts = st.integers(1, 2**53 - 1)
_digests = st.binary(max_size=2).map(Digest.of)
_commits = st.sampled_from("ab").map(lambda c: CommitId(c * 40))
_times = st.tuples(st.integers(0, 253_402_300_799), st.integers(0, 253_402_300_799)).map(sorted)
_people = st.lists(st.sampled_from(["alice", "bob", "c.d-e_f", "0"]), min_size=1, max_size=4, unique=True).map(
    lambda names: tuple(sorted(names))
)
_images = st.dictionaries(
    st.text("abc", min_size=1, max_size=4).map(lambda n: Repository(f"localhost:5000/shop/{n}")),
    _digests,
    min_size=1,
    max_size=4,
)
_bases = st.sampled_from([RefName("refs/heads/main"), RefName("refs/heads/é/x")])
markers = st.one_of(
    _times.flatmap(
        lambda t: st.builds(
            Approval, _ids, _counts, _counts, _bases, _commits, _digests, _digests, st.just("dev"), _digests,
            st.just(t[0]), st.just(t[1]), _people, _images,
        )
    ),
    _times.flatmap(
        lambda t: st.builds(
            Admission, _ids, _counts, _counts, _counts, _commits, _digests, st.just(t[0]), st.just(t[1]), _people
        )
    ),
    st.builds(Revocation, _ids, _counts, st.integers(0, 253_402_300_799), _people),
)  # fmt: skip


@settings(deadline=None)
@given(markers)
def test_what_is_written_is_read_again_and_fits_the_schema(marker: Marker) -> None:
    raw = payload(marker)
    assert parse(raw) == marker
    value = json.loads(raw)
    jsonschema.validate(value, SCHEMAS[value["predicateType"]])
    others = [schema for kind, schema in SCHEMAS.items() if kind != value["predicateType"]]
    assert not any(jsonschema.Draft202012Validator(schema).is_valid(value) for schema in others)


def p(**changed: Any) -> Any:
    return lambda v: v["predicate"].update(changed)


SPOILED = [
    lambda v: v["predicate"].pop("approvers"),
    lambda v: v["predicate"].pop("id"),
    lambda v: v.pop("subject"),
    lambda v: v.update(more=1),
    lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
    lambda v: v.update(predicateType="https://spdx.dev/Document"),
    lambda v: v.update(subject=[]),
    lambda v: v["subject"].append({"digest": {"gitCommit": "a" * 40}, "name": "more"}),
    lambda v: v["subject"][0].update(name="other"),
    lambda v: v["subject"][0].update(more=1),
    p(more=1),
    p(id="1" * 31),
    p(id="G" * 32),
    p(id=1),
    p(approvers=[]),
    p(approvers=["alice", "alice"]),
    p(approvers=["Alice"]),
    p(approvers=["al\u0456ce"]),
    p(approvers=["alice\u200b"]),
    p(approvers=[f"a{n}" for n in range(9)]),
    p(issued_at=-1),
    p(issued_at=2**53 - 1),
    p(issued_at="1"),
    p(issued_at=True),
    p(repository_id=0),
    p(repository_id="4711"),
]
ONLY_APPROVALS = [
    p(head="a" * 12),
    p(head="A" * 40),
    p(base="main"),
    p(target="Dev"),
    p(target="d\u0435v"),
    p(plan="0" * 64),
    p(policy=None),
    p(pull_request=0),
    p(pull_request=1.5),
    p(not_after=10**15),
    lambda v: v["subject"].pop(),
    lambda v: v["subject"][1].update(name="orders"),
    lambda v: v["subject"].pop(0),
    lambda v: v["subject"][0]["digest"].update(gitCommit="a" * 12),
    lambda v: v["subject"][1]["digest"].update(sha256="a" * 12),
]


@pytest.mark.parametrize("edit", SPOILED)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_anything_else_is_refused(kind: str, edit: Any) -> None:
    value = statement_of(EXAMPLES[kind])
    edit(value)
    with pytest.raises(InvalidValue):
        parse(canonical.dumps(value))


@pytest.mark.parametrize("edit", ONLY_APPROVALS)
def test_a_spoiled_approval_is_refused(edit: Any) -> None:
    value = statement_of(approves()._replace(images={ORDERS: Digest.of(b"orders")}))
    edit(value)
    with pytest.raises(InvalidValue):
        parse(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize("edit", SPOILED)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_the_schema_refuses_it_too(kind: str, edit: Any) -> None:
    value = statement_of(EXAMPLES[kind])
    schema = SCHEMAS[value["predicateType"]]
    edit(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


@pytest.mark.parametrize("edit", ONLY_APPROVALS)
def test_the_schema_of_approvals_refuses_a_spoiled_one_too(edit: Any) -> None:
    value = statement_of(approves()._replace(images={ORDERS: Digest.of(b"orders")}))
    edit(value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, SCHEMAS[APPROVAL])


@pytest.mark.parametrize(
    "marker",
    [
        approves(not_after=approves().issued_at - 1),
        approves("bob", "alice"),
        approves(images={}),
        approves(id="x"),
        admits(head_repository_id=0),
        admits(not_after=0),
        approves(images={Repository(f"ghcr.io/acme/{n:0200d}"): Digest.of(b"") for n in range(200)}),
    ],
)
def test_what_would_be_refused_is_not_written_either(marker: Marker) -> None:
    with pytest.raises(InvalidValue):
        payload(marker)


def test_the_order_of_subjects_is_fixed() -> None:
    value = statement_of(approves())
    value["subject"][1:] = value["subject"][:0:-1]
    with pytest.raises(InvalidValue):
        parse(canonical.dumps(value))


def test_only_the_canonical_bytes_are_a_marker() -> None:
    raw = payload(approves())
    for other in (
        raw + b" ",
        json.dumps(json.loads(raw)).encode(),
        raw.replace(b'"head":', b'"head":"' + b"b" * 40 + b'","head":'),
        raw.replace(b'"alice"', b'"\\u0061lice"'),
        b" " * (PAYLOAD_MAX_BYTES + 1),
    ):
        with pytest.raises(InvalidValue):
            parse(other)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.integers(1, 300).map(lambda n: b"[" * n))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        parse(raw)


@settings(deadline=None)
@given(markers, st.integers(0, 5000), st.binary(min_size=1, max_size=3))
def test_a_change_of_any_byte_is_refused_or_another_marker(marker: Marker, at: int, put: bytes) -> None:
    raw = payload(marker)
    at %= len(raw)
    changed = raw[:at] + put + raw[at + len(put) :]
    try:
        found = parse(changed)
    except InvalidValue:
        return
    assert (found == marker) == (changed == raw)
    assert approval.payload(found) == changed
