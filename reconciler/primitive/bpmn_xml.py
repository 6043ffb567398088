"""Reading XML of strangers: UTF-8, no document type, no entities, bounded in bytes, lines, depth and attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from state.errors import InvalidValue

MAX_BYTES: Final = 1024 * 1024
MAX_LINES: Final = 50_000  # The parser counts lines in 16 bits.
MAX_DEPTH: Final = 64
MAX_ELEMENTS: Final = 20_000
_MAX_ATTRIBUTES: Final = 100
_MAX_WORDS_CHARS: Final = 200
_DECLARED: Final = re.compile(r"<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([^\"']*)[\"']")


class RefusedXml(InvalidValue):
    """Not a document that is read. `line` is where, from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True)
class Node:
    """An element. Attribute names are bare where they have no namespace, else `{namespace}name`."""

    namespace: str
    name: str
    line: int
    attributes: Mapping[str, str]
    children: tuple[Node, ...]

    def get(self, attribute: str) -> str:
        return self.attributes.get(attribute, "")

    def walk(self) -> Iterator[Node]:
        """This element and all below it, in the order of the document."""
        yield self
        for child in self.children:
            yield from child.walk()


def parse_xml(raw: bytes) -> Node:
    """The root element. Raises RefusedXml."""
    if len(raw) > MAX_BYTES:
        raise RefusedXml(1, f"expected at most {MAX_BYTES} bytes, got {len(raw)}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RefusedXml(line, f"expected UTF-8, got another byte at position {error.start}") from error
    if (lines := text.count("\n") + 1) > MAX_LINES:
        raise RefusedXml(MAX_LINES, f"expected at most {MAX_LINES} lines, got {lines}")
    declared = _DECLARED.match(text)
    if declared is not None and declared[1].upper() not in {"UTF-8", "US-ASCII"}:
        raise RefusedXml(1, "expected the encoding UTF-8, got another one")
    # Before the parser sees any of it: without a document type there are no entities to define, expand or fetch.
    for word in ("<!DOCTYPE", "<!ENTITY"):
        if (at := text.upper().find(word)) >= 0:
            line = text.count("\n", 0, at) + 1
            raise RefusedXml(line, "a document type or entity is not allowed; remove it")
    return _convert(_root(text), 1, [0])


def _root(text: str) -> Any:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        words = "".join(c for c in (error.msg or "not XML") if c.isprintable())[:_MAX_WORDS_CHARS]
        raise RefusedXml(max(1, error.lineno or 1), f"not well-formed: {words}") from error


def _convert(element: Any, depth: int, seen: list[int]) -> Node:
    seen[0] += 1
    line = int(element.sourceline or 1)
    if depth > MAX_DEPTH:
        raise RefusedXml(line, f"expected elements at most {MAX_DEPTH} deep, got deeper ones")
    if seen[0] > MAX_ELEMENTS:
        raise RefusedXml(line, f"expected at most {MAX_ELEMENTS} elements, got more")
    if len(element.attrib) > _MAX_ATTRIBUTES:
        raise RefusedXml(line, f"expected at most {_MAX_ATTRIBUTES} attributes, got {len(element.attrib)}")
    name = etree.QName(element)
    return Node(
        name.namespace or "",
        name.localname,
        line,
        {str(k): str(v) for k, v in element.attrib.items()},
        tuple(_convert(child, depth + 1, seen) for child in element if isinstance(child.tag, str)),
    )
