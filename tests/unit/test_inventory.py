"""The inventory file: what is previewed and where it is pinned."""

from __future__ import annotations

import pytest

from reconciler.inventory import parse_inventory
from state.errors import ConfigError
from state.git import CommitId
from state.observed import Inventory, Pin

COMMIT = CommitId("b" * 40)
PINNED = """\
version: 1
components:
  a:
    previewed: true
    pins:
    - {{environment: dev, file: x, key: '{}'}}
"""


def problems(raw: bytes) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_inventory(raw, COMMIT)
    return caught.value.problems


def test_an_inventory_is_read_and_a_pin_has_a_usual_key() -> None:
    raw = b"""\
version: 1
components:
  b:
    previewed: true
    pins: [{environment: dev, file: v/b.yaml}, {environment: dev, file: v/b.yaml, key: migrations.image.ref}]
  a: {previewed: true}
  c: {previewed: false, pins: []}
"""
    assert parse_inventory(raw, COMMIT) == Inventory(
        COMMIT,
        ("a", "b"),
        {"b": (Pin("v/b.yaml", "image.ref", "dev"), Pin("v/b.yaml", "migrations.image.ref", "dev")), "a": (), "c": ()},
    )


def test_every_problem_is_named_at_once_with_its_path_and_line() -> None:
    raw = b"""\
version: 1
components:
  a: {previewed: 1, pins: [{environment: dev, file: ../x, key: a..b}, {environment: dev, file: x, value: 3}]}
  b: {pins: [{environment: dev, file: x}]}
  c: {previewed: true, pins: [{environment: dev, file: x}, {environment: dev, file: x}]}
  D: {previewed: true}
"""
    assert [p.split(":")[0] for p in problems(raw)] == [
        "components.a.previewed (line 3)",
        "components.a.pins[0].file (line 3)",
        "components.a.pins[0].key (line 3)",
        "components.a.pins[1].value (line 3)",
        "components.b.previewed (line 4)",
        "components.c.pins[1] (line 5)",
        "components.D (line 6)",
    ]


@pytest.mark.parametrize("key", ["images", "image", "repository", "inputs", "platforms"])
@pytest.mark.parametrize("top", [True, False])
def test_a_key_of_the_catalogue_is_told_where_it_belongs(key: str, top: bool) -> None:
    line = f"{key}: x\n" if top else f"    {key}: x\n"
    raw = b"version: 1\ncomponents:\n  a:\n    previewed: true\n" + line.encode()
    (problem,) = problems(raw)
    assert "belongs in the catalogue (code repository), not here" in problem


def test_one_place_cannot_be_the_pin_of_two_components() -> None:
    one = "{previewed: true, pins: [{environment: dev, file: x}]}"
    raw = f"version: 1\ncomponents:\n  a: {one}\n  b: {one}\n".encode()
    (problem,) = problems(raw)
    assert problem.startswith("components.b.pins[0] (line 4): x image.ref is already a pin of components.a")


@pytest.mark.parametrize(
    "key",
    ["image.ref", "images[name=ghcr.io/acme/orders].digest", "Deployment/orders#spec.containers[name=app].image"],
)
def test_a_pin_takes_every_key_of_the_grammar(key: str) -> None:
    raw = PINNED.format(key)
    assert parse_inventory(raw.encode(), COMMIT).pins["a"] == (Pin("x", key, "dev"),)


@pytest.mark.parametrize("key", ["containers[0].image", "images[name=x]", "a[b=c", "Deployment#image", "image.ref "])
def test_a_key_that_is_none_is_told_with_its_line(key: str) -> None:
    raw = PINNED.format(key)
    (problem,) = problems(raw.encode())
    assert problem.startswith("components.a.pins[0].key (line 6): key: ")
