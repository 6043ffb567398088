"""Every target. A parser of outside bytes that is not here is not fuzzed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.fuzz import evidence, files, forges, log, registry, values
from tests.fuzz.target import Target

CORPUS: Final = Path(__file__).parent / "corpus"
TARGETS: Final = {
    target.name: target for area in (values, registry, forges, evidence, log, files) for target in area.TARGETS
}


def kept(target: Target) -> list[Path]:
    """The files of its corpus, in order."""
    return sorted((CORPUS / target.name).iterdir())
