"""What a verifier says of one digest, and under which policy it said so."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from state.oci import Digest


class Level(StrEnum):
    """How much proof a policy asks for (design: verification levels)."""

    PROVENANCE = "provenance"
    SIGNATURE = "signature"
    NONE = "none"


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCHECKED = "unchecked"
    """The configured level is `none`: nothing was proven, and it is shown as unproven everywhere."""


class Verdict(NamedTuple):
    """`accepted`, `refused` with a reason, or `unchecked`; with the digest of the policy it was reached under."""

    outcome: Outcome
    policy: Digest
    reason: str = ""
