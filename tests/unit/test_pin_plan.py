"""A plan of pins: equal facts, equal bytes; its schema is what it writes; anything else is refused."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import canonical
from state.errors import InvalidValue
from state.oci import Digest, Repository
from state.pin_plan import Edit, PinPlan, Target, check, target_name
from tests.fixtures.approvals import EDITS, HEAD, MAIN, PLAN, TARGETS

SCHEMA = json.loads((resources.files("state") / "schema" / "pin-plan-v1.json").read_text())

_names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
_words = st.text("ab.é[]", min_size=1, max_size=6).filter(lambda t: t not in {".", ".."})
_edits = st.builds(
    lambda file, key, component, name: Edit(
        file, key, component, Repository(f"ghcr.io/acme/{name}"), Digest.of(name.encode())
    ),
    st.lists(_words, min_size=1, max_size=3).map("/".join),
    _words,
    _words,
    st.text("abc", min_size=1, max_size=3),
)
plans = st.builds(
    PinPlan,
    repository_id=st.integers(1, 2**53 - 1),
    pull_request=st.integers(1, 2**31),
    head=st.just(HEAD),
    release_set=st.binary(max_size=2).map(Digest.of),
    target=st.builds(Target, _names, st.integers(1, 2**40), st.just(MAIN), _names),
    edits=st.lists(_edits, min_size=1, max_size=5, unique_by=lambda e: (e.file, e.key)).map(
        lambda edits: tuple(sorted(edits))
    ),
)


def value() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(PLAN.to_bytes())
    return made


@settings(deadline=None)
@given(plans)
def test_what_is_written_is_read_again_and_fits_the_schema(plan: PinPlan) -> None:
    raw = plan.to_bytes()
    check(plan)
    assert PinPlan.parse(raw) == plan
    assert plan.digest() == Digest.of(raw)
    jsonschema.validate(json.loads(raw), SCHEMA)
    assert str(plan.branch).startswith(f"refs/heads/ameide/{plan.target.name}/pr-{plan.pull_request}/{HEAD.short}-")


@settings(deadline=None)
@given(plans, plans)
def test_two_plans_have_one_digest_only_if_they_are_equal(one: PinPlan, other: PinPlan) -> None:
    assert (one.digest() == other.digest()) == (one == other)


SPOILED = [
    lambda v: v.pop("release_set"),
    lambda v: v.update(more=1),
    lambda v: v.update(schema_version=2),
    lambda v: v.update(schema_version=True),
    lambda v: v.update(head="a" * 39),
    lambda v: v.update(head="A" * 40),
    lambda v: v.update(pull_request="41"),
    lambda v: v.update(pull_request=0),
    lambda v: v.update(repository_id=-1),
    lambda v: v.update(release_set="sha512:1"),
    lambda v: v.update(edits=[]),
    lambda v: v["target"].update(name="Dev"),
    lambda v: v["target"].update(name="../x"),
    lambda v: v["target"].update(base="main"),
    lambda v: v["target"].update(gitops_repository_id=0),
    lambda v: v["target"].update(more=1),
    lambda v: v["target"].pop("environment"),
    lambda v: v["edits"][0].update(image="ghcr.io/acme/orders:main"),
    lambda v: v["edits"][0].update(image="orders@sha256:" + "0" * 64),
    lambda v: v["edits"][0].update(more=1),
    lambda v: v["edits"][0].update(file="/etc/passwd"),
    lambda v: v["edits"][0].update(key=""),
    lambda v: v["edits"][0].update(component=""),
    lambda v: v["edits"][0].pop("key"),
]
WORSE = [
    lambda v: v["edits"].reverse(),
    lambda v: v["edits"].append(v["edits"][1]),
    lambda v: v["edits"][0].update(file="apps/../../x"),
    lambda v: v["edits"][0].update(file="apps//x"),
    lambda v: v["edits"][0].update(file=".git/config"),
    lambda v: v["edits"][0].update(file="apps/a\\b"),
    lambda v: v["edits"][1].update(file="apps/\u202eyaml"),
    lambda v: v["edits"][0].update(key="image\nref"),
    lambda v: v["edits"][0].update(component="\x1b[2J"),
    lambda v: v["edits"][1].update(image=f"{EDITS[0].repository}@sha256:" + "0" * 64),
    lambda v: v["edits"].extend(
        [{**v["edits"][1], "file": f"z/{n:04d}/{'x' * 250}", "key": "k" * 500} for n in range(1500)]
    ),
]
"""What no schema can say."""


@pytest.mark.parametrize("edit", [*SPOILED, *WORSE])
def test_anything_else_is_refused(edit: Any) -> None:
    made = value()
    edit(made)
    with pytest.raises(InvalidValue):
        PinPlan.parse(canonical.dumps(made))


@pytest.mark.parametrize("edit", SPOILED)
def test_the_schema_refuses_it_too(edit: Any) -> None:
    made = value()
    edit(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA)


def test_only_the_canonical_bytes_are_a_plan() -> None:
    raw = PLAN.to_bytes()
    for other in (raw + b"\n", json.dumps(json.loads(raw)).encode(), raw.replace(b'"head":', b'"head":"b","head":')):
        with pytest.raises(InvalidValue):
            PinPlan.parse(other)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    with pytest.raises(InvalidValue):
        PinPlan.parse(raw)


def test_an_unrelated_target_or_edit_gives_another_digest_and_branch() -> None:
    staging = PLAN._replace(target=TARGETS["staging"])
    fewer = PLAN._replace(edits=EDITS[:1])
    assert len({PLAN.digest(), staging.digest(), fewer.digest()}) == 3
    assert len({PLAN.branch, staging.branch, fewer.branch}) == 3


@pytest.mark.parametrize("name", ["", "-dev", "Dev", "dеv", "dev\n", "a" * 64, "a/b", "a.b"])
def test_a_target_is_named_so_that_it_fits_into_branches(name: str) -> None:
    with pytest.raises(InvalidValue):
        target_name(name)
