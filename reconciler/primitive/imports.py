"""What the sources import, and what of it is not allowed (pure). Tests may import what they like."""

from __future__ import annotations

import ast
import json
import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.primitive.layout import is_test
from reconciler.primitive.names import Kind, Primitive
from reconciler.primitive.report import Issue

_PRIMITIVE: Final = re.compile(rf"(?:^|.*/)primitives/({'|'.join(Kind)})/([^/]+)(?:/.*)?")
_PYTHON_PRIMITIVE: Final = re.compile(rf"primitives\.({'|'.join(Kind)})\.([^.]+)(?:\..*)?")
# Each token may lack its end, so that no text is looked at twice.
_GO_TOKENS: Final = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|`[^`]*`?|\"(?:\\.|[^\"\\\n])*\"?", re.DOTALL)
_GO_HEAD_MAX_CHARS: Final = 128 * 1024
_GO_IMPORT: Final = re.compile(
    r"^[ \t]*import\s{0,99}(?:\(([^)]{0,20000})\)|(?:[\w.]+[ \t]+)?([\"`][^\"`\n]*[\"`]))", re.MULTILINE
)
_GO_REST: Final = re.compile(r"^(?:func|type|var|const)\b", re.MULTILINE)
_GO_STRING: Final = re.compile(r"[\"`]([^\"`\n]*)[\"`]")
_JS_IMPORT: Final = re.compile(
    r"(?:\bfrom|\bimport|\brequire\s{0,4}\(|\bimport\s{0,4}\()\s{0,8}[\"']([^\"'\n]{1,500})[\"']"
)
_JS: Final = re.compile(r"\.[cm]?[jt]sx?$")
_GO_REQUIRE: Final = re.compile(r"(?:^|\s|=>)\s*([^\s()\"]+/[^\s()\"]+|\.\.?/[^\s]+)")

_NO_PROTO: Final = "the workspace SDK instead of the protos themselves"


def check_imports(primitive: Primitive, files: Mapping[str, bytes]) -> list[Issue]:
    """Every import that is not allowed, with file and line."""
    issues = []
    own = _own_module(files.get("go.mod", b""))
    for path, raw in files.items():
        text = raw.decode("utf-8", "replace")
        if is_test(path, primitive.language):
            continue
        try:
            found = list(_imports(path, text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None) or 0
            issues.append(Issue(path, "imports", "a source that can be parsed", type(error).__name__, line))
            continue
        for line, name in found:
            if (why := _refused(primitive, path, name, own)) is not None:
                issues.append(Issue(path, "import", why, name[:200], line))
    return issues


def _imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    name = path.rpartition("/")[2]
    if path.endswith(".go"):
        yield from _go(text)
    elif path.endswith(".py"):
        yield from _python(text)
    elif _JS.search(path):
        for found in _JS_IMPORT.finditer(text):
            yield _line(text, found.start(1)), found[1]
    elif name == "go.mod":
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.startswith("module "):
                for found in _GO_REQUIRE.finditer(line.partition("//")[0]):
                    yield number, found[1]
    elif name == "package.json":
        yield from _package_json(text)


def _go(text: str) -> Iterator[tuple[int, str]]:
    # Comments become blanks, so that what follows keeps its place.
    bare = _GO_TOKENS.sub(lambda t: re.sub(r"[^\n]", " ", t[0]) if t[0].startswith("/") else t[0], text)
    rest = _GO_REST.search(bare)
    head = (bare[: rest.start()] if rest else bare)[:_GO_HEAD_MAX_CHARS]
    for found in _GO_IMPORT.finditer(head):
        group = 1 if found[1] is not None else 2
        for name in _GO_STRING.finditer(found[group]):
            yield _line(text, found.start(group) + name.start(1)), name[1]


def _python(text: str) -> Iterator[tuple[int, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What is odd in sources of others is not ours to tell.
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def _package_json(text: str) -> Iterator[tuple[int, str]]:
    value = json.loads(text)
    for section in ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies"):
        listed = value.get(section) if isinstance(value, dict) else None
        for name, version in sorted(listed.items()) if isinstance(listed, dict) else []:
            line = _line(text, max(0, text.find(json.dumps(name))))
            yield line, name
            if isinstance(version, str) and version.startswith(("file:", "link:", "portal:")):
                yield line, version.partition(":")[2]


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _own_module(go_mod: bytes) -> str:
    found = re.search(r"^module\s+\"?([^\s\"]+)", go_mod.decode("utf-8", "replace"), re.MULTILINE)
    return found[1] if found else ""


def _refused(primitive: Primitive, path: str, name: str, own: str) -> str | None:
    """What to import instead; None if this may be imported."""
    if own and (name == own or name.startswith(f"{own}/")):
        return None
    if re.search(r"(?:^|[/.])ameide_core_proto(?:$|[/.])", name) or name.startswith("@ameide/core-proto"):
        return _NO_PROTO
    if name.startswith(("buf.build/gen/", "@buf/")):
        return _NO_PROTO
    if name.startswith("."):
        name = posixpath.normpath(posixpath.join(primitive.path, posixpath.dirname(path), name))
        if name.startswith("packages/ameide_core_proto"):
            return _NO_PROTO
    other = _PRIMITIVE.fullmatch(name) or _PYTHON_PRIMITIVE.fullmatch(name)
    if other is not None and (other[1], other[2]) not in {
        (primitive.kind, primitive.name),
        (primitive.kind, primitive.snake),
    }:
        return "no other primitive: they talk through their services and events"
    return None
