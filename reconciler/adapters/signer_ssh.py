"""The log's signer: an Ed25519 key in an OpenSSH private key file, used in this process.

Source: OpenSSH PROTOCOL.key (the file), PROTOCOL.sshsig (the signature). The file is read once, at the start; no agent
and no `~/.ssh` is ever asked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from reconciler.secret_modes import open_to_others
from state import sshsig
from state.errors import ConfigError
from state.sshsig import PublicKey

KEY_MAX_BYTES: Final = 16 * 1024


class SshSigner:
    """Signs payloads, in namespace `git` unless told (port Signer)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> SshSigner:
        """Read an unencrypted OpenSSH private key file that only its owner may access.

        Raises ConfigError if it is missing, open to others, encrypted, damaged, or not an Ed25519 key.
        """
        raw = _read_private(path)
        try:
            key = load_ssh_private_key(raw, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The library's message may quote the file, so only its kind is told.
            raise ConfigError(
                f"{path}: expected an unencrypted OpenSSH private key, as `ssh-keygen -t ed25519 -N ''` writes it "
                f"({type(error).__name__})"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(f"{path}: expected an ed25519 key, got another type")
        return cls(key)

    def public_key(self) -> str:
        """The OpenSSH public key line without a comment."""
        return PublicKey.of(self._key).line

    def sign(self, payload: bytes, namespace: str = sshsig.NAMESPACE) -> str:
        """The armoured SSH signature of `payload`."""
        return sshsig.sign(self._key, payload, namespace)


def generate_key_file(path: Path) -> str:
    """Make a key as `ssh-keygen -t ed25519 -N ''` does: `path` (mode 0600) and `path.pub`. Returns the public line.

    Raises ConfigError if either file exists or cannot be written; an existing key is never replaced.
    """
    key = Ed25519PrivateKey.generate()
    line = PublicKey.of(key).line
    _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), 0o600)
    _write_new(path.with_name(path.name + ".pub"), line.encode() + b"\n", 0o644)
    return line


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"{path}: the signing key cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)  # of the file that was opened, not of whatever the name leads to later
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: the signing key is not a regular file")
        mode = stat.S_IMODE(found.st_mode)
        if open_to_others(descriptor):
            raise ConfigError(f"{path}: expected mode 0600, got {mode:04o}; others may read the signing key: chmod 600")
        raw = file.read(KEY_MAX_BYTES + 1)
    if len(raw) > KEY_MAX_BYTES:
        raise ConfigError(f"{path}: expected a key of at most {KEY_MAX_BYTES} bytes")
    return raw


def _write_new(path: Path, raw: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
