"""Golden files: what the program wrote once, byte for byte, and reviewed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Compare bytes with the golden file of this name; with `--bless`, write them instead."""

    def compare(name: str, made: bytes) -> None:
        path = HERE / name
        if request.config.getoption("--bless"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made)
        assert path.is_file(), f"{path} is missing: run pytest --bless and review the file"
        assert made == path.read_bytes(), f"differs from {path}: run pytest --bless and review the difference"

    return compare
