"""Signing statements with a key file, for air-gapped use: Sigstore bundles that `cosign verify --key` takes.

Such a bundle has no certificate, no log entry and no timestamp; whoever verifies it has the public key.
Source: sigstore protobuf-specs, Bundle v0.3 (`publicKey.hint`); DSSE v1.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from reconciler.adapters.cosign_key import is_cosign_key, opened
from reconciler.evidence.bundles import Envelope, pae
from reconciler.evidence.keys import key_bundle
from reconciler.strict_yaml import read_regular
from state.errors import ConfigError, InvalidValue
from state.oci import Digest
from state.statement import PAYLOAD_TYPE

_FILE_MAX_BYTES: Final = 64 * 1024


class KeySigner:
    """Implements `ports.EvidenceSigner` with one ECDSA P-256 key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint = Digest.of(der)

    @classmethod
    def from_file(cls, key_file: Path, password_file: Path) -> Self:
        """Read an encrypted key: PKCS #8, or as cosign writes it.

        Raises ConfigError; no message holds anything of key or password.
        """
        password = read_regular(password_file, max_bytes=_FILE_MAX_BYTES).partition(b"\n")[0].rstrip(b"\r")
        raw = read_regular(key_file, max_bytes=_FILE_MAX_BYTES)
        of_cosign = is_cosign_key(raw)
        if not of_cosign and b"BEGIN ENCRYPTED PRIVATE KEY" not in raw:
            raise ConfigError(
                f"{key_file}: expected an encrypted private key (PEM: PKCS #8, or as `cosign generate-key-pair` writes"
                " it), got something else"
            )
        if not password:
            raise ConfigError(f"{password_file}: expected the key's password in its first line, got nothing")
        try:
            key = _of_cosign(raw, password) if of_cosign else serialization.load_pem_private_key(raw, password)
        except InvalidValue as error:
            raise ConfigError(f"{key_file}: {error}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{key_file}: cannot be decrypted with the password in {password_file}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigError(f"{key_file}: expected an ECDSA P-256 key")
        return cls(key)

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, statement: bytes) -> bytes:
        """See EvidenceSigner; raises nothing."""
        signature = self._key.sign(pae(PAYLOAD_TYPE, statement), ec.ECDSA(hashes.SHA256()))
        return key_bundle(Envelope(PAYLOAD_TYPE, statement, signature, ""), self.fingerprint)

    def name(self) -> str:
        """`sha256:` and the hex digest of the public key (DER)."""
        return self.fingerprint


def _of_cosign(raw: bytes, password: bytes) -> PrivateKeyTypes:
    """Raises InvalidValue for another form, ValueError for another password."""
    der = opened(raw, password)
    if der is None:
        raise ValueError("another password")
    return serialization.load_der_private_key(der, None)


def generate_key_pair(key_file: Path, password_file: Path, public_file: Path) -> None:
    """Make a key with a random password, in three new files; the first two are readable by this user alone.

    Raises FileExistsError rather than replace anything.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    password = secrets.token_urlsafe(32).encode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files = ((key_file, private, 0o600), (password_file, password + b"\n", 0o600), (public_file, public, 0o644))
    for path, raw, mode in files:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(raw)
