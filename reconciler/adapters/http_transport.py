"""One bounded HTTP call: pooled connections, timeouts, redirects, a body of at most so many bytes.

No retries, no authentication and no meaning here. Nothing is taken from the environment: no proxy, no netrc, no CA
bundle variable. `Session.request` would merge all of that and cookies into each call, so requests are prepared by hand
and given to the mounted adapter.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from reconciler.adapters.http_errors import shown_url, unanswered
from reconciler.adapters.http_pool import PooledAdapter
from reconciler.ports import Clock
from reconciler.tracing import span
from state.errors import Terminal, Unavailable, Unsupported

USER_AGENT: Final = "ameide-reconciler"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK_BYTES: Final = 64 * 1024
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


class HttpLimits(Protocol):
    """The bounds that a transport keeps."""

    @property
    def connections(self) -> int:
        """Pooled connections; more threads wait for a free one."""

    @property
    def connect_timeout_s(self) -> float: ...

    @property
    def read_timeout_s(self) -> float:
        """For each single read from the socket."""

    @property
    def redirects(self) -> int: ...

    @property
    def error_max_bytes(self) -> int:
        """An error's body is read up to here and no further."""


class FileBody(NamedTuple):
    """A body that is too large to be held: opened anew each time that it is sent."""

    path: Path
    size: int


class Call(NamedTuple):
    """A request as it is meant. `where` names what is asked for, in messages; `max_bytes` bounds a good answer."""

    method: str
    url: str
    where: str
    headers: Mapping[str, str]
    body: bytes | FileBody | None = None
    max_bytes: int = 8 * 1024
    stream: bool = False
    confirm: Callable[[], None] | None = None
    """Called right before each time this is sent; raises where it must not be sent any more."""


class NoAuth(AuthBase):
    """Adds nothing; that it is there keeps requests from reading ~/.netrc."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


class Origin(NamedTuple):
    """Scheme, host and port: what a credential belongs to. Source: RFC 6454."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises Terminal if this is not a plain http or https URL with a host and without user information."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Terminal(f"{shown_url(url)}: not a usable URL") from None
        scheme = parts.scheme.lower()
        if scheme not in _DEFAULT_PORT or not parts.hostname or parts.username is not None:
            raise Terminal(f"{shown_url(url)}: expected http or https, a host and no user information")
        return cls(scheme, parts.hostname, port or _DEFAULT_PORT[scheme])


def joined(base: str, target: str, where: str) -> str:
    """`target` as seen from `base`. Source: RFC 3986 §5. Raises Terminal if it is no URL."""
    try:
        return urljoin(base, target)
    except ValueError:
        raise Terminal(f"{where}: the server points to something that is no URL") from None


