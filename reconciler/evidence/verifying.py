"""Whether a digest may be relied on: what is attached to it, who signed that, and what it says (design §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.evidence import claims, finding
from reconciler.evidence.authority import Authority
from reconciler.evidence.carrying import handed_over
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.found import Evidence, Failed, Found, Layout, Refused
from reconciler.evidence.verdicts import Question, Verdicts
from reconciler.ports import ArtifactReader, Clock, HandOver, Purpose
from state import canonical
from state.errors import ConfigError, Denied, IntegrityError, InvalidValue, Terminal, Unsupported
from state.git import CommitId
from state.oci import Digest, Repository
from state.verdict import Level, Outcome, Refusal, Verdict

_CARRIED: Final = (Layout.HANDED_OVER, Layout.COSIGN_ATTESTATION)
"""What counts and is no bundle at the registry: it is attached as one where it is missing."""
_UNSIGNED: Final = (Layout.BUILDKIT, Layout.SBOM)
_ORDER: Final = tuple(Refusal)
"""Refusals in the order of the checks: what was refused by a later one has come further."""


class EvidenceVerifier:
    """Implements `ports.Verifier`: a digest counts if any piece of evidence about it proves what the policy asks for.

    `policies` has one policy for each purpose, or None where its level is `none`. `hand_over` has what lies beside the
    registry; it counts only as far as it verifies like anything else. Verdicts are remembered in
    `verdicts`, if given, so that they outlive this object when the configuration is read anew.
    """

    def __init__(
        self,
        reader: ArtifactReader,
        authority: Authority,
        policies: Mapping[Purpose, ClaimsPolicy | None],
        clock: Clock,
        *,
        cosign_v2: bool = False,
        verdicts: Verdicts | None = None,
        hand_over: HandOver | None = None,
    ) -> None:
        self._reader = reader
        self._authority = authority
        self._claims = {purpose: policies[purpose] for purpose in Purpose}
        self._cosign_v2 = cosign_v2
        self._hand_over = hand_over
        self._verdicts = verdicts or Verdicts(clock)
        self._policies = {
            purpose: policy_digest(purpose, policy, authority.digest(), cosign_v2=cosign_v2)
            for purpose, policy in self._claims.items()
        }

    def policy(self, purpose: Purpose) -> Digest:
        return self._policies[purpose]

    def verify(
        self, purpose: Purpose, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> Verdict:
        """See `ports.Verifier`. Raises Transient or Denied where the registry does not let the check run."""
        policy = self._claims[purpose]
        in_force = self._policies[purpose]
        if policy is None:
            return Verdict(Outcome.UNCHECKED, in_force, "verification level is none")
        question = Question(purpose, repository, digest, source_revision, in_force)
        if (known := self._verdicts.get(question)) is not None:
            return known
        try:
            accepted = self._accepted(policy, repository, digest, source_revision)
            manifests = tuple(dict.fromkeys(found.manifest for found in accepted))
            pieces = (Digest.of(found.raw) for found in accepted if found.layout in _CARRIED)
            verdict = Verdict(Outcome.ACCEPTED, in_force, evidence=manifests, carried=tuple(dict.fromkeys(pieces)))
        except Refused as refused:
            verdict = Verdict(Outcome.REFUSED, in_force, refused.text, refused.refusal)
        self._verdicts.put(question, verdict)
        return verdict

    def _accepted(
        self, policy: ClaimsPolicy, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> list[Found]:
        """The evidence that counts, at least one piece. Raises Refused."""
        evidence = self._find(repository, digest)
        accepted: list[Found] = []
        against = [Refused(failed.refusal, failed.text) for failed in evidence.failed]
        for found in evidence.found:
            if found.layout in _UNSIGNED:
                continue
            try:
                self._judge(found, policy, repository, digest, source_revision)
                accepted.append(found)
            except Refused as refused:
                against.append(Refused(refused.refusal, f"{found.layout.value} {found.manifest.short}: {refused.text}"))
        if not accepted:
            raise _furthest(evidence, against)
        self._check_index(repository, digest)
        return accepted

    def _judge(
        self,
        found: Found,
        policy: ClaimsPolicy,
        repository: Repository,
        digest: Digest,
        source_revision: CommitId | None,
    ) -> None:
        try:
            proven = self._authority.prove(found)
            claims.check(proven, policy, repository, digest, source_revision)
        except Refused:
            raise
        except Exception as error:  # bytes from outside are judged here: what is not proven is refused
            raise Refused(Refusal.MALFORMED, f"cannot be judged: {type(error).__name__}") from error

    def _find(self, repository: Repository, digest: Digest) -> Evidence:
        try:
            return finding.find(
                self._reader,
                repository,
                digest,
                cosign_v2=self._cosign_v2,
                beside=lambda: self._beside(repository, digest),
            )
        except (Terminal, IntegrityError) as error:
            raise _refused(error) from error

    def _beside(self, repository: Repository, digest: Digest) -> list[Found | Failed]:
        return [] if self._hand_over is None else handed_over(self._hand_over, self._reader, repository, digest)

    def _check_index(self, repository: Repository, digest: Digest) -> None:
        try:
            finding.check_index(self._reader, repository, digest)
        except (Terminal, IntegrityError) as error:
            raise _refused(error) from error


def policy_digest(purpose: Purpose, policy: ClaimsPolicy | None, authority: Digest, *, cosign_v2: bool) -> Digest:
    """Of all that a verdict for `purpose` depends on. At level none it is the one of `adapters.verifier_none`."""
    if policy is None:
        return canonical.digest({"level": Level.NONE.value, "purpose": purpose.value})
    return canonical.digest(
        {
            "authority": authority,
            "baseline_refs": canonical.texts(policy.baseline_refs),
            "builder": policy.builder,
            "cosign_v2": cosign_v2,
            "issuer": policy.issuer,
            "level": policy.level.value,
            "purpose": purpose.value,
            "source_repository": policy.source_repository,
            "source_repository_id": policy.source_repository_id,
            "workflow": policy.workflow,
        }
    )


def _refused(error: Terminal | IntegrityError) -> Refused:
    """What the registry gave cannot be used, which is the evidence's fault; a wrong set-up is not."""
    if isinstance(error, Denied | ConfigError):
        raise error
    oversized = isinstance(error, Terminal) and not isinstance(error, InvalidValue | Unsupported)
    return Refused(Refusal.OVERSIZED if oversized else Refusal.MALFORMED, str(error))


def _furthest(evidence: Evidence, against: list[Refused]) -> Refused:
    """The refusal that says most, and of how many."""
    if not against:
        unsigned = sorted({found.layout.value for found in evidence.found})
        if unsigned:
            return Refused(Refusal.UNSIGNED, f"expected signed evidence, got only {' and '.join(unsigned)}")
        return Refused(Refusal.NO_EVIDENCE, "nothing is attached to the digest")
    furthest = max(against, key=lambda refused: _ORDER.index(refused.refusal))
    counted = "" if len(against) == 1 else f" (the one that came furthest of {len(against)} looked at)"
    return Refused(furthest.refusal, furthest.text + counted)
