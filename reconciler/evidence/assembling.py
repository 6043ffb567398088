"""Settings → who is believed, what evidence has to say, who signs: the one place that knows every kind of both."""

from __future__ import annotations

from typing import Final

from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.attesting import Stated
from reconciler.evidence import sbom
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.authority import Authority
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.own import OwnCertificates
from reconciler.evidence.release_check import Reader, ReleaseSets
from reconciler.evidence.summary import summary
from reconciler.evidence.verdicts import REFUSED_FOR_S, Verdicts
from reconciler.evidence.verifying import EvidenceVerifier
from reconciler.ports import ArtifactReader, Clock, EvidenceSigner, Executor, Purpose, Releases, Verifier
from reconciler.releasing import ReleaseStore, ReleaseTargets
from reconciler.settings_model import (
    EvidenceSettings,
    KeyAuthoritySettings,
    KeySignerSettings,
    RepositorySettings,
    SigstoreAuthoritySettings,
    SigstoreSignerSettings,
    VerificationSettings,
)
from state.errors import ConfigError
from state.git import RefName
from state.oci import Digest, Repository
from state.statement import VERIFICATION_SUMMARY
from state.verdict import Level, Verdict

VERIFIER_ID: Final = "https://ameide.io/reconciler"


def verifier_of(
    settings: VerificationSettings, reader: ArtifactReader, clock: Clock, refused_for_s: float = REFUSED_FOR_S
) -> Verifier:
    """The verifier as configured; a refusal is looked at again after `refused_for_s`.

    Raises ConfigError if a key or root cannot be used.
    """
    if settings.authority is None or settings.source_repository is None:
        return NoneVerifier(baseline=settings.baseline, pull_request=settings.pull_request)
    policies = {
        Purpose.BASELINE: _claims(settings, Purpose.BASELINE, settings.baseline),
        Purpose.PULL_REQUEST: _claims(settings, Purpose.PULL_REQUEST, settings.pull_request),
    }
    verdicts = Verdicts(clock, refused_for_s=refused_for_s)
    return EvidenceVerifier(
        reader, authority_of(settings), policies, clock, cosign_v2=settings.cosign_v2, verdicts=verdicts
    )


def authority_of(settings: VerificationSettings) -> Authority:
    """The one configured authority. Raises ConfigError if there is none, or a file of it cannot be used."""
    match settings.authority:
        case KeyAuthoritySettings(public_key_files=files):
            return KeyAuthority.from_files(files)
        case SigstoreAuthoritySettings(trusted_root_file=file, transparency_log=transparency_log):
            from reconciler.evidence.trusted_root import RootAuthority  # noqa: PLC0415  (0.3 s, for this kind only)

            return RootAuthority.from_file(file, transparency_log=transparency_log)
        case None:
            raise ConfigError("verification.authority is not configured")


def release_targets_of(
    settings: RepositorySettings, store: ReleaseStore, verifier: Verifier, executor: Executor
) -> ReleaseTargets | None:
    """What publishes release sets, or None where none are configured. Raises ConfigError if the key cannot be used."""
    if settings.evidence is None:
        return None
    signer, own = signer_of(settings.evidence)
    attacher = Attacher(store, signer, own)
    statements = OwnStatements(attacher, sboms=settings.evidence.sbom == "buildkit")
    return ReleaseTargets(Repository(settings.evidence.release_sets), store, attacher, statements, verifier, executor)


def releases_of(settings: RepositorySettings, reader: Reader) -> Releases | None:
    """Where our release sets are found again, or None where none are configured."""
    if settings.evidence is None:
        return None
    return ReleaseSets(reader, Repository(settings.evidence.release_sets), signer_of(settings.evidence)[1])


def signer_of(settings: EvidenceSettings) -> tuple[EvidenceSigner, Authority]:
    """Who signs what the reconciler states, and the authority that proves exactly that."""
    match settings.signer:
        case KeySignerSettings(key_file=key_file, password_file=password_file):
            signer = KeySigner.from_file(key_file, password_file)
            return signer, KeyAuthority([signer.public_key])
        case SigstoreSignerSettings(trust_config_file=trust_config_file, token_file=token_file):
            from reconciler.adapters.evidence_sigstore import SigstoreSigner  # noqa: PLC0415
            from reconciler.evidence.trusted_root import RootAuthority  # noqa: PLC0415

            keyless = SigstoreSigner(trust_config_file, token_file)
            root = RootAuthority.from_bytes(keyless.trusted_root, str(trust_config_file), transparency_log=True)
            return keyless, OwnCertificates(root, keyless.claims)


class OwnStatements:
    """Implements `attesting.Statements`: a verification summary per digest and policy, and SBOMs that nobody signed."""

    def __init__(self, attacher: Attacher, *, sboms: bool) -> None:
        self._attacher = attacher
        self._sboms = sboms

    def summary(self, repository: Repository, digest: Digest, verdict: Verdict) -> Statement:
        return Statement(VERIFICATION_SUMMARY, summary(repository, digest, verdict.policy, VERIFIER_ID))

    def materials(self, repository: Repository, digest: Digest) -> Stated:
        return sbom.from_buildkit(self._attacher, repository, digest) if self._sboms else Stated(())


def _claims(settings: VerificationSettings, purpose: Purpose, level: Level) -> ClaimsPolicy | None:
    if level is Level.NONE or settings.source_repository is None:
        return None
    authority = settings.authority
    by_certificate = authority if isinstance(authority, SigstoreAuthoritySettings) else None
    return ClaimsPolicy(
        purpose,
        level,
        settings.source_repository,
        str(settings.source_repository_id) if settings.source_repository_id is not None else None,
        by_certificate.issuer if by_certificate is not None else None,
        by_certificate.workflow if by_certificate is not None else None,
        tuple(RefName(ref) for ref in settings.baseline_refs),
        settings.builder,
    )
