"""SSH signatures by Ed25519, made and checked in this process.

Source: OpenSSH PROTOCOL.sshsig (armour, wire format, signed data) and PROTOCOL.key / RFC 8709 (`ssh-ed25519`). Only
what the log uses is accepted: version 1, Ed25519, SHA-512, an empty reserved field. The armour has one accepted form,
the one that `ssh-keygen -Y sign` writes (lines of 70 characters), so one signature has one text and a commit that
carries it has one id.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from state.errors import IntegrityError, InvalidValue

NAMESPACE: Final = "git"
"""The namespace that git gives to signatures of commits and tags."""
ARMOUR_MAX_BYTES: Final = 1024

_TYPE: Final = b"ssh-ed25519"
_MAGIC: Final = b"SSHSIG"
_VERSION: Final = struct.pack(">I", 1)
_HASH: Final = b"sha512"
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"
_LINE: Final = 70
_RAW_BYTES: Final = 64
_KEY_LINE: Final = re.compile(r"ssh-ed25519 ([A-Za-z0-9+/]{68})")
"""51 bytes, so without padding: a reader of base64 would ignore it, and a key have two spellings."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key: its 32 raw bytes."""

    raw: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read `ssh-ed25519 AAAA…` without options or comment. Raises InvalidValue."""
        match = _KEY_LINE.fullmatch(line)
        if match is None:
            raise InvalidValue(f"public key: expected `ssh-ed25519 AAAA…` without a comment, got {line[:80]!r}")
        wire = _Wire(_unbase64(match[1], "public key"), "public key")
        made = cls(_raw_key(wire, "public key"))
        wire.end()
        return made

    @classmethod
    def of(cls, key: Ed25519PrivateKey) -> Self:
        """The public half of `key`."""
        return cls(key.public_key().public_bytes_raw())

    @property
    def line(self) -> str:
        """The OpenSSH public key line without a comment."""
        return f"ssh-ed25519 {base64.b64encode(self.wire).decode()}"

    @property
    def wire(self) -> bytes:
        """The key as SSH sends it (RFC 8709, section 4)."""
        return _string(_TYPE) + _string(self.raw)

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` shows: `SHA256:` and unpadded base64."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.wire).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature: who is said to have signed, in which namespace, and the 64 signature bytes."""

    key: PublicKey
    namespace: str
    raw: bytes

    def armoured(self) -> str:
        """The text, without a final newline."""
        return _armoured(_frame(self.key, self.namespace) + self.raw)

    def check(self, message: bytes, *, key: PublicKey, namespace: str = NAMESPACE) -> None:
        """Raise IntegrityError unless `key` signed exactly `message` in exactly `namespace`."""
        if self.namespace != namespace:
            raise IntegrityError(f"signature: expected namespace {namespace!r}, got {self.namespace!r}")
        if self.key != key:
            raise IntegrityError(f"signature: expected one by {key.fingerprint}, got one by {self.key.fingerprint}")
        try:
            _verifier(key.raw).verify(self.raw, _signed_data(message, namespace))
        except InvalidSignature as error:
            raise IntegrityError(f"signature: {key.fingerprint} did not sign these bytes") from error


def sign(key: Ed25519PrivateKey, message: bytes, namespace: str = NAMESPACE) -> str:
    """The armoured signature of `message`, without a final newline."""
    return Signature(PublicKey.of(key), namespace, key.sign(_signed_data(message, namespace))).armoured()


def parse(armour: str) -> Signature:
    """Read an armoured signature; one final newline is allowed. Raises InvalidValue on any other form."""
    text = armour.removesuffix("\n")
    if len(text) > ARMOUR_MAX_BYTES:
        raise InvalidValue(f"SSH signature: expected at most {ARMOUR_MAX_BYTES} bytes, got {len(text)}")
    lines = text.split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise InvalidValue("SSH signature: expected the armour of `ssh-keygen -Y sign`, got other lines")
    blob = _unbase64("".join(lines[1:-1]), "SSH signature")
    if len(blob) <= _RAW_BYTES:
        raise InvalidValue("SSH signature: cut short")
    key, namespace = _frame_parts(blob[:-_RAW_BYTES])
    if _armoured(blob) != text:
        raise InvalidValue("SSH signature: the armour is not in the form that `ssh-keygen -Y sign` writes")
    return Signature(key, namespace, blob[-_RAW_BYTES:])


