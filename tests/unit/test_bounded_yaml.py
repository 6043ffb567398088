"""Every reader of YAML is done with a hostile file as soon as it gets too deep."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.bounded_yaml import DEPTH_MAX
from reconciler.gitops import documents
from reconciler.preview import manifests
from reconciler.strict_yaml import parse
from state.errors import ConfigError, InvalidValue

READERS: dict[str, Callable[[bytes], object]] = {
    "strict": lambda raw: parse(raw, what="a.yaml"),
    "lane": lambda raw: manifests.parse(raw, "a.yaml"),
    "pins": lambda raw: documents.read(raw, "a.yaml"),
}
HOSTILE = {
    "brackets in a line": (b"[" * 400_000, 1),
    "brackets that are closed": (b"x: 1\na: " + b"[" * 200_000 + b"]" * 200_000, 2),
    "braces": (b"a: " + b"{a: " * 100_000, 1),
    "brackets in lines": (b"[\n" * 200_000, DEPTH_MAX + 1),
    "dashes": (b"- " * 200_000 + b"x", 1),
    "indents": (b"".join(b" " * n + b"a:\n" for n in range(900)), DEPTH_MAX),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_what_nests_too_deeply_is_refused_with_its_line_before_it_is_parsed_whole(reader: str, name: str) -> None:
    raw, line = HOSTILE[name]
    with pytest.raises((ConfigError, InvalidValue), match=rf"a\.yaml: line {line}: nested too deeply: .* {DEPTH_MAX}"):
        READERS[reader](raw)


@pytest.mark.parametrize("reader", READERS)
def test_brackets_that_are_not_open_at_a_time_do_not_count(reader: str) -> None:
    READERS[reader](b"a: [" + b"[1], " * 1_000 + b"]\n")
    READERS[reader](b"a:\n" + b"- '[[ ]] {{ .x }} {'\n" * 300)
    READERS[reader](b"a: " + b"[" * (DEPTH_MAX - 2) + b"]" * (DEPTH_MAX - 2) + b"\n")
