"""YAML files as nodes with marks: what the GitOps modules have in common (pure).

A file is decoded once, its byte order mark set aside, and composed to nodes; nothing is constructed, so no tag, date or
number means anything here. Marks count characters of the decoded text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.bounded_yaml import DEPTH_MAX, TooDeep, compose_all
from state.errors import ConfigError

FILE_MAX_BYTES: Final = 512 * 1024
"""Of one file with pins: some seconds of parsing at worst. A person's values file has some kilobytes."""
NODES_MAX: Final = 500_000
BOM: Final = b"\xef\xbb\xbf"
_STR: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"


class File(NamedTuple):
    """A decoded file and its documents that hold something."""

    text: str
    bom: bytes
    roots: tuple[Node, ...]


def read(raw: bytes, what: str, *, max_bytes: int = FILE_MAX_BYTES) -> File:
    """Compose every document. Raises ConfigError for what is no YAML in UTF-8, too large, or nested too deeply."""
    if len(raw) > max_bytes:
        raise ConfigError(f"{what}: expected at most {max_bytes} bytes, got {len(raw)}")
    bom = BOM if raw.startswith(BOM) else b""
    try:
        text = raw.removeprefix(BOM).decode()
        if (at := text.find("\ufeff")) >= 0:
            # At the start of a line Go's parser leaves it out, so that `<mark>image` is `image` there and not here.
            number = text.count("\n", 0, at) + 1
            raise ConfigError(f"{what}: line {number}: a byte order mark, which only a file's start may have")
        composed = compose_all(text, repeated_anchors=True)
        roots = tuple(root for root in composed if root is not None and not _is_empty(root))
        for root in roots:
            _check_depth(root, what)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: expected UTF-8, got another byte at position {error.start}") from error
    except TooDeep as error:
        raise ConfigError(f"{what}: {error}") from error
    except MarkedYAMLError as error:
        # Only the parser's own words and the line: its full text quotes the file, and so perhaps a secret.
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ConfigError(f"{what}: {line}not acceptable YAML: {error.problem}") from error
    except (YAMLError, ValueError, IndexError, KeyError, AttributeError, AssertionError, TypeError) as error:
        # The parser trips over some garbage with errors of its own kind.
        raise ConfigError(f"{what}: not acceptable YAML: {type(error).__name__}") from error
    return File(text, bom, roots)


def is_text(node: Node) -> bool:
    """Whether it is a scalar that every reader takes for text."""
    return isinstance(node, ScalarNode) and str(node.tag) == _STR


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and str(node.tag) == _NULL


def own(mapping: Node, name: str) -> list[tuple[Node, Node]]:
    """The pairs that the mapping itself has under `name`: none, one, or duplicates."""
    if not isinstance(mapping, MappingNode):
        return []
    return [(key, value) for key, value in mapping.value if is_text(key) and key.value == name]


def text_of(mapping: Node, name: str) -> str | None:
    """The text that the mapping itself has under `name`; None if it has none, or several."""
    found = own(mapping, name)
    return str(found[0][1].value) if len(found) == 1 and is_text(found[0][1]) else None


def merged(mapping: Node) -> list[Node]:
    """The mappings that `<<` merges into this one."""
    if not isinstance(mapping, MappingNode):
        return []
    values = [value for key, value in mapping.value if isinstance(key, ScalarNode) and key.value == "<<"]
    return [one for value in values for one in (value.value if isinstance(value, SequenceNode) else [value])]


def identity(root: Node) -> tuple[str | None, str | None]:
    """A Kubernetes document's `kind` and `metadata.name`."""
    metadata = own(root, "metadata")
    return text_of(root, "kind"), text_of(metadata[0][1], "name") if len(metadata) == 1 else None


def children(node: Node) -> Iterator[Node]:
    """The nodes right below."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def kind_of(node: Node) -> str:
    """What is there, for people; never a value, which may be a secret."""
    match node:
        case MappingNode():
            return "a mapping"
        case SequenceNode():
            return "a list"
        case ScalarNode() if is_null(node):
            return "nothing"
        case ScalarNode() if is_text(node):
            return "text"
        case _:
            return f"a {str(node.tag).rpartition(':')[2][:40]}"


def line(node: Node) -> int:
    """From 1."""
    return int(node.start_mark.line) + 1


def _is_empty(root: Node) -> bool:
    return is_null(root) and not root.value


def _check_depth(root: Node, what: str) -> None:
    """Each node once, however many aliases lead to it: a document of aliases must not be walked as it reads."""
    seen: set[int] = set()
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if depth > DEPTH_MAX or len(seen) > NODES_MAX:
            raise ConfigError(f"{what}: expected at most {DEPTH_MAX} levels and {NODES_MAX} values, got more")
        waiting.extend((child, depth + 1) for child in children(node))