class _Wire:
    """Reads SSH wire data (RFC 4251, section 5) from front to end."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def expect(self, wanted: bytes, name: str) -> None:
        if not self._data.startswith(wanted, self._at):
            raise InvalidValue(f"{self._what}: expected {name}, got other bytes")
        self._at += len(wanted)

    def string(self) -> bytes:
        start = self._at + 4
        length = int.from_bytes(self._data[self._at : start], "big")
        if start + length > len(self._data):
            raise InvalidValue(f"{self._what}: a field of {length} bytes reaches past the end")
        self._at = start + length
        return self._data[start : self._at]

    def end(self) -> None:
        if self._at != len(self._data):
            raise InvalidValue(f"{self._what}: {len(self._data) - self._at} bytes follow the last field")


def _raw_key(wire: _Wire, what: str) -> bytes:
    wire.expect(_string(_TYPE), "key type ssh-ed25519")
    raw = wire.string()
    if len(raw) != 32:
        raise InvalidValue(f"{what}: an Ed25519 key has 32 bytes, got {len(raw)}")
    return raw


def _unbase64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue(f"{what}: not base64: {error}") from error


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _signed_data(message: bytes, namespace: str) -> bytes:
    return (
        _MAGIC + _string(namespace.encode()) + _string(b"") + _string(_HASH) + _string(hashlib.sha512(message).digest())
    )


# Everything before the last 64 bytes is the same for each signature of one key in one namespace: it is worked out once.


@lru_cache(maxsize=64)
def _frame(key: PublicKey, namespace: str) -> bytes:
    signature = _string(_string(_TYPE) + _string(bytes(_RAW_BYTES)))
    return (
        _MAGIC
        + _VERSION
        + _string(key.wire)
        + _string(namespace.encode())
        + _string(b"")
        + _string(_HASH)
        + signature[:-_RAW_BYTES]
    )


@lru_cache(maxsize=64)
def _frame_parts(frame: bytes) -> tuple[PublicKey, str]:
    wire = _Wire(frame + bytes(_RAW_BYTES), "SSH signature")
    wire.expect(_MAGIC, "magic preamble")
    wire.expect(_VERSION, "version 1")
    inner = _Wire(wire.string(), "SSH signature's key")
    key = PublicKey(_raw_key(inner, "SSH signature's key"))
    inner.end()
    namespace = wire.string()
    if not namespace or not namespace.isascii():
        raise InvalidValue(f"SSH signature: expected an ASCII namespace, got {namespace[:40]!r}")
    wire.expect(_string(b""), "an empty reserved field")
    wire.expect(_string(_HASH), "hash algorithm sha512")
    inner = _Wire(wire.string(), "SSH signature")
    wire.end()
    inner.expect(_string(_TYPE), "signature type ssh-ed25519")
    raw = inner.string()
    inner.end()
    if len(raw) != _RAW_BYTES:
        raise InvalidValue(f"SSH signature: an Ed25519 signature has {_RAW_BYTES} bytes, got {len(raw)}")
    return key, namespace.decode("ascii")


def _armoured(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[i : i + _LINE] for i in range(0, len(text), _LINE)]
    return "\n".join((_BEGIN, *lines, _END))


@lru_cache(maxsize=256)
def _verifier(raw: bytes) -> Ed25519PublicKey:
    # Any 32 bytes load; a point that is not on the curve fails each verification.
    return Ed25519PublicKey.from_public_bytes(raw)
