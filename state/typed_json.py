"""Values ↔ JSON by their types, both ways exact: what is read back is equal, in the same order, and of the same types.

For values that are made of texts (`str` and its checked subclasses), integers, truth values, None, enums of texts,
tuples, named tuples, frozen dataclasses, unions, and the collections dict, list, set and deque of those. Records are
arrays in the order of their fields, so a change of a type is a change of the form: see `state.history_file`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Never

from state.canonical import Json
from state.errors import InvalidValue


class Form(NamedTuple):
    """How values of one type are written and read. `read` raises InvalidValue."""

    write: Callable[[Any], Json]
    read: Callable[[Json], Any]


@cache
def form(of: Any) -> Form:
    """The form of the type `of`. Raises TypeError for a type that has none."""
    origin, inner = typing.get_origin(of), typing.get_args(of)
    if of in (int, bool, type(None)) or (isinstance(of, type) and issubclass(of, str)):
        return _plain(of)
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    if origin in (dict, Mapping):
        return _pairs(form(inner[0]), form(inner[1]))
    if origin is tuple and inner[-1] is not Ellipsis:
        return _record(tuple, tuple(form(i) for i in inner), splat=False)
    if origin in (tuple, list, set, deque):
        return _many(origin, form(inner[0]))
    if isinstance(of, type) and (dataclasses.is_dataclass(of) or hasattr(of, "_fields")):
        hints = typing.get_type_hints(of)
        names = [f.name for f in dataclasses.fields(of)] if dataclasses.is_dataclass(of) else of._fields
        return _record(of, tuple(form(hints[name]) for name in names), names=tuple(names))
    raise TypeError(f"no JSON form is defined for {of}")


def _plain(of: type) -> Form:
    if issubclass(of, StrEnum):
        return Form(lambda value: value.value, lambda json: _made(of, _is(json, str)))
    if of in (str, int, bool, type(None)):
        return Form(lambda value: value, lambda json: _is(json, of))
    return Form(str, lambda json: _made(of, _is(json, str)))


def _union(members: tuple[Any, ...]) -> Form:
    """`null` or the value where it is one or None; otherwise an array of the member's place and the value."""
    some = tuple(m for m in members if m is not type(None))
    if len(some) == 1:
        (only,) = (form(m) for m in some)
        return Form(
            lambda value: None if value is None else only.write(value),
            lambda json: None if json is None else only.read(json),
        )
    forms = tuple(form(m) for m in members)

    def write(value: Any) -> Json:
        place = next(n for n, member in enumerate(members) if type(value) is member)
        return [place, forms[place].write(value)]

    def read(json: Json) -> Any:
        place, value = _row(json, 2)
        if type(place) is not int or not 0 <= place < len(forms):
            _refuse(json)
        return forms[place].read(value)

    return Form(write, read)


def _pairs(key: Form, value: Form) -> Form:
    """Arrays of two, since order counts and keys need not be texts."""

    def read(json: Json) -> dict[Any, Any]:
        rows = (_row(row, 2) for row in _is(json, list))
        return {key.read(k): value.read(v) for k, v in rows}

    return Form(lambda made: [[key.write(k), value.write(v)] for k, v in made.items()], read)


def _many(of: Any, item: Form) -> Form:
    def write(value: Any) -> Json:
        rows = [item.write(i) for i in value]
        return sorted(rows, key=repr) if of is set else rows

    return Form(write, lambda json: of(item.read(i) for i in _is(json, list)))


def _record(of: Any, forms: tuple[Form, ...], *, names: tuple[str, ...] = (), splat: bool = True) -> Form:
    def write(value: Any) -> Json:
        parts = value if isinstance(value, tuple) else [getattr(value, name) for name in names]
        return [f.write(part) for f, part in zip(forms, parts, strict=True)]

    def read(json: Json) -> Any:
        parts = [f.read(part) for f, part in zip(forms, _row(json, len(forms)), strict=True)]
        return of(*parts) if splat else of(parts)

    return Form(write, read)


def _row(json: Json, length: int) -> list[Json]:
    row = _is(json, list)
    if len(row) != length:
        _refuse(json)
    return row  # type: ignore[no-any-return]


def _is(json: Json, of: type) -> Any:
    if type(json) is not of:
        _refuse(json)
    return json


def _made(of: Callable[[Any], Any], json: Json) -> Any:
    try:
        return of(json)
    except ValueError:
        _refuse(json)


def _refuse(json: Json) -> Never:
    raise InvalidValue(f"not a value of its type: {str(json)[:80]!r}")
