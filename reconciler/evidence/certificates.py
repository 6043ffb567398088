"""What a Fulcio certificate says of its holder. Source: Fulcio, oid-info.md and certificate-specification.md."""

from __future__ import annotations

from typing import Final

from cryptography import x509

from reconciler.evidence.authority import CertificateClaims
from reconciler.evidence.found import Refused
from state.verdict import Refusal

_ARC: Final = "1.3.6.1.4.1.57264.1"
_RAW_ISSUER: Final = 1
"""The older issuer extension: the bare text, where all from 8 on are DER UTF8Strings."""
_ISSUER, _BUILD_SIGNER, _RUNNER = 8, 9, 11
_REPOSITORY, _REVISION, _REF, _REPOSITORY_ID = 12, 13, 14, 15
_ENVIRONMENT: Final = 23
_TEXT_MAX_BYTES: Final = 4096


def claims_of(certificate: x509.Certificate) -> CertificateClaims:
    """The claims of a certificate that was verified before. Raises Refused (MALFORMED or UNSUPPORTED)."""
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Refused(Refusal.MALFORMED, f"certificate: extensions cannot be read: {str(error)[:200]}") from error
    identities = [n.value for n in names if isinstance(n, x509.UniformResourceIdentifier | x509.RFC822Name)]
    if len(identities) != 1 or len(list(names)) != 1:
        raise Refused(
            Refusal.UNSUPPORTED,
            f"certificate: expected one URI or email as subject alternative name, got {len(list(names))} names",
        )
    said = {
        extension.oid.dotted_string: extension.value.value
        for extension in extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    issuer = _text(said, _ISSUER)
    return CertificateClaims(
        issuer if issuer is not None else _raw_issuer(said),
        identities[0],
        _text(said, _REPOSITORY),
        _text(said, _REPOSITORY_ID),
        _text(said, _REF),
        _text(said, _REVISION),
        _text(said, _BUILD_SIGNER),
        _text(said, _RUNNER),
        _text(said, _ENVIRONMENT),
    )


def _raw_issuer(said: dict[str, bytes]) -> str | None:
    raw = said.get(f"{_ARC}.{_RAW_ISSUER}")
    return None if raw is None else _decoded(raw, _RAW_ISSUER)


def _text(said: dict[str, bytes], number: int) -> str | None:
    """A DER UTF8String that fills the extension. Source: X.690, 8.1.3 and 8.23."""
    raw = said.get(f"{_ARC}.{number}")
    if raw is None:
        return None
    if len(raw) >= 2 and raw[1] < 0x80:
        head, length = 2, raw[1]
    elif len(raw) >= 3 and raw[1] == 0x81 and raw[2] >= 0x80:
        head, length = 3, raw[2]
    elif len(raw) >= 4 and raw[1] == 0x82 and raw[2] > 0:
        head, length = 4, int.from_bytes(raw[2:4], "big")
    else:
        raise _malformed(number)
    if raw[0] != 0x0C or len(raw) != head + length:
        raise _malformed(number)
    return _decoded(raw[head:], number)


def _decoded(raw: bytes, number: int) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _malformed(number) from error
    if len(raw) > _TEXT_MAX_BYTES or not text.isprintable():
        raise _malformed(number)
    return text


def _malformed(number: int) -> Refused:
    return Refused(Refusal.MALFORMED, f"certificate: extension {_ARC}.{number} is not a text as Fulcio writes it")
