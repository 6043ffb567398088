"""What the reconciler states about a digest itself: that it was verified, by whom, under which policy.

A verification summary says what others need not verify again. Source: slsa.dev/spec/v1.0/verification_summary. Its
`timeVerified` and `inputAttestations` are left out, which version 1.0 allows: with them one digest would get another
statement at each verification, or whenever more evidence is attached. The release set names what was accepted.
"""

from __future__ import annotations

from typing import Final

from state import statement
from state.oci import Digest, Repository

SLSA_VERSION: Final = "1.0"


def summary(repository: Repository, digest: Digest, policy: Digest, verifier: str) -> bytes:
    """The statement about an accepted digest: equal facts give equal bytes.

    `verifier` is the URI of who verified. No SLSA level is claimed: what the builder guarantees was not evaluated.
    """
    return statement.build(
        {repository: digest},
        statement.VERIFICATION_SUMMARY,
        {
            "policy": {"digest": {"sha256": policy.hex}, "uri": f"{verifier}#verification"},
            "resourceUri": f"oci://{repository}@{digest}",
            "slsaVersion": SLSA_VERSION,
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED"],
            "verifier": {"id": verifier},
        },
    )
