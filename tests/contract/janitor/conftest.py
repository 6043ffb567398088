"""What the tests of the janitor's runs share."""

from __future__ import annotations

import pytest

from tests.fixtures.janitor import Bench


@pytest.fixture
def bench(janitor_bench: Bench) -> Bench:
    """The simulated cluster; tests on a real one have a bench of their own."""
    return janitor_bench
