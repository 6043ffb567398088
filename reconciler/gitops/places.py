"""Finding the scalar that a key names in a file, and its exact characters (pure).

What could be read in two ways is refused: a duplicate on the way, an alias, a value that comes from a merge, a value
that other places share by its anchor, a scalar of several lines.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, NamedTuple

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reconciler.gitops.documents import File, children, identity, is_null, is_text, kind_of, line, merged, own, text_of
from reconciler.gitops.keys import Item, Key

_ANCHOR: Final = re.compile(r"&[^\s,\[\]{}]+[ \t]+")
_COLON: Final = re.compile(r"\s*:")
_PLAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:@-]*[A-Za-z0-9])?")


class Problem(Exception):
    """Why a place cannot be read or edited. `args[0]` says what was expected and what is there."""


class Place(NamedTuple):
    """One scalar: where its characters are, anchor aside, and the mapping that it is in."""

    start: int
    end: int
    value: str
    """Empty for none."""
    quote: str
    """`'`, `"`, or empty for a plain scalar."""
    mapping: MappingNode

    def written(self, value: str) -> str:
        """`value` as it is written here: quoted as it was, if that can be."""
        if self.quote:
            return f"{self.quote}{value}{self.quote}"
        plain = value if _PLAIN.fullmatch(value) else f'"{value}"'
        return f" {plain}" if self.start == self.end else plain  # right behind the colon


class Finder:
    """The places of one file. Making it counts who shares what."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._parents: Counter[int] = Counter()
        seen: set[int] = set()
        waiting = list(file.roots)
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            for child in children(node):
                self._parents[id(child)] += 1
                waiting.append(child)

    def find(self, key: Key) -> Place:
        """Raises Problem."""
        node, at = self._root(key), "the document"
        mapping = name = node
        for number, step in enumerate(key.steps, start=1):
            mapping = node
            name, node = self._value(node, step.name, at)
            at = ".".join(map(str, key.steps[:number]))
            if step.item is not None:
                node = self._item(node, step.item, at)
        assert isinstance(mapping, MappingNode)  # noqa: S101 - _value raises for all else
        return self._scalar(node, name, mapping, at)

    def image(self, key: Key, place: Place) -> str:
        """The whole reference that the place holds; empty where it holds none. Raises Problem."""
        if not key.holds_digest or not place.value:
            return place.value
        return f"{sibling(place.mapping)}@{place.value}"

    # --- inside

    def _root(self, key: Key) -> Node:
        roots = self._file.roots
        if key.document is None:
            if len(roots) == 1:
                return roots[0]
            if not roots:
                raise Problem("the file holds no document")
            kinds = [f"{kind}/{name}" for kind, name in map(identity, roots) if kind and name]
            raise Problem(
                f"the file holds {len(roots)} documents; put one of them before the key, as in "
                f"{(kinds or ['Deployment/orders'])[0][:80]}#{key}"
            )
        found = [root for root in roots if identity(root) == key.document]
        if len(found) != 1:
            got = "none" if not found else f"{len(found)} of them"
            raise Problem(f"expected one document {key.document}, got {got}")
        return found[0]

    def _value(self, node: Node, name: str, at: str) -> tuple[Node, Node]:
        if not isinstance(node, MappingNode):
            raise Problem(f"expected a mapping at {at}, got {kind_of(node)} on line {line(node)}")
        found = own(node, name)
        if not found:
            if any(own(one, name) for one in merged(node)):
                raise Problem(f"{name} in {at} comes from a merge (<<); write it out there")
            raise Problem(f"no {name} in {at}, which starts on line {line(node)}; add it there")
        if len(found) > 1:
            raise Problem(f"{name} in {at} appears {len(found)} times, again on line {line(found[1][0])}")
        key, value = found[0]
        if value.anchor is not None:
            if value.start_mark.index < key.end_mark.index:
                raise Problem(f"{name} in {at} on line {line(key)} is an alias (*{value.anchor}); write the value out")
            if self._parents[id(value)] > 1:
                raise Problem(
                    f"{name} in {at} on line {line(key)} is shared by aliases (*{value.anchor}); an edit would change "
                    "those places too: write their values out"
                )
        return key, value

    def _item(self, node: Node, item: Item, at: str) -> Node:
        if not isinstance(node, SequenceNode):
            raise Problem(f"expected a list at {at.rpartition('[')[0]}, got {kind_of(node)} on line {line(node)}")
        found: list[Node] = [one for one in node.value if text_of(one, item.field) == item.value]
        if len(found) != 1:
            got = "none" if not found else f"{len(found)}"
            raise Problem(
                f"expected one item with {item.field}: {item.value} in the list on line {line(node)}, got {got}"
            )
        if found[0].anchor is not None and self._parents[id(found[0])] > 1:
            raise Problem(f"the item at {at} is shared by aliases; write it out")
        return found[0]

    def _scalar(self, node: Node, name: Node, mapping: MappingNode, at: str) -> Place:
        where = f"{at} on line {line(node)}"
        if not isinstance(node, ScalarNode) or not (is_text(node) or is_null(node)):
            raise Problem(f"expected text at {where}, got {kind_of(node)}; put it in quotes if text is meant")
        start, end, text = node.start_mark.index, node.end_mark.index, self._file.text
        if is_null(node) and not node.value:  # whose marks may be of what comes next
            colon = _COLON.match(text, name.end_mark.index)
            if node.anchor is not None or colon is None:
                raise Problem(
                    f"expected a value at {at} on line {line(name)}, got none; write an empty text ('') there"
                )
            return Place(colon.end(), colon.end(), "", "", mapping)
        if node.style in {"|", ">"} or node.start_mark.line != node.end_mark.line:
            raise Problem(f"expected text on one line at {where}, got a block of lines; write it on one line")
        anchored = _ANCHOR.match(text, start, end)
        start = anchored.end() if anchored else start
        raw = text[start:end]
        if raw.startswith(("!", "&")):
            raise Problem(f"expected text without a tag at {where}, got one with a tag; leave the tag out")
        value = "" if is_null(node) else str(node.value)
        quote = raw[:1] if raw[:1] in {"'", '"'} else ""
        inner = raw[1:-1] if quote else raw
        located = len(raw) >= 2 and raw.endswith(quote) if quote else is_null(node) or raw == value
        if not located or "\n" in inner:
            raise Problem(f"the characters at {where} cannot be told apart; write it plainly, on one line")
        return Place(start, end, value, quote, mapping)


def sibling(mapping: MappingNode) -> str:
    """The image that a `digest` in this mapping is of. Raises Problem."""
    for name in ("newName", "repository", "name"):
        if own(mapping, name):
            found = text_of(mapping, name)
            if found is None:
                raise Problem(f"expected one text as {name} beside digest on line {line(mapping)}, got something else")
            return found
    raise Problem(f"expected newName, name or repository beside digest on line {line(mapping)}, got none of them")


def tag_beside(mapping: MappingNode) -> str | None:
    """The tag that stands beside a `digest`. Raises Problem where it is no text."""
    for name in ("newTag", "tag"):
        found = own(mapping, name)
        if found and not is_null(found[0][1]):
            value = text_of(mapping, name)
            if value is None:
                raise Problem(f"expected one text as {name} beside digest on line {line(mapping)}; put it in quotes")
            return value or None
    return None
