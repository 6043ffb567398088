"""SSH signatures and lists of allowed signers, held to ssh-keygen itself where it is installed."""

from __future__ import annotations

import base64
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.signer_ssh import SshSigner, generate_key_file
from state import allowed_signers, sshsig
from state.errors import ConfigError, IntegrityError, InvalidValue
from state.sshsig import PublicKey
from tests.fixtures.log import raw_signature

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PublicKey.of(KEY)
needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is not on PATH (apt-get install openssh-client)"
)


def armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join(("-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----"))


def field(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@given(message=st.binary(max_size=300))
def test_a_signature_verifies_over_its_own_message_only(message: bytes) -> None:
    signature = sshsig.parse(sshsig.sign(KEY, message))
    signature.check(message, key=PUBLIC)
    with pytest.raises(IntegrityError, match="did not sign these bytes"):
        signature.check(message + b"x", key=PUBLIC)


def test_another_key_and_another_namespace_are_refused() -> None:
    other = PublicKey.of(Ed25519PrivateKey.generate())
    with pytest.raises(IntegrityError, match="expected one by"):
        sshsig.parse(sshsig.sign(KEY, b"m")).check(b"m", key=other)
    with pytest.raises(IntegrityError, match="expected namespace 'git', got 'file'"):
        sshsig.parse(sshsig.sign(KEY, b"m", "file")).check(b"m", key=PUBLIC)


def test_a_signature_relabelled_to_our_namespace_does_not_verify() -> None:
    blob = raw_signature(KEY, b"m", "file").replace(field(b"file"), field(b"git"))
    with pytest.raises(IntegrityError, match="did not sign these bytes"):
        sshsig.parse(armour(blob)).check(b"m", key=PUBLIC)


@given(data=st.data())
def test_any_changed_byte_of_the_armour_is_refused(data: st.DataObject) -> None:
    text = sshsig.sign(KEY, b"m").encode()
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda b: b != text[at]))
    changed = (text[:at] + bytes([new]) + text[at + 1 :]).decode("latin-1")
    with pytest.raises((InvalidValue, IntegrityError)):
        sshsig.parse(changed).check(b"m", key=PUBLIC)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("magic", lambda b: b"SSHSIH" + b[6:]),
        ("version 2", lambda b: b[:6] + struct.pack(">I", 2) + b[10:]),
        ("trailing bytes", lambda b: b + b"\0"),
        ("cut short", lambda b: b[:-1]),
        ("empty", lambda _: b""),
        ("hash sha256", lambda b: b.replace(field(b"sha512"), field(b"sha256"))),
        ("a reserved field", lambda b: b.replace(field(b"git") + field(b""), field(b"git") + field(b"x"))),
        ("no namespace", lambda b: b.replace(field(b"git"), field(b""))),
        ("key type", lambda b: b.replace(b"ssh-ed25519", b"ssh-ed25518", 1)),
        ("a length past the end", lambda b: b[:10] + b"\xff\xff\xff\xff" + b[14:]),
    ],
)
def test_a_malformed_signature_is_refused(name: str, change: object) -> None:
    assert callable(change)
    blob = change(raw_signature(KEY, b"m"))
    with pytest.raises(InvalidValue):
        sshsig.parse(armour(blob))


def test_only_the_armour_that_ssh_keygen_writes_is_accepted() -> None:
    text = sshsig.sign(KEY, b"m")
    assert sshsig.parse(text + "\n") == sshsig.parse(text)
    lines = text.split("\n")
    for other in (
        text + "\n\n",
        " " + text,
        text.replace("\n", "\r\n"),
        "\n".join((lines[0], "".join(lines[1:-1]), lines[-1])),
        text.replace("SSH SIGNATURE", "PGP SIGNATURE"),
    ):
        with pytest.raises(InvalidValue):
            sshsig.parse(other)


@needs_ssh_keygen
def test_ssh_keygen_and_this_program_accept_each_other(tmp_path: Path) -> None:
    line = generate_key_file(tmp_path / "key")
    key = PublicKey.parse(line)
    (tmp_path / "allowed").write_text(allowed_signers.line_for("rec-0@ameide.invalid", key) + "\n")
    (tmp_path / "ours").write_text(SshSigner.from_file(tmp_path / "key").sign(b"payload") + "\n")
    subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", tmp_path / "allowed", "-I", "rec-0@ameide.invalid", "-n", "git", "-s",
         tmp_path / "ours"],
        input=b"payload", check=True, capture_output=True,
    )  # fmt: skip
    made = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", tmp_path / "key"], input=b"payload", check=True,
        capture_output=True,
    )  # fmt: skip
    assert made.stdout == (tmp_path / "ours").read_bytes()
    shown = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert key.fingerprint in shown.stdout.split()


