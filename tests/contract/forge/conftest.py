"""Which forges the suite runs on: each name has a fixture `<name>_forge`."""

from __future__ import annotations

import pytest

from tests.contract.forge.driver import ForgeUnderTest

_DAMAGEABLE = ("local", "github", "gitea", "gitlab")
_REAL = pytest.param("gitea_real", marks=pytest.mark.gitea)


@pytest.fixture(params=[*_DAMAGEABLE, _REAL])
def forge_under_test(request: pytest.FixtureRequest) -> ForgeUnderTest:
    return _forge(request)


@pytest.fixture(params=_DAMAGEABLE)
def damageable_forge(request: pytest.FixtureRequest) -> ForgeUnderTest:
    """One that can be made to answer nonsense; a real server cannot."""
    return _forge(request)


def _forge(request: pytest.FixtureRequest) -> ForgeUnderTest:
    forge = request.getfixturevalue(f"{request.param}_forge")
    assert isinstance(forge, ForgeUnderTest)
    return forge
