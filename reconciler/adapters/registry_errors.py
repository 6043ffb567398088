"""What a registry's refusal means, and a message about it that carries no secret.

Source: distribution-spec v1.1.1, Error Codes; RFC 9110 §10.2.3 (Retry-After). GHCR also writes the pause into the text
(`retry-after: 10.3ms, allowed: 2000/minute`) and answers its secondary rate limit with 403.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Final

import requests

from reconciler.adapters.http_errors import retry_after_header_s, shown_text, shown_url
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Unavailable, Unsupported

PAUSE_MAX_S: Final = 3600.0
_RATE_WORDS: Final = re.compile(r"rate.?limit|too.?many.?requests", re.IGNORECASE)
_QUOTA_WORDS: Final = re.compile(r"quota|storage limit|billing", re.IGNORECASE)
_PAUSE: Final = re.compile(r"retry-after:\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|µs|us|s|m|h)?\b", re.IGNORECASE)
_UNIT_S: Final = {"ms": 1e-3, "µs": 1e-6, "us": 1e-6, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


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
    return shown_text(f"{code}: {text}".strip(": "), response.request)


def is_rate_limit(response: requests.Response) -> bool:
    """429, or a 403 whose body says so."""
    if response.status_code == 429:
        return True
    return response.status_code == 403 and _RATE_WORDS.search(response.content.decode("utf-8", "replace")) is not None


def retry_after_s(response: requests.Response, now: datetime) -> float | None:
    """The pause asked for in seconds, by header (seconds or HTTP date) or in the text; None if there is none.

    It is at most PAUSE_MAX_S: an answer alone must not silence us for days.
    """
    asked = _asked_s(response, now)
    return asked if asked is None else min(asked, PAUSE_MAX_S)


def _asked_s(response: requests.Response, now: datetime) -> float | None:
    if (header := retry_after_header_s(response, now)) is not None:
        return header
    if found := _PAUSE.search(response.content.decode("utf-8", "replace")):
        return float(found[1]) * _UNIT_S[(found[2] or "").lower()]
    return None


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
