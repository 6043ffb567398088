"""Delta debugging: the smallest part of a failing list that still fails in the same way.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002), the algorithm ddmin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrunk(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, tries: int = 400) -> list[T]:
    """A part of `items`, in their order, that `fails`; no single one can be left out, unless `tries` ran out before.

    `items` itself has to fail. `fails` is asked at most `tries` times; equal arguments give equal results.
    """
    left, parts = list(items), 2
    while left and tries > 0:
        size = -(-len(left) // parts)
        for start in range(0, len(left), size):
            if tries == 0:
                break
            tries -= 1
            if fails(rest := left[:start] + left[start + size :]):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(len(left), parts * 2)
    return left
