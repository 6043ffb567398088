"""Settings → who is believed, what evidence has to say, who signs: the one place that knows every kind of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.handed_over import HandedOverFiles
from reconciler.adapters.sbom_syft import Syft
from reconciler.adapters.verifier_none import NoneVerifier
from reconciler.attesting import Stated
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.authority import Authority
from reconciler.evidence.carrying import Carrier
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.own import OwnCertificates
from reconciler.evidence.release_check import Reader, ReleaseSets
from reconciler.evidence.sbom_sources import Attached, FromBuildKit, HandedOver, MadeHere, Sboms
from reconciler.evidence.summary import summary
from reconciler.evidence.verdicts import REFUSED_FOR_S, Verdicts
from reconciler.evidence.verifying import EvidenceVerifier, policy_digest
from reconciler.ports import (
    ArtifactReader,
    BlobReader,
    Clock,
    EvidenceSigner,
    Executor,
    HandOver,
    Purpose,
    Releases,
    Verifier,
)
from reconciler.releasing import ReleaseStore, ReleaseTargets
from reconciler.settings.model import (
    EvidenceSettings,
    KeyAuthoritySettings,
    KeySignerSettings,
    RepositorySettings,
    SignerSettings,
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
    settings: VerificationSettings,
    reader: ArtifactReader,
    clock: Clock,
    refused_for_s: float = REFUSED_FOR_S,
    hand_over: HandOver | None = None,
) -> Verifier:
    """The verifier as configured; a refusal is looked at again after `refused_for_s`.

    `hand_over` has evidence that lies beside the registry; without it only what the registry has counts.
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
        reader,
        authority_of(settings),
        policies,
        clock,
        cosign_v2=settings.cosign_v2,
        verdicts=verdicts,
        hand_over=hand_over,
    )


def policies_of(settings: VerificationSettings) -> Mapping[Purpose, tuple[Level, Digest]]:
    """Level and policy digest of each purpose, as the verifier of these settings gives them; nothing is verified.

    Raises ConfigError if a key or root cannot be used.
    """
    levels = {Purpose.BASELINE: settings.baseline, Purpose.PULL_REQUEST: settings.pull_request}
    if settings.authority is None:
        none = NoneVerifier(baseline=settings.baseline, pull_request=settings.pull_request)
        return {purpose: (level, none.policy(purpose)) for purpose, level in levels.items()}
    authority = authority_of(settings).digest()
    return {
        purpose: (
            level,
            policy_digest(purpose, _claims(settings, purpose, level), authority, cosign_v2=settings.cosign_v2),
        )
        for purpose, level in levels.items()
    }


def hand_over_of(settings: RepositorySettings) -> HandOver | None:
    """Where CI hands over files, or None where it does not."""
    if settings.evidence is None or settings.evidence.handed_over_dir is None:
        return None
    return HandedOverFiles(settings.evidence.handed_over_dir)


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


class Store(ReleaseStore, BlobReader, Protocol):
    """The registry client, as releasing and the makers of SBOMs use it."""


def release_targets_of(
    settings: RepositorySettings, store: Store, verifier: Verifier, executor: Executor, state_dir: Path
) -> ReleaseTargets | None:
    """What publishes release sets, or None where none are configured.

    Raises ConfigError if the signer, or the program that makes SBOMs, cannot be used.
    """
    if settings.evidence is None:
        return None
    signer, own = signer_of(settings.evidence)
    attacher = Attacher(store, signer, own)
    hand_over = hand_over_of(settings)
    carrier = None
    if settings.verification.authority is not None:
        carrier = Carrier(store, authority_of(settings.verification), hand_over)
    statements = OwnStatements(carrier, _sboms(settings.evidence, attacher, hand_over, store, state_dir / "syft"))
    return ReleaseTargets(Repository(settings.evidence.release_sets), store, attacher, statements, verifier, executor)


def releases_of(settings: RepositorySettings, reader: Reader) -> Releases | None:
    """Where our release sets are found again, or None where none are configured."""
    if settings.evidence is None:
        return None
    return ReleaseSets(reader, Repository(settings.evidence.release_sets), signer_of(settings.evidence)[1])


def signer_of(settings: EvidenceSettings) -> tuple[EvidenceSigner, Authority]:
    """Who signs what the reconciler states, and the authority that proves exactly that."""
    return signer_from(settings.signer)


def signer_from(settings: SignerSettings) -> tuple[EvidenceSigner, Authority]:
    """A signer, and the authority that proves exactly what it signs. Raises ConfigError."""
    match settings:
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
    """Implements `attesting.Statements`: a verification summary per digest and policy, bundles that are carried to
    where they are missing, and SBOMs that nobody signed."""

    def __init__(self, carrier: Carrier | None, sboms: Sboms) -> None:
        self._carrier = carrier
        self._sboms = sboms

    def local(self, repository: Repository, digest: Digest) -> tuple[Digest, ...]:
        return self._sboms.local(repository, digest)

    def carried(self, repository: Repository, digest: Digest, verdict: Verdict, *, shadowing: bool) -> Stated:
        if self._carrier is None:
            return Stated(())
        made = self._carrier.carried(repository, digest, verdict.carried, shadowing=shadowing)
        return Stated(made.ready, blocked=made.blocked)

    def summary(self, repository: Repository, digest: Digest, verdict: Verdict) -> Statement:
        return Statement(VERIFICATION_SUMMARY, summary(repository, digest, verdict.policy, VERIFIER_ID))

    def materials(self, repository: Repository, digest: Digest) -> Stated:
        return self._sboms.stated(repository, digest)


def _sboms(
    settings: EvidenceSettings, attacher: Attacher, hand_over: HandOver | None, blobs: BlobReader, work_dir: Path
) -> Sboms:
    if settings.sbom == "buildkit":
        return FromBuildKit(attacher)
    if settings.sbom == "handed-over" and hand_over is not None:
        return HandedOver(attacher, hand_over)
    if settings.syft is not None:
        syft = settings.syft
        return MadeHere(attacher, Syft(syft.program, blobs, work_dir, timeout_s=float(syft.timeout_s)))
    return Attached()


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
