"""The policy digest: whatever a verdict depends on is in it, so that a change asks anew."""

from __future__ import annotations

from typing import Any, Final

import pytest

from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.verifying import policy_digest
from reconciler.ports import Purpose
from state.git import RefName
from state.oci import Digest
from state.verdict import Level

AUTHORITY: Final = Digest.of(b"authority")
POLICY: Final = ClaimsPolicy(Purpose.BASELINE, Level.PROVENANCE, "https://github.com/org/shop")
CHANGES: Final[dict[str, Any]] = {
    "purpose": Purpose.PULL_REQUEST,
    "level": Level.SIGNATURE,
    "source_repository": "https://github.com/org/shop2",
    "source_repository_id": "77",
    "issuer": "https://issuer.test",
    "workflow": "https://github.com/org/shop/.github/workflows/publish.yml",
    "baseline_refs": (RefName("refs/heads/main"), RefName("refs/heads/release")),
    "builder": "https://builder.test",
}


def digest_of(policy: ClaimsPolicy, authority: Digest = AUTHORITY, *, cosign_v2: bool = False) -> Digest:
    return policy_digest(policy.purpose, policy, authority, cosign_v2=cosign_v2)


@pytest.mark.parametrize("field", ClaimsPolicy._fields)
def test_each_setting_of_a_policy_is_in_its_digest(field: str) -> None:
    assert digest_of(POLICY._replace(**{field: CHANGES[field]})) != digest_of(POLICY)


def test_the_authority_and_the_layouts_are_in_the_digest() -> None:
    assert digest_of(POLICY) == digest_of(POLICY)
    assert digest_of(POLICY, Digest.of(b"another authority")) != digest_of(POLICY)
    assert digest_of(POLICY, cosign_v2=True) != digest_of(POLICY)


@pytest.mark.parametrize("purpose", Purpose)
def test_level_none_has_the_digest_that_it_always_had(purpose: Purpose) -> None:
    before = NoneVerifier(baseline=Level.NONE, pull_request=Level.NONE).policy(purpose)
    assert policy_digest(purpose, None, AUTHORITY, cosign_v2=True) == before
