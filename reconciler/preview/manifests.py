"""Reading the YAML of a GitOps repository as it is found: several documents a file, each value with its line (pure).

Other people's files are judged here, not our configuration: anchors, long texts and any scalar are taken as YAML says.
What cannot be read is told, never skipped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.bounded_yaml import DEPTH_MAX, TooDeep, compose_all
from state.errors import InvalidValue

Path_: TypeAlias = "tuple[str | int, ...]"

VALUES_MAX: Final = 200_000
_MARK: Final = "\ufeff"
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document: an object of Kubernetes, or another mapping (values, kustomizations)."""

    file: str
    value: Mapping[str, Any]
    lines: Mapping[Path_, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.value.get("kind", ""))

    @property
    def group(self) -> str:
        return str(self.value.get("apiVersion", "")).rpartition("/")[0]

    @property
    def name(self) -> str:
        return str(mapping(self.value.get("metadata")).get("name", ""))

    @property
    def namespace(self) -> str:
        return str(mapping(self.value.get("metadata")).get("namespace", ""))

    def at(self, *path: str | int) -> Any:
        """The value there; None where there is none."""
        value: Any = self.value
        for step in path:
            if isinstance(value, Mapping) and isinstance(step, str):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        return value

    def line(self, *path: str | int) -> int:
        """The line of that value, or of the nearest one around it."""
        return next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), 1)


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: other people's files hold anything."""
    return value if isinstance(value, Mapping) else {}


def listing(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def texts(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """Every text below, and every key, with its place."""
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, inner in value.items():
                yield (*path, key), key
                yield from texts(inner, (*path, key))
        case list():
            for n, inner in enumerate(value):
                yield from texts(inner, (*path, n))


def parse(raw: bytes, file: str) -> tuple[Manifest, ...]:
    """Every document of a file that is a mapping, and every item of one that is a list of objects (`kind: List`).

    Raises InvalidValue with the line of what is not YAML, or what Argo CD's parser would read in another way.
    """
    try:
        text = raw.decode()
        if (at := text.find(_MARK, 1)) > 0:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: a byte order mark that is not at the start")
        nodes = [n for n in compose_all(text) if n is not None]
        found = [made for node in nodes if (made := _manifest(node, file)) is not None]
        return tuple(one for made in found for one in (made, *_items(made)))
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{file}: expected UTF-8, got another byte at position {error.start}") from error
    except TooDeep as error:
        raise InvalidValue(f"{file}: {error}") from error
    except MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"{error.problem_mark.line + 1}"
        raise InvalidValue(f"{file}:{line}: not YAML: {error.problem}") from error
    except (YAMLError, ValueError) as error:
        raise InvalidValue(f"{file}: not YAML: {error}") from error


def _manifest(node: Node, file: str) -> Manifest | None:
    lines: dict[Path_, int] = {}
    value = _Walk(lines).value(node, ())
    return Manifest(file, value, lines) if isinstance(value, dict) else None


def _items(made: Manifest) -> Iterator[Manifest]:
    """The objects of a list of them, as Argo CD and kubectl take it apart, each with its own lines."""
    if not made.kind.endswith("List") or not made.value.get("apiVersion"):
        return
    for n, item in enumerate(listing(made.at("items"))):
        if isinstance(item, Mapping):
            lines = {path[2:]: line for path, line in made.lines.items() if path[:2] == ("items", n)}
            one = Manifest(made.file, item, lines)
            yield from (one, *_items(one))


class _Walk:
    def __init__(self, lines: dict[Path_, int]) -> None:
        self._lines = lines
        self._left = VALUES_MAX

    def value(self, node: Node, at: Path_) -> Any:
        # An alias stands for all it names, so what is counted is what comes out, not what is written.
        self._left -= 1
        if self._left < 0 or len(at) > DEPTH_MAX:
            raise ValueError(f"more than {VALUES_MAX} values, or nested deeper than {DEPTH_MAX}")
        self._lines[at] = node.start_mark.line + 1
        match node:
            case MappingNode():
                return self._mapping(node, at)
            case SequenceNode():
                return [self.value(inner, (*at, n)) for n, inner in enumerate(node.value)]
            case ScalarNode():
                return _scalar(node)
            case _:
                return None

    def _mapping(self, node: MappingNode, at: Path_) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        made: dict[str, Any] = {}
        for key, inner in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else "?"
            if str(key.tag) == f"{_TAG}binary":
                raise ValueError(f"line {key.start_mark.line + 1}: a key in base64")
            if str(key.tag) == f"{_TAG}merge":
                parts = inner.value if isinstance(inner, SequenceNode) else [inner]
                for part in reversed(parts):
                    merged |= mapping(self.value(part, at))
                continue
            if name in made:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {name} is there twice")
            made[name] = self.value(inner, (*at, name))
            self._lines[(*at, name)] = key.start_mark.line + 1
        return {**merged, **made}


def _scalar(node: ScalarNode) -> Any:
    text = str(node.value)
    match str(node.tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return text.lower() in {"true", "yes", "on"}
        case "int":
            try:
                return int(text.replace("_", ""), 0)
            except ValueError:
                return text
        case _:
            return text
