"""One object for equal values: a log names the same repositories, digests and commits in each of a million cells."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

T = TypeVar("T", bound=str)

SHARED_MAX: Final = 65_536
"""So many of the values that were read last are kept, however many there are."""


def shared(text: str, kind: type[T], check: Callable[[str], T]) -> T:
    """`check(text)`, or what it gave for an equal text before. What it raises is raised and not kept."""
    if type(text) is kind:
        return text
    if type(text) is not str:
        return check(text)
    kept: T = _kept(text, check)
    return kept


@lru_cache(maxsize=SHARED_MAX)
def _kept(text: str, check: Callable[[str], str]) -> Any:
    return check(text)
