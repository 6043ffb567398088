"""Reading a YAML file as plain JSON values: bounded, no anchors, no tags, no duplicate keys, each value with its line.

YAML 1.2, one document. What two readers could take for different things is refused instead of guessed: anchors and
aliases, merge keys, tags, keys that are not text, and scalars that YAML turns into dates or fractions.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.bounded_yaml import TooDeep, compose
from state.canonical import Json
from state.errors import ConfigError

Location: TypeAlias = "tuple[str | int, ...]"

_TAG: Final = "tag:yaml.org,2002:"
_INTEGER_MAX_CHARS: Final = 20


@dataclass(frozen=True, slots=True)
class Document:
    """The value, and the line (from 1) where each part of it starts. `problems` are already located and worded."""

    value: Json
    lines: Mapping[Location, int] = field(default_factory=dict)
    problems: tuple[tuple[Location, str], ...] = ()

    def line(self, at: Location) -> int | None:
        """The line of `at`, or of the nearest part around it that exists."""
        return next((self.lines[at[:n]] for n in range(len(at), -1, -1) if at[:n] in self.lines), None)


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file (symbolic links are followed, as a ConfigMap needs). Raises ConfigError."""
    try:
        # Non-blocking, so that a named pipe without a writer is refused instead of waited for.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path}: cannot be read: {why}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConfigError(f"{path}: expected a regular file, got another kind")
    with os.fdopen(handle, "rb") as file:
        raw = file.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise ConfigError(f"{path}: expected at most {max_bytes} bytes, got more")
    return raw


def parse(raw: bytes, *, what: str) -> Document:
    """Parse one document. Raises ConfigError where there is no document to speak of; lists all else in `problems`."""
    try:
        node = compose(raw.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: expected UTF-8, got another byte at position {error.start}") from error
    except TooDeep as error:
        raise ConfigError(f"{what}: {error}") from error
    except MarkedYAMLError as error:
        # Only the parser's own words and the line: its full text quotes the file, and so perhaps a secret.
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ConfigError(f"{what}: {line}not acceptable YAML: {error.problem}") from error
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{what}: not acceptable YAML: {type(error).__name__}") from error
    if node is None:
        raise ConfigError(f"{what}: the file is empty")
    lines: dict[Location, int] = {}
    problems: list[tuple[Location, str]] = []
    value = _value(node, (), lines, problems)
    return Document(value, lines, tuple(problems))


def shown(at: Location) -> str:
    """`repositories[0].forge.path`; the whole document is `(top level)`."""
    return "".join(_steps(at)).removeprefix(".") or "(top level)"


def _steps(at: Location) -> Iterator[str]:
    for step in at:
        yield f"[{step}]" if isinstance(step, int) else f".{step}"


def _value(node: Node, at: Location, lines: dict[Location, int], problems: list[tuple[Location, str]]) -> Json:
    lines[at] = node.start_mark.line + 1
    if node.anchor is not None:
        problems.append((at, "anchors and aliases are not allowed; write the value out"))
        return None  # An alias may lead back to itself: what it names is not walked.
    tag = str(node.tag)
    match node:
        case MappingNode() if tag == _TAG + "map":
            return _mapping(node, at, lines, problems)
        case SequenceNode() if tag == _TAG + "seq":
            return [_value(inner, (*at, n), lines, problems) for n, inner in enumerate(node.value)]
        case ScalarNode():
            return _scalar(node, tag, at, problems)
        case _:
            problems.append((at, f"the tag {tag[:80]} is not allowed"))
            return None


def _mapping(
    node: MappingNode, at: Location, lines: dict[Location, int], problems: list[tuple[Location, str]]
) -> dict[str, Json]:
    made: dict[str, Json] = {}
    for key, inner in node.value:
        plain = isinstance(key, ScalarNode) and str(key.tag) == _TAG + "str" and key.anchor is None
        if not plain or not key.value.isascii() or not key.value.isprintable():
            problems.append((at, f"line {key.start_mark.line + 1}: expected a plain ASCII key, got something else"))
        elif key.value in made:
            problems.append(((*at, key.value), f"appears twice, again on line {key.start_mark.line + 1}"))
        else:
            made[key.value] = _value(inner, (*at, key.value), lines, problems)
    return made


def _scalar(node: ScalarNode, tag: str, at: Location, problems: list[tuple[Location, str]]) -> Json:
    text = str(node.value)
    match tag.removeprefix(_TAG):
        case "str" if text.isprintable():
            return text
        case "str":
            problems.append((at, "expected printable text on one line, got other characters"))
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int" if len(text) <= _INTEGER_MAX_CHARS:
            try:
                return int(text) if text.lstrip("+-0").isdecimal() else int(text.replace("_", ""), 0)
            except ValueError:
                problems.append((at, "expected a whole number in decimal digits, got another form"))
        case "int" | "float":
            problems.append((at, "expected a whole number of at most 53 bits, got another number"))
        case "timestamp":
            problems.append((at, "expected text or a whole number, got a date; put it in quotes if text is meant"))
        case _:
            problems.append((at, f"the tag {tag[:80]} is not allowed"))
    return None
