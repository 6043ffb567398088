"""Settings → whose signatures an evidence file rests on, and the files of their keys or roots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.adapters.evidence_key import KeySigner
from reconciler.audit.evidence_file import Trusted
from reconciler.settings.model import (
    EvidenceSettings,
    KeyAuthoritySettings,
    KeySignerSettings,
    SigstoreAuthoritySettings,
    SigstoreSignerSettings,
    VerificationSettings,
)
from reconciler.settings.publish import ApprovalsSettings
from reconciler.strict_yaml import read_regular

FILE_MAX_BYTES: Final = 1024 * 1024


class Believed(NamedTuple):
    """Who signs release sets, who builds, what vouches for approvers' certificates; and the members that hold it."""

    signer: Trusted
    builder: Trusted | None
    approvers_root: Trusted | None
    files: Mapping[str, bytes]


def trusted_of(
    evidence: EvidenceSettings, verification: VerificationSettings, approvals: ApprovalsSettings | None
) -> Believed:
    """What these settings believe. Raises ConfigError for a file that cannot be read."""
    files: dict[str, bytes] = {}
    root = None
    if approvals is not None and (certificates := approvals.certificates) is not None:
        files["policy/approvers.0"] = read_regular(certificates.trusted_root_file, max_bytes=FILE_MAX_BYTES)
        root = Trusted("sigstore", ("policy/approvers.0",), certificates.transparency_log)
    match evidence.signer:
        case KeySignerSettings(key_file=key_file, password_file=password_file):
            public = KeySigner.from_file(key_file, password_file).public_key
            files["policy/signer.0"] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            signer = Trusted("keys", ("policy/signer.0",))
        case SigstoreSignerSettings(trust_config_file=trust_config_file, token_file=token_file):
            from reconciler.adapters.evidence_sigstore import SigstoreSigner  # noqa: PLC0415

            files["policy/signer.0"] = SigstoreSigner(trust_config_file, token_file).trusted_root
            signer = Trusted("sigstore", ("policy/signer.0",))
    match verification.authority:
        case KeyAuthoritySettings(public_key_files=paths):
            names = [f"policy/builder.{n}" for n in range(len(paths))]
            files.update((n, read_regular(p, max_bytes=FILE_MAX_BYTES)) for n, p in zip(names, paths, strict=True))
            return Believed(signer, Trusted("keys", tuple(names)), root, files)
        case SigstoreAuthoritySettings() as sigstore:
            files["policy/builder.0"] = read_regular(sigstore.trusted_root_file, max_bytes=FILE_MAX_BYTES)
            builder = Trusted(
                "sigstore", ("policy/builder.0",), sigstore.transparency_log, sigstore.issuer, sigstore.workflow
            )
            return Believed(signer, builder, root, files)
        case None:
            return Believed(signer, None, root, files)
