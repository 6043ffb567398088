"""Composing YAML to nodes within bounds on its depth (pure).

The parser keeps every open bracket of a line in mind and goes through all of them at each token, so its work grows with
the square of them: such a line is refused before it is parsed. Whatever else nests is refused where it gets too deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.nodes import Node

DEPTH_MAX: Final = 100
"""Levels of mappings and lists, and brackets open at a time in one line, whatever they mean there."""
_BRACKET: Final = re.compile(r"[\[\]{}\n]")


class TooDeep(ValueError):
    """The text is nested too deeply; the message says where."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line}: nested too deeply: expected at most {DEPTH_MAX} levels")


def compose(text: str) -> Node | None:
    """The one document of `text`, None for an empty one. Raises TooDeep, and YAMLError of the parser."""
    _check_brackets(text)
    yaml = _yaml()
    yaml.composer.warn_double_anchors = False  # whoever takes one document takes no anchors
    try:
        node: Node | None = yaml.compose(text)
        return node
    except MaxDepthExceededError as error:
        raise _too_deep(error) from error


def compose_all(text: str, *, repeated_anchors: bool = False) -> Iterator[Node | None]:
    """Every document. Of an anchor that is set twice the later one counts, as YAML says, and it is warned of unless
    `repeated_anchors`. Raises as `compose`."""
    _check_brackets(text)
    yaml = _yaml()
    if repeated_anchors:
        yaml.composer.warn_double_anchors = False
    try:
        yield from yaml.compose_all(text)
    except MaxDepthExceededError as error:
        raise _too_deep(error) from error


def _yaml() -> YAML:
    made = YAML(typ="safe", pure=True)
    made.max_depth = DEPTH_MAX
    return made


def _too_deep(error: MaxDepthExceededError) -> TooDeep:
    return TooDeep(1 if error.problem_mark is None else int(error.problem_mark.line) + 1)


def _check_brackets(text: str) -> None:
    depth, line = 0, 1
    for found in _BRACKET.finditer(text):
        match found[0]:
            case "\n":
                depth, line = 0, line + 1
            case "[" | "{":
                depth += 1
            case _:
                depth = max(0, depth - 1)
        if depth > DEPTH_MAX:
            raise TooDeep(line)