class Transport:
    """Sends calls over one session. `origin` alone ever receives an `Authorization` header from `send`."""

    def __init__(
        self, session: requests.Session, origin: Origin, limits: HttpLimits, clock: Clock, verify: bool | str
    ) -> None:
        session.trust_env = False
        session.auth = NoAuth()
        self._adapter = PooledAdapter(
            pool_connections=8, pool_maxsize=limits.connections, max_retries=0, pool_block=True
        )
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        self.origin = origin
        self._limits = limits
        self._clock = clock
        self._verify = verify

    def send(self, call: Call, authorization: str | None, until: float) -> requests.Response:
        """The answer, its body read, after at most `HttpLimits.redirects` redirects of a GET or HEAD.

        A redirected answer has a non-empty `history`. `until` is the monotonic time at which reading stops.

        Raises:
            Terminal: a redirect that must not be followed; a good answer of more than `max_bytes`.
            Unavailable: no whole answer in time.
        """
        url = call.url
        history: list[requests.Response] = []
        for _ in range(self._limits.redirects + 1):
            origin = Origin.of(url)
            response = self.once(call._replace(url=url), authorization if origin == self.origin else None, until)
            response.history = history[:]
            if response.status_code not in _REDIRECTS:
                return response
            if call.method not in {"GET", "HEAD"}:
                raise Terminal(f"{call.where}: {call.method} was redirected ({response.status_code}); not followed")
            location = response.headers.get("Location", "")
            if not location:
                raise Unavailable(f"{call.where}: a redirect without Location, which leads nowhere")
            target = joined(url, location, call.where)
            if origin.scheme == "https" and Origin.of(target).scheme != "https":
                raise Terminal(f"{call.where}: redirected from https to {shown_url(target)}; not followed")
            history.append(response)
            url = target
        raise Terminal(f"{call.where}: more than {self._limits.redirects} redirects, the last to {shown_url(url)}")

    def once(self, call: Call, authorization: str | None, until: float) -> requests.Response:
        """One request and its answer, redirects not followed. Raises as `send` does."""
        with span(
            call.method, client=True, http_request_method=call.method, server_address=urlsplit(call.url).hostname or ""
        ) as told:
            response = self._once(call, authorization, until)
            told.set("http.response.status_code", response.status_code)
            return response

    def _once(self, call: Call, authorization: str | None, until: float) -> requests.Response:
        left = until - self._clock.monotonic_s()
        if left <= 0:
            raise Unavailable(f"{call.where}: no time left for another request within the call's limit")
        request = _prepared(call, authorization)
        timeouts = (min(self._limits.connect_timeout_s, left), min(self._limits.read_timeout_s, left))
        try:
            with ExitStack() as stack:
                if isinstance(call.body, FileBody):
                    request.body = stack.enter_context(call.body.path.open("rb"))  # type: ignore[assignment]
                response = self._adapter.send(request, stream=True, timeout=timeouts, verify=self._verify)
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise unanswered(error, call.where) from error
        if call.stream and response.ok:
            return response
        try:
            content = self._body(call, response, until)
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            response.close()
            raise unanswered(error, call.where) from error
        except BaseException:
            response.close()  # the rest of the body is still in the socket: never reuse it
            raise
        # How requests itself marks a body as read: .content and .json() work for the inherited helpers.
        response._content = content
        response._content_consumed = True  # type: ignore[attr-defined]
        return response

    def close(self) -> None:
        """Close every pooled connection."""
        self._adapter.close()

    def _body(self, call: Call, response: requests.Response, until: float) -> bytes:
        raw = response.raw
        good = response.ok and response.status_code not in _REDIRECTS
        bound = call.max_bytes if good else self._limits.error_max_bytes
        if good and response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise Unsupported(
                f"{call.where}: a compressed answer although identity was asked for; mend the proxy in between"
            )
        announced = response.headers.get("Content-Length", "")
        if good and call.method != "HEAD" and announced.isdigit() and int(announced[:19]) > bound:
            raise Terminal(f"{call.where}: the answer has {announced[:19]} bytes, at most {bound} are read")
        parts: list[bytes] = []
        size = 0
        while chunk := raw.read1(min(_CHUNK_BYTES, bound + 1 - size), decode_content=False):
            parts.append(chunk)
            size += len(chunk)
            if size > bound:
                if good:
                    raise Terminal(f"{call.where}: the answer has more than {bound} bytes, no more are read")
                response.close()
                return b"".join(parts)[:bound]
            if self._clock.monotonic_s() > until:
                raise Unavailable(f"{call.where}: the answer did not end in time; {size} bytes had come")
        raw.release_conn()
        return b"".join(parts)


def _prepared(call: Call, authorization: str | None) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    request.method = call.method
    request.url = call.url
    request.headers = CaseInsensitiveDict(call.headers)
    request.headers["User-Agent"] = USER_AGENT
    request.headers["Accept-Encoding"] = "identity"
    request.headers.pop("Authorization", None)
    if authorization is not None:
        request.headers["Authorization"] = authorization
    if call.body is not None or call.method in {"PUT", "POST", "PATCH"}:
        size = call.body.size if isinstance(call.body, FileBody) else len(call.body or b"")
        request.headers["Content-Length"] = str(size)
    if not isinstance(call.body, FileBody):
        request.body = call.body
    return request
