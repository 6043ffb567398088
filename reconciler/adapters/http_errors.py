"""What goes wrong in an HTTP exchange, in words that carry no secret. Source: RFC 9110."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from state.errors import ConfigError, RateLimited, ReconcilerError, Terminal, Transient, Unavailable

TEXT_MAX_CHARS: Final = 200
_BAD_URL: Final = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationValueError,
)
_URL: Final = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?#\"']*)[^\s\"']*", re.IGNORECASE)
_CREDENTIAL: Final = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]+|\beyJ[A-Za-z0-9._-]{16,}", re.IGNORECASE)


def shown_url(url: str) -> str:
    """Scheme, host and path: no user information, query or fragment, where passwords and signatures live."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "an address that does not parse"
    return printable(f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}")


def shown_text(text: str, request: requests.PreparedRequest) -> str:
    """What a server said: one printable, short line without URL queries and without what `request` proved us with."""
    for secret in _secrets(request):
        text = text.replace(secret, "[cut]")
    return printable(" ".join(_CREDENTIAL.sub("[cut]", _URL.sub(r"\1\2", text)).split()))[:TEXT_MAX_CHARS]


def retry_after_header_s(response: requests.Response, now: datetime) -> float | None:
    """`Retry-After` in seconds; None without one. Source: RFC 9110 §10.2.3.

    A date is compared with the server's own clock where it tells it, since ours may be wrong.
    """
    header = response.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    when = _date(header) if header else None
    return None if when is None else max(0.0, (when - (_date(response.headers.get("Date", "")) or now)).total_seconds())


def _date(text: str) -> datetime | None:
    """An HTTP date; None if it is none."""
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year, or an offset, of too many digits
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def unanswered(error: Exception, where: str) -> ReconcilerError:
    """The error family of an exception of requests, urllib3, http.client or the socket.

    Their texts hold URLs with queries, so only the innermost operating-system reason or the class name is told.
    """
    if isinstance(error, ReconcilerError):
        return error
    chain = _chain(error)
    if any("CERTIFICATE_VERIFY_FAILED" in str(getattr(e, "reason", "")) for e in chain) or any(
        type(e).__name__ in {"SSLCertVerificationError", "CertificateError"} for e in chain
    ):
        return ConfigError(f"{where}: the server's certificate was not accepted; name its CA with `ca_file`")
    if isinstance(error, _BAD_URL):
        return Terminal(f"{where}: the address is not a usable URL ({type(error).__name__})")
    told = next((e.strerror for e in reversed(chain) if isinstance(e, OSError) and isinstance(e.strerror, str)), "")
    return Unavailable(f"{where}: no usable answer ({printable(told) or type(chain[-1]).__name__})")


def never_sent(error: Exception) -> bool:
    """Whether the request certainly did not reach the server: the connection was never made."""
    return any(
        isinstance(e, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
        for e in _chain(error)
    )


def _chain(error: BaseException) -> list[BaseException]:
    """`error` and what it wraps, outermost first: by cause, context, `reason` or first argument."""
    chain: list[BaseException] = []
    todo: list[BaseException] = [error]
    while todo and len(chain) < 16:
        at = todo.pop(0)
        if at in chain:
            continue
        chain.append(at)
        inner = (at.__cause__, at.__context__, getattr(at, "reason", None), *at.args[:2])
        todo.extend(e for e in inner if isinstance(e, BaseException))
    return chain


def _secrets(request: requests.PreparedRequest) -> list[str]:
    """What this request sent to prove who we are, in every spelling a server might echo."""
    scheme, _, value = str(request.headers.get("Authorization", "")).partition(" ")
    if not value:
        return []
    found = [value]
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(value).decode().partition(":")[2])
    return [s for s in found if s]


def printable(text: str) -> str:
    """Without controls, bounded."""
    return "".join(c if c.isprintable() else "?" for c in text)[: 4 * TEXT_MAX_CHARS]


def retry_reason(error: Transient) -> str:
    """Why a call is sent again, as the label of a metric."""
    return "rate-limited" if isinstance(error, RateLimited) else "unavailable"
