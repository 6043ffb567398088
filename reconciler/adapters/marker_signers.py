"""Signing markers on an approver's machine: statement in, envelope out."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final, Protocol

from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.approval.approver_settings import (
    KeyMarkerSettings,
    SignerChoice,
    SigstoreMarkerSettings,
    SshKeygenMarkerSettings,
    SshMarkerSettings,
)
from reconciler.approval.envelopes import seal
from reconciler.approval.signatures import NAMESPACE
from reconciler.evidence.bundles import pae
from state import sshsig
from state.errors import ConfigError, InvalidValue
from state.statement import PAYLOAD_TYPE

_TIMEOUT_S: Final = 120
"""A person may have to type a password or touch something."""


class MarkerSigner(Protocol):
    """Makes an envelope with one signature."""

    def sign(self, payload: bytes) -> bytes:
        """Raises ConfigError, Transient or Denied."""


class SshMarkers:
    """By an OpenSSH key file, in this process."""

    def __init__(self, key_file: Path) -> None:
        self._signer = SshSigner.from_file(key_file)

    def sign(self, payload: bytes) -> bytes:
        armour = self._signer.sign(pae(PAYLOAD_TYPE, payload), NAMESPACE)
        return _sealed(payload, armour)


class SshKeygenMarkers:
    """By `ssh-keygen`, which asks the agent or the person."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def sign(self, payload: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="ameide-") as root:
            message = Path(root) / "marker"
            message.write_bytes(pae(PAYLOAD_TYPE, payload))
            arguments = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(self._key_file), str(message)]
            try:
                done = subprocess.run(arguments, check=False, capture_output=True, timeout=_TIMEOUT_S)
                armour = message.with_name("marker.sig").read_text() if done.returncode == 0 else ""
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ConfigError(f"ssh-keygen: cannot sign with {self._key_file}: {type(error).__name__}") from error
        if not armour:
            said = " ".join(done.stderr.decode(errors="replace").split())[:200]
            raise ConfigError(f"ssh-keygen: cannot sign with {self._key_file}: {said}")
        try:
            return _sealed(payload, armour)
        except InvalidValue as error:
            raise ConfigError(f"{self._key_file}: expected an ed25519 key: {error}") from error


class SigstoreMarkers:
    """By a short-lived certificate."""

    def __init__(self, trust_config_file: Path, token_file: Path | None) -> None:
        from reconciler.adapters.evidence_sigstore import SigstoreSigner  # noqa: PLC0415  (0.3 s, for this kind only)

        self._signer = SigstoreSigner(trust_config_file, token_file)

    def sign(self, payload: bytes) -> bytes:
        return self._signer.sign_marker(payload)


def marker_signer(settings: SignerChoice) -> MarkerSigner:
    """The signer as configured. Raises ConfigError if a file of it cannot be used."""
    match settings:
        case SshMarkerSettings(key_file=key_file):
            return SshMarkers(key_file)
        case SshKeygenMarkerSettings(key_file=key_file):
            return SshKeygenMarkers(key_file)
        case KeyMarkerSettings(key_file=key_file, password_file=password_file):
            return KeySigner.from_file(key_file, password_file)
        case SigstoreMarkerSettings(trust_config_file=trust_config_file, token_file=token_file):
            return SigstoreMarkers(trust_config_file, token_file)


def _sealed(payload: bytes, armour: str) -> bytes:
    key = sshsig.parse(armour).key
    return seal(payload, [(key.fingerprint, armour.encode())])
