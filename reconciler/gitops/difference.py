"""What differs between two sets of files by meaning, and whether that is exactly what was approved (pure).

Nothing here knows how edits are made: both sides are parsed whole and compared value by value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.gitops.documents import identity, kind_of, line, read
from reconciler.gitops.edits import pinned, policy_problems, spans
from reconciler.gitops.keys import Key
from state.errors import ConfigError, IntegrityError
from state.pin_plan import Edit

VALUES_MAX: Final = 200_000
"""Of one file with its aliases written out."""
_TAG: Final = "tag:yaml.org,2002:"

Path: TypeAlias = "tuple[str | int, ...]"
"""The number of the document, then keys of mappings and numbers of list items."""


class Value(NamedTuple):
    """A scalar, or that there is a collection. Two are equal only if every reader takes them for the same."""

    tag: str
    text: str = ""


class Difference(NamedTuple):
    """One value that is not the same. None where there is nothing on that side."""

    file: str
    path: Path
    old: Value | None
    new: Value | None

    def __str__(self) -> str:
        return f"{self.file}: {_named(self.path)}: {_shown(self.old)} → {_shown(self.new)}"


def difference(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[Difference, ...]:
    """Every value that differs, in order. Comments, quotes and the order of keys mean nothing.

    Raises ConfigError for a file that differs and cannot be compared.
    """
    return tuple(_difference(_Side(before), _Side(after)))


def verify(before: Mapping[str, bytes], after: Mapping[str, bytes], edits: Sequence[Edit]) -> None:
    """Pass if `after` is `before` with exactly `edits` made.

    Raises:
        IntegrityError: a value differs that no edit names, an edit was not made, a byte outside the edited scalars
            changed, or the digest policy has something against a result.
        ConfigError: a file cannot be read, or has no such place.
    """
    old, new = _Side(before), _Side(after)
    expected = {(e.file, old.path(e)): Value("str", pinned(e)) for e in edits}
    problems: list[str] = []
    for one in _difference(old, new):
        wanted = expected.get((one.file, one.path))
        if wanted is None:
            problems.append(f"{one}: not approved")
        elif one.new != wanted:
            problems.append(f"{one}: approved was {_shown(wanted)}")
    for name, path in sorted(expected, key=lambda place: (place[0], _order(place[1]))):
        wanted = expected[name, path]
        if name in after and new.values(name).get(path) != wanted:
            problems.append(f"{name}: {_named(path)}: approved was {_shown(wanted)}, which is not there")
    if not problems:
        problems += _other_bytes(before, after, edits)
        problems += policy_problems(after, edits)
    if problems:
        raise IntegrityError("the proposed files are not what was approved:\n" + "\n".join(f"  {p}" for p in problems))


class _Side:
    """One set of files; each is parsed at most once."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self._read: dict[str, tuple[list[tuple[str | None, str | None]], dict[Path, Value]]] = {}

    def values(self, name: str) -> dict[Path, Value]:
        """Every scalar and every collection by its path, aliases written out. Raises ConfigError."""
        return self._parsed(name)[1]

    def path(self, edit: Edit) -> Path:
        """The path of an edit's key, found by values alone. Raises ConfigError, InvalidValue."""
        key, where = Key.parse(edit.key), f"{edit.file}: {edit.key}"
        if edit.file not in self.files:
            raise ConfigError(f"{where}: there is no such file")
        identities, values = self._parsed(edit.file)
        fits = [n for n, found in enumerate(identities) if key.document is None or found == key.document]
        if len(fits) != 1:
            raise ConfigError(f"{where}: expected one document, got {len(fits)}")
        path: Path = (fits[0],)
        for step in key.steps:
            path = (*path, step.name)
            if step.item is not None:
                wanted = Value("str", step.item.value)
                numbers = range(sum(len(p) == len(path) + 1 and p[:-1] == path for p in values))
                found = [n for n in numbers if values.get((*path, n, step.item.field)) == wanted]
                if len(found) != 1:
                    raise ConfigError(f"{where}: expected one item at {step}, got {len(found)}")
                path = (*path, found[0])
        if path not in values:
            raise ConfigError(f"{where}: there is no value there")
        return path

    def _parsed(self, name: str) -> tuple[list[tuple[str | None, str | None]], dict[Path, Value]]:
        if name not in self._read:
            found: dict[Path, Value] = {}
            roots = read(self.files[name], name).roots
            try:
                for number, root in enumerate(roots):
                    _walk(root, (number,), found, name, frozenset())
            except RecursionError as error:
                raise ConfigError(f"{name}: nested too deeply with aliases written out") from error
            self._read[name] = [identity(root) for root in roots], found
        return self._read[name]


def _difference(before: _Side, after: _Side) -> Iterator[Difference]:
    for name in sorted({*before.files, *after.files}):
        old, new = before.files.get(name), after.files.get(name)
        if old == new:
            continue
        if old is None or new is None:
            yield Difference(name, (), *(None if raw is None else Value("file") for raw in (old, new)))
            continue
        one, other = before.values(name), after.values(name)
        for path in sorted({*one, *other}, key=_order):
            if one.get(path) != other.get(path):
                yield Difference(name, path, one.get(path), other.get(path))


def _other_bytes(before: Mapping[str, bytes], after: Mapping[str, bytes], edits: Sequence[Edit]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        mine = [e for e in edits if e.file == name]
        if before[name] != after[name] and _around(before[name], mine, name) != _around(after[name], mine, name):
            yield f"{name}: bytes outside the approved values changed"


def _around(raw: bytes, edits: Sequence[Edit], name: str) -> list[bytes]:
    """The bytes around the edited scalars. One that was empty had no blank before it, and then got one."""
    pieces, at = list[bytes](), 0
    for start, end in spans(raw, edits, name):
        piece = raw[at:start]
        pieces.append(piece.removesuffix(b" ") if piece.endswith(b": ") else piece)
        at = end
    return [*pieces, raw[at:]]


def _walk(node: Node, at: Path, found: dict[Path, Value], what: str, inside: frozenset[int]) -> None:
    if len(found) > VALUES_MAX:
        raise ConfigError(f"{what}: expected at most {VALUES_MAX} values with aliases written out, got more")
    if id(node) in inside:
        raise ConfigError(f"{what}: an alias on line {line(node)} leads back into itself")
    tag = str(node.tag).removeprefix(_TAG)
    match node:
        case ScalarNode():
            found[at] = Value(tag, "" if tag == "null" else str(node.value))
        case SequenceNode():
            found[at] = Value(tag)
            for number, one in enumerate(node.value):
                _walk(one, (*at, number), found, what, inside | {id(node)})
        case MappingNode():
            found[at] = Value(tag)
            for key, value in node.value:
                if not isinstance(key, ScalarNode):
                    raise ConfigError(f"{what}: line {line(key)}: expected a plain key, got {kind_of(key)}")
                below = (*at, str(key.value))
                if below in found:
                    raise ConfigError(f"{what}: line {line(key)}: {str(key.value)[:80]} appears twice")
                _walk(value, below, found, what, inside | {id(node)})


def _order(path: Path) -> tuple[tuple[str, int], ...]:
    return tuple((step, 0) if isinstance(step, str) else ("", step) for step in path)


def _named(path: Path) -> str:
    return ".".join(map(str, path[1:])) or "(the whole)"


def _shown(value: Value | None) -> str:
    if value is None:
        return "nothing"
    return repr(value.text[:200]) if value.tag == "str" else value.tag
