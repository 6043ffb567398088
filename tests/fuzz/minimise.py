"""The kept corpus of a target, made anew from what fuzzing found: the smallest inputs that reach what no other does."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.fuzz.target import Target

FOUND_MAX: Final = 16
"""Inputs of the fuzzer that are kept for one target, beside those that were written by hand, which all stay."""
_FOUND_NAME: Final = re.compile(r"[0-9a-f]{12}")
_ROOT: Final = str(Path(__file__).parents[2])


def minimise(target: Target, kept: Path, more: Iterable[Path]) -> int:
    """Rewrite the found inputs in `kept`, from themselves and `more`; how many are left."""
    by_hand = [path for path in kept.iterdir() if not _FOUND_NAME.fullmatch(path.name)]
    found = [path for path in kept.iterdir() if path not in by_hand]
    reached: set[tuple[str, int, int]] = set()
    for path in sorted(by_hand):
        reached |= _reached(target, path.read_bytes())
    chosen: list[bytes] = []
    for raw in sorted({path.read_bytes() for path in (*found, *more)}, key=lambda raw: (len(raw), raw)):
        if len(chosen) < FOUND_MAX and (new := _reached(target, raw) - reached):
            reached |= new
            chosen.append(raw)
    for path in found:
        path.unlink()
    for raw in chosen:
        (kept / hashlib.sha256(raw).hexdigest()[:12]).write_bytes(raw)
    return len(chosen)


def _reached(target: Target, raw: bytes) -> set[tuple[str, int, int]]:
    """The steps from one line to another that this input takes through our own code."""
    steps: set[tuple[str, int, int]] = set()

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_ROOT) or "/.venv/" in file:
            return None
        before = frame.f_lineno

        def step(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal before
            if event == "line":
                steps.add((file, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        with suppress(*target.allowed):
            target.run(raw)
    finally:
        sys.settrace(None)
    return steps
