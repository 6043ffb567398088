"""Whether a delivery comes from somebody who knows the secret. Pure; every comparison takes constant time.

Sources: docs.github.com "Validating webhook deliveries"; docs.gitea.com and forgejo.org "Webhooks"; docs.gitlab.com
"Webhooks"; standard-webhooks specification 1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

TOLERANCE_S: Final = 300
"""How far the signed time may be from ours. Source: standard-webhooks, "Verifying webhook authenticity"."""
_STANDARD_PREFIX: Final = "whsec_"
_SIGNATURES_MAX: Final = 10


class Sender(StrEnum):
    """Who delivers; Forgejo signs as Gitea does."""

    GITHUB = "github"
    GITEA = "gitea"
    GITLAB = "gitlab"


def is_signed(sender: Sender, secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether one of `secrets` signed exactly these bytes. Every secret is tried, whichever fits.

    Args:
        secrets: while one is being rotated there are two. None of them means that nobody is let in.
        headers: by lower-case name.
    """
    check = _CHECKS[sender]
    fits = [check(secret, headers, body, now) for secret in secrets]
    return any(fits)


def _github(secret: str, headers: Mapping[str, str], body: bytes, _: datetime) -> bool:
    """`X-Hub-Signature-256`; the header with SHA-1 beside it never counts."""
    return _same(f"sha256={_hex(secret, body)}", headers.get("x-hub-signature-256", ""))


def _gitea(secret: str, headers: Mapping[str, str], body: bytes, _: datetime) -> bool:
    sent = headers.get("x-forgejo-signature") or headers.get("x-gitea-signature", "")
    return _same(_hex(secret, body), sent)


def _gitlab(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """A signature where the secret is a signing one (`whsec_…`), the secret itself where it is a plain token.

    Each kind of secret has its one way, so that leaving out the signature gains nothing.
    """
    if not secret.startswith(_STANDARD_PREFIX):
        return _same(secret, headers.get("x-gitlab-token", ""))
    named, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (named and sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        return False
    if abs(now.timestamp() - int(sent_at)) > TOLERANCE_S:
        return False
    try:
        key = base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
    except binascii.Error:
        return False
    if not key:
        return False
    made = hmac.digest(key, f"{named}.{sent_at}.".encode() + body, "sha256")
    expected = f"v1,{base64.b64encode(made).decode()}"
    fits = [_same(expected, one) for one in headers.get("webhook-signature", "").split(" ")[:_SIGNATURES_MAX]]
    return any(fits)


_CHECKS: Final[Mapping[Sender, Callable[[str, Mapping[str, str], bytes, datetime], bool]]] = {
    Sender.GITHUB: _github,
    Sender.GITEA: _gitea,
    Sender.GITLAB: _gitlab,
}


def _hex(secret: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), body, "sha256").hex()


def _same(expected: str, sent: str) -> bool:
    return hmac.compare_digest(expected.encode(), sent.encode(errors="surrogateescape"))
