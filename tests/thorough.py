"""How much a run of the tests tries: by default so much that it takes minutes, and all of it with `--thorough`.

What the mark `thorough` leaves out is a variant of something that another variant tries by default.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import settings

SHARE: Final = 5
"""Of the examples of a property one in so many is tried by default."""
_EXAMPLES: Final = 100
_given: list[bool] = [False]


def set_thorough(wanted: bool) -> None:
    """Before the tests are imported: some decide as they are."""
    _given[:] = [wanted]
    settings.register_profile("ameide", deadline=None, max_examples=_EXAMPLES if wanted else _EXAMPLES // SHARE)
    settings.load_profile("ameide")


def thorough() -> bool:
    return _given[0]


def examples(number: int, **more: Any) -> settings:
    """Hypothesis' settings for a property that is tried with so many examples when it is tried thoroughly."""
    return settings(max_examples=number if thorough() else number // SHARE, deadline=None, **more)
