"""Which forges the suite runs on: each name has a fixture `<name>_forge`."""

from __future__ import annotations

import pytest

from tests.contract.forge.driver import ForgeUnderTest


@pytest.fixture(params=["local", "github", "gitea", "gitlab"])
def forge_under_test(request: pytest.FixtureRequest) -> ForgeUnderTest:
    forge = request.getfixturevalue(f"{request.param}_forge")
    assert isinstance(forge, ForgeUnderTest)
    return forge
