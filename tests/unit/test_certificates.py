"""What a signing certificate says, read as strictly as Fulcio writes it: identity hangs on these values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from reconciler.evidence.certificates import claims_of
from reconciler.evidence.found import Refused
from state.verdict import Refusal
from tests.fixtures.evidence import new_key

WORKFLOW: Final = "https://github.com/org/shop/.github/workflows/publish.yml@refs/heads/main"
KEY: Final = new_key()


def utf8(text: str) -> bytes:
    """A DER UTF8String, with the shortest length that DER allows."""
    raw = text.encode()
    if len(raw) < 128:
        return bytes([0x0C, len(raw)]) + raw
    if len(raw) < 256:
        return bytes([0x0C, 0x81, len(raw)]) + raw
    return bytes([0x0C, 0x82]) + len(raw).to_bytes(2, "big") + raw


def certificate(said: dict[int, bytes], names: list[x509.GeneralName] | None = None) -> x509.Certificate:
    """A certificate with these Fulcio extensions; who signed it does not matter here."""
    name = x509.Name([])
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(moment)
        .not_valid_after(moment)
    )
    found = [x509.UniformResourceIdentifier(WORKFLOW)] if names is None else names
    if found:
        made = made.add_extension(x509.SubjectAlternativeName(found), critical=True)
    for number, raw in said.items():
        oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
        made = made.add_extension(x509.UnrecognizedExtension(oid, raw), critical=False)
    return made.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize("length", [1, 127, 128, 255, 256, 300])
def test_texts_of_every_length_are_read(length: int) -> None:
    assert claims_of(certificate({8: utf8("i" * length)})).issuer == "i" * length


def test_every_claim_is_read_from_its_own_extension() -> None:
    found = claims_of(certificate({n: utf8(f"value {n}") for n in (8, 9, 11, 12, 13, 14, 15, 23)}))
    assert found.identity == WORKFLOW
    assert (found.issuer, found.build_signer, found.runner_environment) == ("value 8", "value 9", "value 11")
    assert (found.source_repository, found.source_revision) == ("value 12", "value 13")
    assert (found.source_ref, found.source_repository_id) == ("value 14", "value 15")
    assert found.environment == "value 23"


def test_the_older_issuer_counts_only_where_the_newer_is_missing() -> None:
    assert claims_of(certificate({1: b"old"})).issuer == "old"
    assert claims_of(certificate({1: b"old", 8: utf8("new")})).issuer == "new"
    assert claims_of(certificate({})).issuer is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x0c",
        b"issuer",
        b"\x16\x01i",
        b"\x0c\x02i",
        b"\x0c\x01ii",
        b"\x0c\x81\x01i",
        b"\x0c\x82\x00\x01i",
        b"\x0c\x80i\x00\x00",
        b"\x0c\x01\xff",
        utf8("a\nb"),
        utf8("a\u202eb"),
        utf8("i" * 5000),
    ],
    ids=[
        "empty", "no-length", "bare", "ia5", "too-long", "too-short", "long-form", "longer-form", "indefinite",
        "no-utf8", "newline", "right-to-left", "huge",
    ],
)  # fmt: skip
def test_what_fulcio_does_not_write_is_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as refused:
        claims_of(certificate({8: raw}))
    assert refused.value.refusal is Refusal.MALFORMED


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], Refusal.MALFORMED),
        ([x509.DNSName("a.example")], Refusal.UNSUPPORTED),
        ([x509.UniformResourceIdentifier(WORKFLOW), x509.RFC822Name("a@b.example")], Refusal.UNSUPPORTED),
        ([x509.UniformResourceIdentifier(WORKFLOW), x509.DNSName("a.example")], Refusal.UNSUPPORTED),
    ],
    ids=["none", "dns", "two", "uri-and-dns"],
)
def test_a_certificate_has_exactly_one_identity(names: list[x509.GeneralName], why: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        claims_of(certificate({}, names))
    assert refused.value.refusal is why
