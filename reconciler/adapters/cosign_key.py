"""cosign's own form of an encrypted private key → PKCS #8 (DER), as `cosign generate-key-pair` writes it.

A PEM block around JSON: scrypt makes a key from the password, a NaCl secretbox holds the private key. Source:
sigstore/cosign pkg/cosign/keys.go and go-securesystemslib encrypted/encrypted.go.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from state import canonical
from state.errors import InvalidValue

_BLOCK: Final = re.compile(
    rb"-----BEGIN ENCRYPTED (SIGSTORE|COSIGN) PRIVATE KEY-----\s([A-Za-z0-9+/=\s]+)"
    rb"-----END ENCRYPTED \1 PRIVATE KEY-----\s*"
)
_MEMORY_MAX_BYTES: Final = 256 * 1024 * 1024
"""cosign's own parameters take 64 MiB."""
_ROUNDS_MAX: Final = 16
_TEXT_MAX_BYTES: Final = 64 * 1024
_SALT_BYTES: Final = range(16, 1024)


class _Sealed(NamedTuple):
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes
    sealed: bytes


def is_cosign_key(raw: bytes) -> bool:
    """Whether the file says that it is such a key."""
    return b"BEGIN ENCRYPTED SIGSTORE PRIVATE KEY" in raw or b"BEGIN ENCRYPTED COSIGN PRIVATE KEY" in raw


def opened(raw: bytes, password: bytes) -> bytes | None:
    """The private key in PKCS #8 (DER); None if the password does not open it.

    Raises InvalidValue for another form, or for one that would take more than 256 MiB to open; no message holds
    anything of the key.
    """
    box = _parsed(raw)
    key = hashlib.scrypt(
        password, salt=box.salt, n=box.n, r=box.r, p=box.p, maxmem=2 * _MEMORY_MAX_BYTES, dklen=SecretBox.KEY_SIZE
    )
    try:
        return SecretBox(key).decrypt(box.sealed, box.nonce)
    except CryptoError:
        return None


def _parsed(raw: bytes) -> _Sealed:
    block = _BLOCK.fullmatch(raw.strip())
    if block is None:
        raise InvalidValue("expected one PEM block of cosign's encrypted form and nothing else")
    text = _decoded("".join(block[2].decode().split()), "the PEM block")
    said = canonical.reading(canonical.loads_object(text, what="cosign key", max_bytes=_TEXT_MAX_BYTES), "cosign key")
    kdf = canonical.reading(said.object("kdf"), "cosign key: kdf")
    cipher = canonical.reading(said.object("cipher"), "cosign key: cipher")
    if kdf.text("name") != "scrypt" or cipher.text("name") != "nacl/secretbox":
        raise InvalidValue("cosign key: expected the methods that cosign uses, scrypt and NaCl, got another method")
    cost = canonical.reading(kdf.object("params"), "cosign key: kdf.params")
    n, r, p = cost.integer("N"), cost.integer("r"), cost.integer("p")
    if n < 2 or n & (n - 1) or r < 1 or not 1 <= p <= _ROUNDS_MAX or 128 * n * r > _MEMORY_MAX_BYTES:
        raise InvalidValue(f"cosign key: scrypt with N={n}, r={r}, p={p} is refused: more than 256 MiB, or no cost")
    salt, nonce = _decoded(kdf.text("salt"), "salt"), _decoded(cipher.text("nonce"), "nonce")
    if len(salt) not in _SALT_BYTES or len(nonce) != SecretBox.NONCE_SIZE:
        raise InvalidValue("cosign key: salt or nonce has not the length that the method asks for")
    return _Sealed(n, r, p, salt, nonce, _decoded(said.text("ciphertext"), "ciphertext"))


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"cosign key: {what} is not base64") from error
