"""The key that signs statements: read only in its encrypted form, and no message gives anything of it away."""

from __future__ import annotations

import hashlib
import json
import stat
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from nacl.secret import SecretBox

from reconciler.adapters.evidence_key import KeySigner, generate_key_pair
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Found, Layout
from reconciler.evidence.keys import KeyAuthority
from state.errors import ConfigError
from state.oci import Digest
from tests.fixtures.evidence import b64


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, Path]:
    files = tmp_path / "own.key", tmp_path / "own.password", tmp_path / "own.pub"
    generate_key_pair(*files)
    return files


def test_what_is_signed_is_proven_by_the_public_key_and_names_it(pair: tuple[Path, Path, Path]) -> None:
    private, password, public = pair
    signer = KeySigner.from_file(private, password)
    raw = signer.sign(b'{"a":1}')
    authority = KeyAuthority.from_files([public])
    proven = authority.prove(Found(Layout.BUNDLE, Digest.of(raw), BUNDLE_MEDIA_TYPE, raw, {}))
    assert (proven.payload, proven.key) == (b'{"a":1}', signer.name())
    assert json.loads(raw)["verificationMaterial"].keys() == {"publicKey"}


def test_generated_files_are_for_their_owner_and_replace_nothing(pair: tuple[Path, Path, Path]) -> None:
    modes = [stat.S_IMODE(path.stat().st_mode) for path in pair]
    assert modes[:2] == [0o600, 0o600]
    before = [path.read_bytes() for path in pair]
    with pytest.raises(FileExistsError):
        generate_key_pair(*pair)
    assert [path.read_bytes() for path in pair] == before


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def cosign_pem(
    password: bytes,
    *,
    label: str = "SIGSTORE",
    curve: ec.EllipticCurve | None = None,
    kdf: str = "scrypt",
    salt: bytes = b"s" * 32,
    **params: int,
) -> bytes:
    """A key in cosign's form; `params` replace the cost of scrypt, which is small here."""
    made = ec.generate_private_key(curve or ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cost = {"N": 2**14, "r": 8, "p": 1}
    derived = hashlib.scrypt(password, salt=salt, n=cost["N"], r=cost["r"], p=cost["p"], dklen=32)
    nonce = b"n" * SecretBox.NONCE_SIZE
    body = {
        "kdf": {"name": kdf, "params": {**cost, **params}, "salt": b64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": b64(nonce)},
        "ciphertext": b64(SecretBox(derived).encrypt(made, nonce).ciphertext),
    }
    text = "\n".join(textwrap.wrap(b64(json.dumps(body).encode()), 64))
    block = f"ENCRYPTED {label} PRIVATE KEY"
    return f"-----BEGIN {block}-----\n{text}\n-----END {block}-----\n".encode()


@pytest.mark.parametrize("label", ["SIGSTORE", "COSIGN"])
def test_a_key_in_the_form_of_cosign_is_read_and_signs(tmp_path: Path, label: str) -> None:
    private, secret = tmp_path / "key", tmp_path / "password"
    private.write_bytes(cosign_pem(b"secret", label=label))
    secret.write_bytes(b"secret\n")
    signer = KeySigner.from_file(private, secret)
    raw = signer.sign(b"{}")
    proven = KeyAuthority([signer.public_key]).prove(Found(Layout.BUNDLE, Digest.of(raw), BUNDLE_MEDIA_TYPE, raw, {}))
    assert proven.payload == b"{}"


@pytest.mark.parametrize(
    ("key", "password", "told"),
    [
        (lambda: pem(ec.generate_private_key(ec.SECP256R1()), None), b"secret\n", "expected an encrypted private key"),
        (lambda: pem(ec.generate_private_key(ec.SECP256R1()), b"other"), b"secret\n", "cannot be decrypted"),
        (lambda: pem(ec.generate_private_key(ec.SECP384R1()), b"secret"), b"secret\n", "expected an ECDSA P-256 key"),
        (lambda: pem(ed25519.Ed25519PrivateKey.generate(), b"secret"), b"secret\n", "expected an ECDSA P-256 key"),
        (lambda: pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), b"\nsecret", "in its first line"),
        (lambda: b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", b"secret\n", "expected one PEM block of cosign's"),
        (lambda: cosign_pem(b"other"), b"secret\n", "cannot be decrypted"),
        (lambda: cosign_pem(b"secret", curve=ec.SECP384R1()), b"secret\n", "expected an ECDSA P-256 key"),
        (lambda: cosign_pem(b"secret", N=2**22), b"secret\n", "scrypt with N=4194304, r=8, p=1 is refused"),
        (lambda: cosign_pem(b"secret", N=3), b"secret\n", "scrypt with N=3, r=8, p=1 is refused"),
        (lambda: cosign_pem(b"secret", p=17), b"secret\n", "scrypt with N=16384, r=8, p=17 is refused"),
        (lambda: cosign_pem(b"secret", r=2**20), b"secret\n", "is refused"),
        (lambda: cosign_pem(b"secret", kdf="pbkdf2"), b"secret\n", "another method"),
        (lambda: cosign_pem(b"secret", salt=b"short"), b"secret\n", "salt or nonce"),
        (lambda: cosign_pem(b"secret") + cosign_pem(b"secret"), b"secret\n", "expected one PEM block"),
        (lambda: b"", b"secret\n", "expected an encrypted private key"),
    ],
    ids=[
        "unencrypted",
        "other-password",
        "p384",
        "ed25519",
        "no-password",
        "cosign-empty",
        "cosign-other-password",
        "cosign-p384",
        "cosign-memory",
        "cosign-no-power",
        "cosign-rounds",
        "cosign-block",
        "cosign-method",
        "cosign-salt",
        "cosign-twice",
        "empty",
    ],
)
def test_a_key_that_cannot_be_used_is_a_configuration_error_that_tells_no_secret(
    tmp_path: Path, key: Callable[[], bytes], password: bytes, told: str
) -> None:
    private, secret = tmp_path / "key", tmp_path / "password"
    private.write_bytes(key())
    secret.write_bytes(password)
    with pytest.raises(ConfigError, match=told) as refused:
        KeySigner.from_file(private, secret)
    assert "secret" not in str(refused.value)


def test_the_password_is_the_first_line_whatever_ends_it(tmp_path: Path) -> None:
    private, secret = tmp_path / "key", tmp_path / "password"
    private.write_bytes(pem(ec.generate_private_key(ec.SECP256R1()), b"se cret"))
    for ending in (b"", b"\n", b"\r\n", b"\nmore"):
        secret.write_bytes(b"se cret" + ending)
        assert KeySigner.from_file(private, secret).name().startswith("sha256:")
