"""Writing plain values as YAML, the same bytes for the same values in every version of every library (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

# What no YAML reader takes for anything but text: a letter or a path first, and nothing that has a meaning after it.
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9._/@-]*(?::[A-Za-z0-9._/@-]+)*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def documents(values: Iterable[Mapping[str, Any]], header: str) -> bytes:
    """The documents of one file, after a comment. Keys keep their order."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return (comment + "---\n".join("".join(_lines(v, 0)) for v in values)).encode()


def _lines(value: object, depth: int) -> Iterator[str]:
    pad = "  " * depth
    match value:
        case Mapping() if value:
            for key, inner in value.items():
                yield from _entry(f"{pad}{_scalar(str(key))}:", inner, depth)
        case list() | tuple() if value:
            for inner in value:
                if isinstance(inner, Mapping) and inner:
                    first, *rest = _lines(inner, depth + 1)
                    yield f"{pad}- {first[len(pad) + 2 :]}"
                    yield from rest
                else:
                    yield from _entry(f"{pad}-", inner, depth)
        case _:
            raise TypeError(f"expected a mapping or a list with something in it, got {type(value).__name__}")


def _entry(head: str, value: object, depth: int) -> Iterator[str]:
    match value:
        case Mapping() | list() | tuple() if value:
            yield f"{head}\n"
            yield from _lines(value, depth + 1)
        case Mapping():
            yield f"{head} {{}}\n"
        case list() | tuple():
            yield f"{head} []\n"
        case str() if "\n" in value and value.endswith("\n"):
            yield f"{head} |\n"
            for line in value.splitlines():
                yield f"{'  ' * (depth + 1)}{line}\n" if line else "\n"
        case _:
            yield f"{head} {_scalar(value)}\n"


def _scalar(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
            return value if plain else json.dumps(value, ensure_ascii=False)
        case _:
            raise TypeError(f"expected text, a number, true, false or null, got {type(value).__name__}")
