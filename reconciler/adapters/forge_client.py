"""One forge over HTTP: conditional reads, paced writes, the request budget it grants, errors by who has to act.

What is kept of an answer is its ETag and its body, for one purpose: the same question is asked again with
`If-None-Match`, and a 304 (free of GitHub's primary limit) stands for the body. Nothing is ever answered without
asking: a cache that honours `max-age` would hide pushes for a minute.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlencode

import requests

from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_errors import printable, retry_after_header_s, retry_reason, shown_text
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.ports import Clock, Metrics, Random
from state.canonical import Json
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Transient, Unavailable

_READS: Final = frozenset({"GET", "HEAD"})
_LIMIT_WORDS: Final = re.compile(r"rate.?limit|abuse detection|too.?many.?requests", re.IGNORECASE)
_GONE: Final = frozenset({404, 410})


class Token(Protocol):
    """Where the token comes from; git and the API use the same one."""

    def token(self, *, fresh: bool = False) -> str:
        """The token to use now; `fresh` after it was refused, so that one is made anew or the file read again.

        Raises ConfigError, Denied or Unavailable.
        """


class Budget(NamedTuple):
    """What the forge says it still grants: requests (or points) until `reset_at`."""

    limit: int
    remaining: int
    reset_at: datetime
    period_s: int = 3600
    """How long `limit` lasts."""


class Answer(NamedTuple):
    """A usable answer. `body` is None for a 204, and for a 404 or 410, which is the caller's to judge."""

    status: int
    body: Json
    headers: Mapping[str, str]
    unchanged: bool = False
    """The forge said 304: the body is the stored one."""

    @property
    def found(self) -> bool:
        return self.status not in _GONE


class _Stored(NamedTuple):
    etag: str
    answer: Answer


def _whole(body: Json) -> Json:
    return body


