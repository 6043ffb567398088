"""Reads Go structs as JSON Schema: the names that their `json` tags give, and the types.

Only what a client of a REST API has: flat structs, embedded ones, pointers, slices, maps and named basic types. Go
tells no difference between a member that is missing, null or empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

_STRUCT: Final = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"^(?:type )?\t?(\w+)\s+=?\s?(\[?\]?\*?[\w.]+)$", re.MULTILINE)
_FIELD: Final = re.compile(r"^\t(\w+)\s+(\S+)\s+`[^`]*json:\"([^\",]+)[^`]*`", re.MULTILINE)
_EMBEDDED: Final = re.compile(r"^\t(\w+)(?:\s+`[^`]*inline[^`]*`)?$", re.MULTILINE)
_BASIC: Final = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "float64": {"type": "number"},
    "time.Time": {"type": "string"},
    "ISOTime": {"type": "string"},
    "any": {},
    **{name: {"type": "integer"} for name in ("int", "int64", "uint", "uint64")},
}
Schema = dict[str, Any]


class Structs:
    """The structs of some Go files. `schemas` holds those that were asked for, with all that they point to."""

    def __init__(self, files: Iterable[str]) -> None:
        self._structs: dict[str, str] = {}
        self._named: dict[str, str] = {}
        for text in files:
            self._structs |= dict(_STRUCT.findall(text))
            self._named |= {name: to for name, to in _NAMED.findall(text) if name not in _BASIC}
        self.schemas: dict[str, Schema] = {}

    def members(self, name: str, *, may_be_null: bool = False) -> dict[str, Schema]:
        """Member name → schema, those of embedded structs included. Raises KeyError for a struct that is not there."""
        body, found = self._structs[name], {}
        for embedded in _EMBEDDED.findall(body):
            found |= self.members(embedded, may_be_null=may_be_null)
        for _, kind, member in _FIELD.findall(body):
            schema = self._type(kind, may_be_null=may_be_null)
            found[member] = {"anyOf": [schema, {"type": "null"}]} if may_be_null and schema else schema
        return found

    def schema(self, name: str, *, may_be_null: bool) -> Schema:
        """A pointer to the struct's schema, which is closed."""
        if name not in self.schemas:
            self.schemas[name] = {}  # a struct may point to itself
            members = self.members(name, may_be_null=may_be_null)
            self.schemas[name] = {"type": "object", "properties": members, "additionalProperties": False}
        return {"$ref": f"#/schemas/{name}"}

    def _type(self, kind: str, *, may_be_null: bool) -> Schema:
        kind = kind.removeprefix("*")
        if kind.startswith("[]"):
            return {"type": "array", "items": self._type(kind[2:], may_be_null=may_be_null)}
        if kind.startswith("map["):
            return {"type": "object"}
        if kind in _BASIC:
            return dict(_BASIC[kind])
        if kind == "LabelOptions":  # written as one text with commas
            return {"type": "string"}
        if kind in self._structs:
            return self.schema(kind, may_be_null=may_be_null)
        named = self._named.get(kind)
        return {} if named is None else self._type(named, may_be_null=may_be_null)
