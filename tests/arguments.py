"""Types of arguments that the long runs share: a run of nothing proves nothing, so it is refused."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

N = TypeVar("N", int, float)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    return _above(int, text, 1, "a whole number, 1 or more")


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    return _above(int, text, 0, "a whole number, 0 or more")


def minutes(text: str) -> float:
    """A tenth of a minute or more."""
    return _above(float, text, 0.1, "a number of minutes, 0.1 or more")


def _above(kind: Callable[[str], N], text: str, least: float, expected: str) -> N:
    try:
        found = kind(text)
    except ValueError:
        found = kind("-1")
    if not least <= found < math.inf:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text[:50]!r}")
    return found
