"""Two mutations that libFuzzer does not have: of values inside of JSON, and a piece repeated until an input is full.

Bytes changed at random are seldom JSON any more, and then only its parser is tested. Repetition is what finds time that
grows with the square of an input.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, Final

_LEAVES: Final = (None, True, 0, -1, 2**53, 10**30, 0.5, "", "x", "é\u0000", "\ud800", [], {}, [[]], [None], {"": 0})
_JSON_OF: Final = 2
_REPEATED_OF: Final = 64
"""One of so many mutations is of that kind."""
_PIECE_MAX_BYTES: Final = 8


def mutator(mutate: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """What Atheris takes for `custom_mutator`; `mutate` is libFuzzer's own (data, maximal size)."""

    def mutated(raw: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.randrange(_JSON_OF) == 0 and (made := _json(raw, chance)) is not None and len(made) <= max_size:
            return made
        if chance.randrange(_REPEATED_OF) == 0:
            return _repeated(raw, max_size, chance)
        return mutate(raw, max_size)

    return mutated


def _json(raw: bytes, chance: random.Random) -> bytes | None:
    """One value of the JSON behind the last empty line replaced, taken out or doubled; None where there is no JSON."""
    head, gap, body = raw.rpartition(b"\n\n")
    try:
        value = json.loads(body)
        places = list(_places(value))
        if not places:
            return None
        inside, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                del inside[key]
            case 1:
                other, at = chance.choice(places)
                inside[key] = deepcopy(other[at])
            case 2 if isinstance(inside, list):
                inside.insert(key, deepcopy(inside[key]))
            case _:
                inside[key] = chance.choice(_LEAVES)
        return head + gap + json.dumps(value, separators=(",", ":")).encode()
    except (ValueError, LookupError, RecursionError):
        return None


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member and item: what it is in, and where in it."""
    found = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inner in found:
        yield value, key
        yield from _places(inner)


def _repeated(raw: bytes, max_size: int, chance: random.Random) -> bytes:
    start = chance.randrange(len(raw) + 1)
    piece = raw[start : start + chance.randint(1, _PIECE_MAX_BYTES)] or b"["
    times = max(1, (max_size - len(raw)) // len(piece))
    return (raw[:start] + piece * times + raw[start:])[:max_size]
