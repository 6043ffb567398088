"""Canonical JSON: equal values have equal bytes.

The subset of RFC 8785 that this project uses: objects with ASCII keys, arrays, strings, integers of at most 53 bits,
booleans and null. Floating point is refused, so there is one spelling of every number; for this subset the standard
encoder with sorted keys writes exactly the bytes of RFC 8785 (a property in tests/unit holds it to the `rfc8785`
library). Reading refuses duplicate keys, since two readers may disagree on which one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Never, TypeAlias, TypeVar

from state.errors import InvalidValue
from state.oci import Digest

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool | None"

E = TypeVar("E", bound=StrEnum)

_INT_MAX: Final = 2**53 - 1
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def dumps(value: Json) -> bytes:
    """The canonical UTF-8 bytes of `value`. Raises InvalidValue on anything outside the subset."""
    try:
        _check(value)
        return _encode(value).encode()
    except UnicodeEncodeError as error:
        raise InvalidValue(f"canonical JSON: a string holds a lone surrogate ({error.reason})") from error
    except RecursionError as error:
        raise InvalidValue("canonical JSON: nested too deeply") from error


def digest(value: Json) -> Digest:
    """The digest of the canonical bytes."""
    return Digest.of(dumps(value))


def loads(raw: bytes, *, what: str, max_bytes: int) -> Json:
    """Parse bytes from outside: bounded, no duplicate keys, no floats. Raises InvalidValue naming `what`."""
    if len(raw) > max_bytes:
        raise InvalidValue(f"{what}: expected at most {max_bytes} bytes of JSON, got {len(raw)}")
    try:
        value: Json = json.loads(
            raw.decode(), object_pairs_hook=_no_duplicates, parse_float=_no_float, parse_constant=_no_float
        )
    except RecursionError as error:
        raise InvalidValue(f"{what}: JSON is nested too deeply") from error
    except ValueError as error:
        raise InvalidValue(f"{what}: not acceptable JSON: {error}") from error
    return value


def loads_object(raw: bytes, *, what: str, max_bytes: int) -> dict[str, Json]:
    """`loads` of what has to be an object."""
    value = loads(raw, what=what, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise InvalidValue(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value


class Reader:
    """Typed access to the members of one JSON object; every mismatch is an InvalidValue that names the member."""

    def __init__(self, value: Mapping[str, Json], what: str) -> None:
        self._value = value
        self._what = what

    def text(self, key: str) -> str:
        found = self._value.get(key)
        return found if isinstance(found, str) else self._wrong(key, "a string")

    def text_or_none(self, key: str) -> str | None:
        found = self._value.get(key)
        return found if found is None or isinstance(found, str) else self._wrong(key, "a string or null")

    def one_of(self, key: str, words: type[E]) -> E:
        try:
            return words(self.text(key))
        except ValueError:
            return self._wrong(key, "one of " + ", ".join(words))

    def integer(self, key: str) -> int:
        found = self._value.get(key)
        return found if isinstance(found, int) and not isinstance(found, bool) else self._wrong(key, "an integer")

    def flag(self, key: str) -> bool:
        found = self._value.get(key)
        return found if isinstance(found, bool) else self._wrong(key, "true or false")

    def texts(self, key: str) -> list[str]:
        found = self._value.get(key)
        if not isinstance(found, list):
            return self._wrong(key, "a list of strings")
        return [item if isinstance(item, str) else self._wrong(key, "a list of strings") for item in found]

    def integers(self, key: str) -> list[int]:
        found = self._value.get(key)
        if not isinstance(found, list):
            return self._wrong(key, "a list of integers")
        return [
            item if isinstance(item, int) and not isinstance(item, bool) else self._wrong(key, "a list of integers")
            for item in found
        ]

    def object(self, key: str) -> Mapping[str, Json]:
        found = self._value.get(key)
        return found if isinstance(found, dict) else self._wrong(key, "an object")

    def objects(self, key: str) -> list[Mapping[str, Json]]:
        found = self._value.get(key)
        if not isinstance(found, list):
            return self._wrong(key, "a list of objects")
        return [item if isinstance(item, dict) else self._wrong(key, "a list of objects") for item in found]

    def _wrong(self, key: str, expected: str) -> Never:
        raise InvalidValue(f"{self._what}: {key} must be {expected}, got {str(self._value.get(key))[:80]!r}")


def texts(values: Iterable[str]) -> list[Json]:
    """A JSON array of strings (lists are invariant to the type checker)."""
    return list(values)


def reading(value: Mapping[str, Json], what: str) -> Reader:
    """A Reader of one object."""
    return Reader(value, what)


def _check(value: object) -> None:
    match value:
        case str() | bool() | None:
            pass
        case int():
            if not -_INT_MAX <= value <= _INT_MAX:
                raise InvalidValue(f"canonical JSON: an integer of more than 53 bits: {value}")
        case dict():
            for key, inner in value.items():
                if not isinstance(key, str) or not key.isascii():
                    raise InvalidValue(f"canonical JSON: keys are ASCII strings, got {key!r}")
                if not isinstance(inner, str):  # most are: a call for each of them would be half of the time
                    _check(inner)
        case list() | tuple():
            for inner in value:
                if not isinstance(inner, str):
                    _check(inner)
        case _:
            raise InvalidValue(f"canonical JSON: {type(value).__name__} has no canonical form here")


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise InvalidValue(f"key {twice!r} appears twice")
    return made


def _no_float(text: str) -> Json:
    raise InvalidValue(f"only integers have a canonical form, got {text}")
