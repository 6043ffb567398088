"""Other people's files hold anything: linter and offline rendering answer or refuse in words; they never crash."""

from __future__ import annotations

import contextlib
import copy
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from reconciler.preview.applications import PullRequest, generate
from reconciler.preview.lint.engine import lane_of, lint
from reconciler.preview.lint.lane import Lane
from reconciler.preview.manifests import Manifest, parse
from state.errors import InvalidValue, ReconcilerError
from state.git import CommitId
from tests.fixtures.lane import HEAD, variant_files
from tests.thorough import examples

ODD = st.sampled_from(
    [
        None,
        True,
        7,
        -1,
        "",
        "x",
        "{{",
        "{{ . }}",
        "{{ .number }}",
        [],
        [[]],
        [None],
        {},
        {"a": None},
        [{"x": 1}],
        {"": {}},
    ]
)
BOMB = b"a: &a [x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n".encode() for n in range(9)
)
MANIFESTS = [m for path, raw in variant_files("label-images").items() for m in parse(raw, path)]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    made = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, v in inner:
        made += places(v, (*path, key))
    return made


def replaced(m: Manifest, place: tuple[str | int, ...], odd: Any) -> Manifest:
    value = copy.deepcopy(dict(m.value))
    target: Any = value
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = odd
    return Manifest(m.file, value, m.lines)


@given(data=st.data())
@examples(120, suppress_health_check=[HealthCheck.too_slow])
def test_no_value_anywhere_breaks_the_linter_or_the_rendering(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(MANIFESTS) - 1))
    m = MANIFESTS[n]
    for _ in range(data.draw(st.integers(1, 3))):
        m = replaced(m, data.draw(st.sampled_from(places(m.value))), data.draw(ODD))
    lane = Lane((*MANIFESTS[:n], m, *MANIFESTS[n + 1 :]), {}, rendered=(m,), before=Lane((m,), {}))
    assert lint(lane, {}, date(2026, 1, 1)).findings is not None
    if m.kind == "ApplicationSet":
        try:
            made = generate(m.value, PullRequest(7, CommitId(HEAD), author="alice"))
        except ReconcilerError:
            return
        assert isinstance(made, list)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"a: [",
        b"a: 1\na: 2",
        b"a: &x [*x]",
        b"? [1]\n: 2",
        b"[" * 5000,
        b"&a [1,1,1,1,1,1,1,1,1,1]: x",
        b"a: !!python/object:os.system x",
        b"a: 0o9",
        b"<<: 5",
        b"!!binary x: y",
    ],
)
def test_a_file_that_is_odd_is_read_or_told(raw: bytes) -> None:
    with contextlib.suppress(InvalidValue):
        parse(raw, "x.yaml")
    assert lint(lane_of({"x.yaml": raw}), {"x.yaml": raw}, date(2026, 1, 1)).findings is not None


def test_a_file_whose_aliases_stand_for_too_much_is_told() -> None:
    with pytest.raises(InvalidValue, match="more than 200000 values"):
        parse(BOMB, "x.yaml")
