"""The kept corpus of every fuzz target, replayed without a fuzzer: only typed errors."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.fuzz.table import CORPUS, TARGETS, kept

FILE_MAX_BYTES = 64 * 1024
CORPUS_MAX_BYTES = 512 * 1024


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_taken_or_refused_with_a_typed_error(name: str) -> None:
    target = TARGETS[name]
    for path in kept(target):
        try:
            with suppress(*target.allowed):
                target.run(path.read_bytes())
        except Exception as error:
            error.add_note(f"input: {path}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_one_kept_input_at_least_is_taken(name: str) -> None:
    """A target that refuses its whole corpus would never be past the first check."""
    target = TARGETS[name]

    def taken(raw: bytes) -> bool:
        try:
            target.run(raw)
        except target.allowed:
            return False
        return True

    assert any(taken(path.read_bytes()) for path in kept(target))


def test_the_corpus_belongs_to_targets_and_stays_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    sizes = [path.stat().st_size for target in TARGETS.values() for path in kept(target)]
    assert max(sizes) <= FILE_MAX_BYTES
    assert sum(sizes) <= CORPUS_MAX_BYTES
