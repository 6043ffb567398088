"""The verification level `none`: nothing is checked, and every verdict says so."""

from __future__ import annotations

from reconciler.ports import Purpose
from state import canonical
from state.errors import ConfigError
from state.git import CommitId
from state.oci import Digest, Repository
from state.verdict import Level, Outcome, Verdict


class NoneVerifier:
    """Implements `ports.Verifier` where every level is `none`.

    Raises ConfigError if another level is configured: until it can be checked, a start with less proof than was asked
    for would be a silent weakening.
    """

    def __init__(self, *, baseline: Level, pull_request: Level) -> None:
        if problems := self.problems(baseline=baseline, pull_request=pull_request):
            raise ConfigError("verification cannot be done as configured", problems)
        self._policies = {p: canonical.digest({"level": Level.NONE.value, "purpose": p.value}) for p in Purpose}

    @staticmethod
    def problems(*, baseline: Level, pull_request: Level) -> tuple[str, ...]:
        """What speaks against these levels: one text for each that is not available yet."""
        return tuple(
            f"verification.{purpose.value}: expected none, got {level.value}: this level is not available yet; set it"
            " to none to run without proof (shown as unproven everywhere)"
            for purpose, level in ((Purpose.BASELINE, baseline), (Purpose.PULL_REQUEST, pull_request))
            if level is not Level.NONE
        )

    def policy(self, purpose: Purpose) -> Digest:
        return self._policies[purpose]

    def verify(
        self, purpose: Purpose, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> Verdict:
        del repository, digest, source_revision
        return Verdict(Outcome.UNCHECKED, self._policies[purpose], "verification level is none")
