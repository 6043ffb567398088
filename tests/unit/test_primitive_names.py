"""Names of primitives, and what a primitive of each kind consists of."""

from __future__ import annotations

import json
import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import primitive as commands
from reconciler.primitive.deploy_files import find
from reconciler.primitive.layout import BPMN, GENERATED_ROOTS, MARKER, SHAPE, from_templates, in_roots, is_test
from reconciler.primitive.names import NAME_MAX_CHARS, Kind, Primitive
from reconciler.primitive.scaffold import expected_tree
from reconciler.primitive.secret_scan import scan
from reconciler.primitive.templates_data import read_templates
from state.errors import InvalidValue

names = st.one_of(
    st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,2}", fullmatch=True),
)
BAD = [
    *(
        "",
        "-a",
        "a-",
        "a--b",
        "_a",
        "a_",
        "a__b",
        "a-b_c",
        "A",
        "aB",
        "1a",
        "a.b",
        "a/b",
        "..",
        ".",
        "a b",
        "a\n",
        "a\0",
    ),
    *("á", "а", "a‐b", "a–b", "ａ", "ﬁ", "a\u0301", "İ", "a\u200b", "٣", "a³", "-", "--name", "a" * 37, "a" * 300),
    *("internal", "vendor", "testdata", "con", "nul", "aux", "prn", "com1", "lpt9", "v1", "v2", "v10"),
]


@pytest.mark.parametrize("name", BAD)
def test_any_other_name_is_refused_in_ascii(name: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Primitive(Kind.DOMAIN, name)
    assert str(caught.value).startswith("--name: ")
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "name", ["a", "orders", "order-intake", "transformation_v2", "b2b", "a" * NAME_MAX_CHARS, "v2-orders"]
)
def test_names_of_both_forms_are_taken(name: str) -> None:
    assert Primitive(Kind.PROCESS, name).path == f"primitives/process/{name}"


@given(text=st.text(max_size=60))
def test_what_is_taken_is_an_identifier_everywhere(text: str) -> None:
    try:
        taken = Primitive(Kind.DOMAIN, text)
    except InvalidValue:
        return
    assert re.fullmatch(r"[a-z0-9_-]+", taken.name)


@given(name=names, kind=st.sampled_from(Kind))
def test_a_name_has_its_forms_and_fits_where_it_goes(name: str, kind: Kind) -> None:
    try:
        taken = Primitive(kind, name)
    except InvalidValue:
        return
    assert taken.snake.isidentifier()
    assert len(f"production-{kind}-{name}-v10") <= 63
    assert len(f"{kind}-{name}-v10") <= 53
    assert re.fullmatch(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", f"primitive-{kind}-{name}")  # an image repository


def test_keywords_are_names_since_no_file_or_package_is_called_by_them() -> None:
    for word in sorted(w for w in keyword.kwlist if w.islower()):
        for kind in Kind:
            tree = expected_tree(Primitive(kind, word), None, None, None)
            assert not any(word == part for path in tree.merged() for part in re.split(r"[/.]", path) if part != "from")


def test_names_that_differ_in_their_separators_alone_are_twins() -> None:
    assert Primitive(Kind.DOMAIN, "order-intake").twin_in(["orders", "order_intake"]) == "order_intake"
    assert Primitive(Kind.DOMAIN, "order-intake").twin_in(["orders", "order-intake"]) is None


def test_the_command_line_takes_exactly_the_kinds_there_are() -> None:
    assert list(commands._KINDS) == sorted(Kind)


@pytest.mark.parametrize("kind", Kind)
@given(name=names)
def test_a_tree_is_the_same_whenever_it_is_made_and_has_what_verify_asks_for(kind: Kind, name: str) -> None:
    try:
        primitive = Primitive(kind, name)
    except InvalidValue:
        return
    tree = expected_tree(primitive, None, None, None)
    assert tree == expected_tree(primitive, None, None, None)
    files = tree.merged()
    assert not tree.owned.keys() & tree.generated.keys()
    for wanted in SHAPE[kind]:
        assert any(path in files for path in wanted.split("|"))
    tests = [p for p in files if is_test(p, primitive.language)]
    assert tests
    assert all(MARKER.encode() in files[p] for p in tests)
    assert not any(MARKER.encode() in raw for p, raw in files.items() if p not in tests and p != "README.md")
    assert find(files) == []
    assert scan(files) == []
    for path, raw in files.items():
        assert not re.search(rb"\{\{ [a-z]+ \}\}", raw), path
        assert raw.endswith(b"\n")
        assert path.rpartition("/")[2] not in ("go.sum", "package-lock.json", "uv.lock")
        if path.endswith(".json"):
            json.loads(raw)
    assert all(
        in_roots(p, GENERATED_ROOTS[kind]) or p.endswith(("_gen.go", "compile.lock.json")) for p in tree.generated
    )


@given(name=names, data=st.data())
def test_templates_in_any_order_make_the_same_tree(name: str, data: st.DataObject) -> None:
    try:
        primitive = Primitive(Kind.PROCESS, name)
    except InvalidValue:
        return
    templates = read_templates(Kind.PROCESS)
    shuffled = dict(data.draw(st.permutations(list(templates.items()))))
    assert from_templates(primitive, shuffled).merged() == from_templates(primitive, templates).merged()
    assert list(from_templates(primitive, shuffled).merged()) == sorted(templates)
    assert BPMN in templates