class ForgeClient:
    """Sends the requests of one adapter to one API root, reads side by side, writes one after another.

    Args:
        root: such as https://api.github.com; every path is below it, and only its origin gets the credential.
        name: the repository's name in the configuration, for metrics and messages.
        headers: what each request carries, such as Accept and the API's version.
        ca_file: PEM file with the only authorities that count; None for the built-in list.
    """

    def __init__(
        self,
        root: str,
        token: Token,
        *,
        name: str,
        headers: Mapping[str, str],
        clock: Clock,
        random: Random,
        metrics: Metrics,
        limits: ForgeLimits | None = None,
        ca_file: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._root = root.rstrip("/")
        self._token = token
        self._name = name
        self._headers = dict(headers)
        self._clock, self._random, self._metrics, self._sleep = clock, random, metrics, sleep
        self._limits = limits or ForgeLimits()
        verify: bool | str = True if ca_file is None else ca_file
        self._transport = Transport(requests.Session(), Origin.of(self._root), self._limits, clock, verify)
        self._stored: OrderedDict[str, _Stored] = OrderedDict()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wrote_at = float("-inf")
        self._blocked_until = float("-inf")
        self.budget: Budget | None = None
        """What the newest answer that said so granted."""

    def close(self) -> None:
        """Close every pooled connection."""
        self._transport.close()

    def get(
        self,
        path: str,
        query: Mapping[str, str | int] | None = None,
        *,
        conditional: bool = False,
        reduce: Callable[[Json], Json] = _whole,
        expected: frozenset[int] = frozenset(),
    ) -> Answer:
        """The answer to a GET; `found` is False on a 404 or 410.

        Args:
            expected: refusals that are an answer to this caller, as in `send`.
            conditional: ask with the ETag of the last answer to the same question. Without it nothing stored counts.
            reduce: makes of the body what is returned and kept; a page of GitHub's is 1.4 MB, most of it unused.

        Raises Denied, RateLimited, Unavailable, Terminal.
        """
        url = self._url(path, query)
        stored = self._stored.get(url) if conditional else None
        call = self._call("GET", url, path, {"If-None-Match": stored.etag} if stored is not None else {})
        response = self._run(call, expected)
        if response.status_code == 304:
            if stored is None:
                raise Unavailable(f"{call.where}: 304 to a question without a condition")
            # RFC 9111 §4.3.4: a 304's headers take the place of the stored ones; GitLab's total is in them, and its
            # ETags are of the body alone.
            headers = {**stored.answer.headers, **_lowered(response)}
            return stored.answer._replace(headers=headers, unchanged=True)
        answer = _answer(response, call.where, expected)
        answer = answer._replace(body=reduce(answer.body))
        etag = response.headers.get("ETag", "")
        with self._lock:
            self._stored.pop(url, None)
            if conditional and etag and answer.found:
                self._stored[url] = _Stored(etag, answer)
                while len(self._stored) > self._limits.stored_max:
                    self._stored.popitem(last=False)
        return answer

    def send(
        self, method: str, path: str, body: Mapping[str, Json], *, expected: frozenset[int] = frozenset()
    ) -> Answer:
        """Write, once: after an answer that was lost the caller has to look before it writes again.

        Args:
            expected: refusals (such as 409 and 422) that are an answer to this caller; their body is returned. A 403
                that is a rate limit stays an error.

        Raises as `get`; Unavailable says so where the write may have happened.
        """
        raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        call = self._call(method, self._url(path, None), path, {"Content-Type": "application/json"}, raw)
        with self._writing:
            wait_s = self._wrote_at + self._limits.write_spacing_s - self._clock.monotonic_s()
            if wait_s > 0:
                self._sleep(wait_s)
            try:
                response = self._run(call, expected)
            finally:
                self._wrote_at = self._clock.monotonic_s()
        return _answer(response, call.where, expected)

    def _url(self, path: str, query: Mapping[str, str | int] | None) -> str:
        return f"{self._root}{path}" + (f"?{urlencode(query)}" if query else "")

    def _call(self, method: str, url: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Call:
        where = f"{self._name}: {method} {printable(path)}"
        return Call(method, url, where, {**self._headers, **headers}, body, max_bytes=self._limits.answer_max_bytes)

    def _run(self, call: Call, expected: frozenset[int] = frozenset()) -> requests.Response:
        until = self._clock.monotonic_s() + self._limits.call_timeout_s
        tries = self._limits.attempts if call.method in _READS else 1
        for number in range(1, tries + 1):
            try:
                response = self._once(call, until)
                if (response.ok and response.status_code < 300) or response.status_code in {304, *_GONE}:
                    return response
                if response.status_code in expected and not self._limited(response):
                    return response
                raise self._refused(response, call.where)
            except Transient as error:
                cap_s = min(self._limits.backoff_cap_s, self._limits.backoff_base_s * 2.0 ** (number - 1))
                delay_s = (error.retry_after_s or 0.0) + self._random.uniform(0, cap_s)
                late = self._clock.monotonic_s() + delay_s > until
                if number == tries or late or delay_s > self._limits.retry_after_cap_s:
                    if call.body is not None and isinstance(error, Unavailable):
                        text = f"{error}; the write may have happened"
                        raise Unavailable(text, retry_after_s=error.retry_after_s) from error
                    raise
                self._metrics.count("forge_retries", repository=self._name, reason=retry_reason(error))
            self._sleep(delay_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _once(self, call: Call, until: float) -> requests.Response:
        """One request, and once more with a fresh credential after a 401."""
        response = self._authorized(call, until, fresh=False)
        return response if response.status_code != 401 else self._authorized(call, until, fresh=True)

    def _authorized(self, call: Call, until: float, *, fresh: bool) -> requests.Response:
        with self._lock:
            left_s = self._blocked_until - self._clock.monotonic_s()
        if left_s > 0:
            raise RateLimited(f"{call.where}: not sent, since the forge limits our rate", retry_after_s=left_s)
        # All forges take this form, and the transport sends it to the API's own origin alone. Source: RFC 6750.
        response = self._transport.send(call, f"Bearer {self._token.token(fresh=fresh)}", until)
        self._metrics.count(
            "forge_requests", repository=self._name, method=call.method, status=str(response.status_code)
        )
        self._note_budget(response)
        return response

    def _refused(self, response: requests.Response, where: str) -> ReconcilerError:
        """The error family of a refusal. Source: docs.github.com, "Rate limits for the REST API"; RFC 9110."""
        status, told = response.status_code, _said(response)
        text = f"{where}: answered {status}" + (f" ({told})" if told else "")
        pause_s = retry_after_header_s(response, self._clock.now())
        if self._limited(response):
            if pause_s is None and self.budget is not None and self.budget.remaining == 0:
                pause_s = (self.budget.reset_at - self._clock.now()).total_seconds()
            pause_s = min(self._limits.pause_max_s, max(1.0, self._limits.cooldown_s if pause_s is None else pause_s))
            with self._lock:
                self._blocked_until = max(self._blocked_until, self._clock.monotonic_s() + pause_s)
            return RateLimited(f"{text}; the forge limits our rate", retry_after_s=pause_s)
        if status in {401, 403}:
            return Denied(
                f"{text}; check that the configured credential may do this (`ameide doctor` names what is missing)"
            )
        if status in {408, 425} or status >= 500:
            return Unavailable(text, retry_after_s=pause_s)
        if status < 400:
            return Unavailable(f"{text}, which is no answer of a forge's API; check its address")
        return Terminal(f"{text}; the same request would be refused again")

    def _limited(self, response: requests.Response) -> bool:
        """Whether a refusal is a limit of our rate, and none of what we may do."""
        spent = self.budget is not None and self.budget.remaining == 0
        paused = retry_after_header_s(response, self._clock.now()) is not None
        told = paused or spent or _LIMIT_WORDS.search(_said(response)) is not None
        return response.status_code == 429 or (response.status_code == 403 and told)

    def _note_budget(self, response: requests.Response) -> None:
        """`x-ratelimit-*` an hour (GitHub, Gitea behind a proxy) or `RateLimit-*` a minute (GitLab)."""
        for prefix, period_s in (("x-ratelimit-", 3600), ("ratelimit-", 60)):
            values = [response.headers.get(prefix + part, "") for part in ("limit", "remaining", "reset")]
            if all(v.isascii() and v.isdigit() and len(v) <= 12 for v in values):
                limit, remaining, reset = (int(v) for v in values)
                self.budget = Budget(limit, remaining, datetime.fromtimestamp(min(reset, 4102444800), UTC), period_s)
                self._metrics.gauge("forge_quota_limit", limit, repository=self._name)
                self._metrics.gauge("forge_quota_remaining", remaining, repository=self._name)
                reset_at = self.budget.reset_at.timestamp()
                self._metrics.gauge("forge_quota_reset_timestamp_seconds", reset_at, repository=self._name)
                return


def _answer(response: requests.Response, where: str, expected: frozenset[int] = frozenset()) -> Answer:
    headers = _lowered(response)
    if response.status_code in _GONE - expected or response.status_code == 204 or not response.content:
        return Answer(response.status_code, None, headers)
    try:
        return Answer(response.status_code, json.loads(response.content), headers)
    except (ValueError, RecursionError):
        raise Unavailable(
            f"{where}: answered {response.status_code} with something that is no JSON; check the API's address and "
            "any proxy before it"
        ) from None


def _lowered(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _said(response: requests.Response) -> str:
    """The forge's own message from a bounded error body."""
    try:
        body = json.loads(response.content)
        told = body.get("message") or body.get("error_description") or body.get("error") or ""
    except (ValueError, AttributeError, RecursionError):
        return ""
    return shown_text(told if isinstance(told, str) else json.dumps(told)[:1000], response.request)
