"""The release set: equal facts, equal bytes; its schema is what it writes; anything else is refused."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import InvalidValue
from state.git import CommitId
from state.observed import How
from state.oci import OCI_INDEX, Digest, Manifest, Repository
from state.release_set import ReleasedImage, ReleaseSet, layer_of

HEAD = CommitId("1" * 40)
SCHEMA = json.loads((resources.files("state") / "schema" / "release-set-v1.json").read_text())

_digests = st.binary(max_size=4).map(Digest.of)
_names = st.text("abc", min_size=1, max_size=5)
_images = st.builds(
    ReleasedImage,
    repository=_names.map(lambda name: Repository(f"registry.example/shop/{name}")),
    digest=_digests,
    how=st.sampled_from(How),
    components=st.lists(_names, max_size=3).map(tuple),
    recorded_at=st.just("2026-01-31T12:00:00Z"),
    evidence=st.lists(_digests, max_size=3).map(tuple),
)
_sets = st.builds(
    ReleaseSet,
    repository_id=st.integers(1, 2**40),
    head=st.just(HEAD),
    policy=_digests,
    decision=st.lists(st.just(CommitId("2" * 40)), min_size=1, max_size=3).map(tuple),
    images=st.lists(_images, min_size=1, max_size=5, unique_by=lambda i: i.repository).map(tuple),
)


def example() -> dict[str, Any]:
    image = ReleasedImage(
        Repository("registry.example/shop/orders"), Digest.of(b"a"), How.BUILT, ("orders",), "2026-01-31T12:00:00Z", ()
    )
    made: dict[str, Any] = json.loads(ReleaseSet(1, HEAD, Digest.of(b"p"), (HEAD,), (image,)).to_bytes())
    return made


@given(_sets)
def test_what_is_written_is_read_again_and_fits_the_schema(made: ReleaseSet) -> None:
    assert ReleaseSet.parse(made.to_bytes()) == made
    fits(json.loads(made.to_bytes()), SCHEMA)
    assert layer_of(made.manifest()) == Digest.of(made.to_bytes())
    assert made.manifest() == ReleaseSet.parse(made.to_bytes()).manifest()


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.pop("policy"),
        lambda v: v.update(more=1),
        lambda v: v.update(schema_version=2),
        lambda v: v.update(head="1" * 39),
        lambda v: v["images"][0].update(tag="2" * 40),
        lambda v: v["images"][0].update(digest="sha256:1"),
        lambda v: v["images"][0].update(how="guessed"),
        lambda v: v["images"][0].pop("evidence"),
    ],
)
def test_anything_else_is_refused(edit: Any) -> None:
    value = example()
    edit(value)
    raw = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InvalidValue):
        ReleaseSet.parse(raw)


def test_another_spelling_of_the_same_is_refused() -> None:
    with pytest.raises(InvalidValue, match="not in canonical form"):
        ReleaseSet.parse(json.dumps(example(), indent=1).encode())


def test_another_manifest_is_no_release_set() -> None:
    with pytest.raises(InvalidValue):
        layer_of(Manifest.of(OCI_INDEX, b'{"manifests":[]}'))


def fits(value: Any, schema: dict[str, Any]) -> None:
    """The part of JSON Schema that this schema uses, and no other part."""
    if "$ref" in schema:
        fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
        return
    if "const" in schema:
        assert value == schema["const"]
    if "enum" in schema:
        assert value in schema["enum"]
    match schema.get("type"):
        case "object":
            assert schema["additionalProperties"] is False
            assert set(value) == set(schema["required"]) == set(schema["properties"])
            for name, member in value.items():
                fits(member, schema["properties"][name])
        case "array":
            assert len(value) >= schema.get("minItems", 0)
            for item in value:
                fits(item, schema["items"])
        case "string":
            assert re.fullmatch(schema.get("pattern", ".*"), value)
        case "integer":
            assert type(value) is int
        case None:
            assert {"const", "enum"} & set(schema)
        case other:
            raise AssertionError(f"the schema uses {other}")
