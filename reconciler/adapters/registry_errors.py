"""What a registry's refusal means, and a message about it that carries no secret.

Source: distribution-spec v1.1.1, Error Codes; RFC 9110 §10.2.3 (Retry-After). GHCR also writes the pause into the text
(`retry-after: 10.3ms, allowed: 2000/minute`) and answers its secondary rate limit with 403.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from state.errors import ConfigError, Denied, RateLimited, ReconcilerError, Terminal, Unavailable, Unsupported

PAUSE_MAX_S: Final = 3600.0
_TEXT_MAX: Final = 200
_RATE_WORDS: Final = re.compile(r"rate.?limit|too.?many.?requests", re.IGNORECASE)
_QUOTA_WORDS: Final = re.compile(r"quota|storage limit|billing", re.IGNORECASE)
_PAUSE: Final = re.compile(r"retry-after:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|µs|us|s|m|h)?\b", re.IGNORECASE)
_UNIT_S: Final = {"ms": 1e-3, "µs": 1e-6, "us": 1e-6, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
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
    return _printable(f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}")


def said(response: requests.Response) -> str:
    """The registry's own code and text from a bounded error body: printable, short, secrets cut out; may be empty."""
    try:
        body = json.loads(response.content)
        first = body["errors"][0]
        code, text = str(first.get("code") or ""), str(first.get("message") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        code = text = ""
        if "json" not in response.headers.get("Content-Type", "") and response.content[:1] not in {b"<", b"{"}:
            text = response.content.decode("utf-8", "replace")
    for secret in _secrets(response.request):
        code, text = code.replace(secret, "[cut]"), text.replace(secret, "[cut]")
    text = _CREDENTIAL.sub("[cut]", _URL.sub(r"\1\2", text))
    return _printable(" ".join(f"{code}: {text}".strip(": ").split()))[:_TEXT_MAX]


def is_rate_limit(response: requests.Response) -> bool:
    """429, or a 403 whose body says so."""
    if response.status_code == 429:
        return True
    return response.status_code == 403 and _RATE_WORDS.search(response.content.decode("utf-8", "replace")) is not None


def retry_after_s(response: requests.Response, now: datetime) -> float | None:
    """The pause asked for in seconds, by header (seconds or HTTP date) or in the text; None if there is none.

    A date is compared with the server's own clock where it tells it, since ours may be wrong. A pause is at most
    PAUSE_MAX_S: an answer alone must not silence us for days.
    """
    asked = _asked_s(response, now)
    return asked if asked is None else min(asked, PAUSE_MAX_S)


def _asked_s(response: requests.Response, now: datetime) -> float | None:
    header = response.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    if header:
        when = _date(header)
        if when is not None:
            return max(0.0, (when - (_date(response.headers.get("Date", "")) or now)).total_seconds())
    if found := _PAUSE.search(response.content.decode("utf-8", "replace")):
        return float(found[1]) * _UNIT_S[(found[2] or "").lower()]
    return None


def _date(text: str) -> datetime | None:
    """An HTTP date; None if it is none."""
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def refusal(response: requests.Response, where: str, *, now: datetime, cooldown_s: float) -> ReconcilerError:
    """The error family of an answer that is not the one hoped for. `where` names what was asked for.

    A 403 that is a rate limit and names no pause gets `cooldown_s`: GHCR's secondary limit lasts minutes.
    """
    status = response.status_code
    told = said(response)
    text = f"{where}: {response.request.method} answered {status}" + (f" ({told})" if told else "")
    if response.history:
        text += f" after a redirect to {shown_url(response.url)}"
    pause = retry_after_s(response, now)
    if is_rate_limit(response):
        if pause is None and status == 403:
            pause = cooldown_s
        return RateLimited(f"{text}; the registry limits our rate", retry_after_s=pause)
    if status in {401, 403}:
        return Denied(f"{text}; {_remedy(response)}")
    if status in {405, 501, 505}:
        return Unsupported(f"{text}; this registry does not support the call")
    if status == 408 or status >= 500:
        return Unavailable(text, retry_after_s=pause)
    if status < 400:
        return Unavailable(f"{text}, which is not a registry's answer here; check the host and any proxy before it")
    return Terminal(f"{text}; the same request would be refused again")


def _remedy(response: requests.Response) -> str:
    """A 401 or 403 has several meanings; GHCR and others answer 403 also where a repository does not exist."""
    if response.status_code == 403 and _QUOTA_WORDS.search(response.content.decode("utf-8", "replace")):
        return "free some of the owner's quota, or raise it"
    hidden = "that it exists and " if response.status_code == 403 else ""
    return f"check {hidden}that the configured credential may do this, or configure one"


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
    return Unavailable(f"{where}: no usable answer ({_printable(told) or type(chain[-1]).__name__})")


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


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[: 4 * _TEXT_MAX]
