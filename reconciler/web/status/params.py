"""The parameters of an address: only known ones, each once, each bounded. What is wrong is said in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Request

QUERY_MAX_BYTES: Final = 2048
VALUE_MAX_CHARS: Final = 200
NUMBER_MAX: Final = 2**53
"""No number of a forge, or of a page, is larger."""
_SHOWN_MAX_CHARS: Final = 40
_HEX: Final = frozenset("0123456789abcdef")


class BadParameter(Exception):
    """A parameter that cannot be read; the text is a sentence for whoever wrote it."""


class Params:
    """Parameters that were checked. An empty value is as good as none: a form sends each field that was left empty."""

    def __init__(self, values: MultiDict[str, str]) -> None:
        self._values = values

    @classmethod
    def of(cls, request: Request, known: Collection[str], repeated: Collection[str] = ()) -> Self:
        """The parameters of a request. Raises BadParameter."""
        if len(request.query_string) > QUERY_MAX_BYTES:
            raise BadParameter(f"The parameters are longer than {QUERY_MAX_BYTES} bytes.")
        found: MultiDict[str, str] = MultiDict()
        for name, value in request.args.items(multi=True):
            if name not in {*known, *repeated, "format"}:
                names = ", ".join((*known, *repeated, "format"))
                raise BadParameter(f"There is no parameter {name[:_SHOWN_MAX_CHARS]!r} here; there are {names}.")
            if not value:
                continue
            if name in found and name not in repeated:
                raise BadParameter(f"{name} is given more than once.")
            if len(value) > VALUE_MAX_CHARS or not value.isprintable():
                raise BadParameter(f"{name} is not printable text of at most {VALUE_MAX_CHARS} characters.")
            found.add(name, value)
        return cls(found)

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def choice(self, name: str, allowed: Iterable[str]) -> str | None:
        """One of `allowed`. Raises BadParameter naming them."""
        value = self._values.get(name)
        return None if value is None else _chosen(name, value, allowed)

    def choices(self, name: str, allowed: Iterable[str]) -> tuple[str, ...]:
        """Any of `allowed`, each once, in that order. Raises BadParameter naming them."""
        known = tuple(allowed)
        given = {_chosen(name, value, known) for value in self._values.getlist(name)}
        return tuple(value for value in known if value in given)

    def number(self, name: str) -> int | None:
        """A whole number from 1. Raises BadParameter."""
        value = self._values.get(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(NUMBER_MAX)) and int(value) > 0):
            raise BadParameter(f"{name} is a whole number from 1, got {value[:_SHOWN_MAX_CHARS]!r}.")
        return int(value)

    def digits(self, name: str, least: int) -> str | None:
        """`least` to 40 lower-case hex digits, as of a commit. Raises BadParameter."""
        value = self._values.get(name)
        if value is not None and not (least <= len(value) <= 40 and set(value) <= _HEX):
            wanted = "40" if least == 40 else f"{least} to 40"
            raise BadParameter(f"{name} is {wanted} lower-case hex digits, got {value[:_SHOWN_MAX_CHARS]!r}.")
        return value

    def query(self, **changed: str | int | None) -> str:
        """The same parameters with these set, or left out where None, as `?…`; empty where there are none."""
        pairs = [(n, v) for n, v in self._values.items(multi=True) if n not in changed]
        pairs += ((n, str(v)) for n, v in changed.items() if v is not None)
        return f"?{urlencode(pairs)}"

    def __bool__(self) -> bool:
        return any(name != "format" for name in self._values)


def _chosen(name: str, value: str, allowed: Iterable[str]) -> str:
    known = tuple(allowed)
    if value not in known:
        raise BadParameter(f"{name} is one of {', '.join(known)}; got {value[:_SHOWN_MAX_CHARS]!r}.")
    return value