@needs_ssh_keygen
def test_a_key_made_by_ssh_keygen_is_read(tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", tmp_path / "key"], check=True
    )
    line = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    assert SshSigner.from_file(tmp_path / "key").public_key() == line


def test_a_signing_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    generate_key_file(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="expected mode 0600, got 0640"):
        SshSigner.from_file(tmp_path / "key")


def test_a_key_file_is_never_replaced(tmp_path: Path) -> None:
    generate_key_file(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(ConfigError, match="File exists"):
        generate_key_file(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_a_file_that_is_no_key_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("hunter2-secret")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        SshSigner.from_file(path)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        SshSigner.from_file(tmp_path / "none")
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):
        SshSigner.from_file(tmp_path / "fifo")


@pytest.mark.parametrize(
    "line",
    [
        "rec-0 ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ==",
        f"rec-0 cert-authority {PUBLIC.line}",
        f'rec-0 valid-after="20260101" {PUBLIC.line}',
        f'rec-0 namespaces="git",valid-before="20260101" {PUBLIC.line}',
        f"rec-0 namespaces=git {PUBLIC.line}",
        f'rec-0 namespaces="" {PUBLIC.line}',
        f'"rec 0" {PUBLIC.line}',
        PUBLIC.line,
        f"rec-0[ab] {PUBLIC.line}",
        f"rec-0, {PUBLIC.line}",
        f"rec-0 {PUBLIC.line[:-4]}",
        "rec-0",
        "# only a comment",
        "",
    ],
)
def test_a_line_of_allowed_signers_that_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(InvalidValue):
        allowed_signers.parse(f"{line}\n")


@pytest.mark.parametrize(
    ("line", "principal", "allowed"),
    [
        ("rec-0@ameide.invalid", "rec-0@ameide.invalid", True),
        ("*@ameide.invalid", "rec-0@ameide.invalid", True),
        ("rec-?@ameide.invalid", "rec-0@ameide.invalid", True),
        ("rec-?@ameide.invalid", "rec-10@ameide.invalid", False),
        ("*@ameide.invalid,!rec-0@*", "rec-0@ameide.invalid", False),
        ("a@b,rec-0@ameide.invalid", "rec-0@ameide.invalid", True),
        ('* namespaces="git,file"', "rec-0@ameide.invalid", True),
        ('* NAMESPACES="g*"', "rec-0@ameide.invalid", True),
        ('* namespaces="file"', "rec-0@ameide.invalid", False),
        ("REC-0@ameide.invalid", "rec-0@ameide.invalid", False),
    ],
)
def test_principals_and_namespaces_decide_who_may_sign(line: str, principal: str, allowed: bool) -> None:
    signers = allowed_signers.parse(f"# a comment\n\n{line} {PUBLIC.line} with a comment\r\n")
    assert (signers.refusal(PUBLIC, principal) is None) is allowed
    other = PublicKey.of(Ed25519PrivateKey.generate())
    assert "not in the list" in str(signers.refusal(other, principal))


def test_a_public_key_line_reads_back_and_nothing_else_does() -> None:
    assert PublicKey.parse(PUBLIC.line) == PUBLIC
    for line in (PUBLIC.line + " comment", PUBLIC.line + "\n", " " + PUBLIC.line, PUBLIC.line.replace("C3", "C4", 1)):
        with pytest.raises(InvalidValue):
            PublicKey.parse(line)


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"rec-0 ssh-rsa AAAA\n", "line 1"), (b"# \xff\n", "byte 2"), (b"", "names no key"), (None, "cannot be read")],
)
def test_a_list_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path, raw: bytes | None, words: str) -> None:
    file = tmp_path / "allowed"
    if raw is not None:
        file.write_bytes(raw)
    with pytest.raises(ConfigError, match=words) as caught:
        allowed_signers.load(file)
    assert str(file) in str(caught.value)
    assert "another" in str(caught.value) or "name a file" in str(caught.value)
