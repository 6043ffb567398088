"""Posts notices to one receiver, each once; whether to try again is the caller's.

Sources: CloudEvents 1.0.2, "HTTP Protocol Binding" and "HTTP 1.1 Web Hooks"; Standard Webhooks 1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import requests

from reconciler.adapters.forge_access import SecretFile
from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_errors import printable, retry_after_header_s
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.notifying.notices import CONTENT_TYPE
from reconciler.notifying.sender import Delivery
from reconciler.ports import Clock
from state.errors import ConfigError, Denied, RateLimited, Unavailable

_LIMITS: Final = ForgeLimits(connections=1, read_timeout_s=10, call_timeout_s=20, redirects=0)
_OF_ITS_CONTENT: Final = frozenset({400, 413, 422})
"""A receiver that answers so would answer so again to the same notice, and not to the next one."""
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with
_RETRY_AFTER_MAX_S: Final = 3600.0
Headers = Callable[[str, bytes], Mapping[str, str]]
"""(id, body) → the headers that prove who sends. Raises ConfigError."""


def signed_by(path: Path, clock: Clock) -> Headers:
    """Proof by `webhook-signature`, one for each secret of the file."""
    file = SecretFile(path, "notification signing secret file")

    def headers(notice_id: str, body: bytes) -> Mapping[str, str]:
        at = str(int(clock.now().timestamp()))
        payload = f"{notice_id}.{at}.".encode() + body
        made = [hmac.digest(_key(secret), payload, "sha256") for secret in file.lines()]
        signatures = " ".join(f"v1,{base64.b64encode(one).decode()}" for one in made)
        return {"webhook-id": notice_id, "webhook-timestamp": at, "webhook-signature": signatures}

    return headers


def bearer(path: Path) -> Headers:
    """Proof by a bearer token, the file's first line."""
    file = SecretFile(path, "notification token file")

    def headers(notice_id: str, _: bytes) -> Mapping[str, str]:
        token = file.lines()[0]
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError(f"notification token file {path}: expected one token of printable ASCII on a line")
        return {"webhook-id": notice_id, "Authorization": f"Bearer {token}"}

    return headers


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_SECRET_PREFIX) or not 16 <= len(key) <= 256:
        raise ConfigError(
            "notification signing secret file: expected whsec_ and base64 of 16 to 256 bytes on each line; make one "
            'with: printf "whsec_%s\\n" "$(openssl rand -base64 32)"'
        )
    return key


class HttpReceiver:
    """Implements `notifying.sender.Receiver`. No cookie, proxy or redirect; the answer's body is not looked at."""

    def __init__(self, url: str, headers: Headers, clock: Clock, ca_file: Path | None = None) -> None:
        self._url = url
        self._headers = headers
        self._clock = clock
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), Origin.of(url), _LIMITS, clock, verify)

    def deliver(self, notice_id: str, body: bytes) -> Delivery:
        where = f"POST {printable(self._url)}"
        proof = dict(self._headers(notice_id, body))
        authorization = proof.pop("Authorization", None)
        call = Call("POST", self._url, where, {"Content-Type": CONTENT_TYPE, **proof}, body, max_bytes=64 * 1024)
        response = self._transport.once(call, authorization, self._clock.monotonic_s() + _LIMITS.call_timeout_s)
        status = response.status_code
        if 200 <= status < 300:
            return Delivery.TAKEN
        if status in _OF_ITS_CONTENT:
            return Delivery.REFUSED
        if 300 <= status < 400:
            raise Unavailable(f"{where}: answered {status}; redirects are not followed, name the final address")
        asked_s = retry_after_header_s(response, self._clock.now())
        pause_s = None if asked_s is None else min(asked_s, _RETRY_AFTER_MAX_S)
        if status == 429:
            raise RateLimited(f"{where}: answered 429", retry_after_s=pause_s)
        if status in {401, 403}:
            raise Denied(f"{where}: answered {status}; check the secret or token that the receiver expects")
        raise Unavailable(f"{where}: answered {status}, expected 2xx", retry_after_s=pause_s)

    def close(self) -> None:
        """Close the pooled connection."""
        self._transport.close()
