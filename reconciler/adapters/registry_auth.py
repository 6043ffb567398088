"""Who we are to one registry: challenges, tokens by (repository, actions), and where a login may be sent.

Source: distribution's token authentication specification (docs/spec/auth/token.md, oauth.md, jwt.md); RFC 9110 §11.6.1.

Where a login may go:
1. A login is used only with a registry on https or on this machine's loopback. Over plain http anybody on the way could
   answer with a challenge of his own and collect it, so that combination is refused when the client is made.
2. An https registry names its token server (`realm`) freely, as the specification means it to, but only on https.
3. A registry on loopback may also name a realm on plain-http loopback.
4. An anonymous plain-http registry may name a plain-http realm on its own host. Nothing secret is sent.
A token request is never redirected, and a token goes only to the registry's own scheme, host and port.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests

from reconciler.adapters.http_errors import shown_url
from reconciler.adapters.http_transport import Call, Origin
from reconciler.adapters.registry_credential import Credential, Login
from reconciler.adapters.registry_token import Grant, grants_of
from reconciler.ports import Clock
from state.errors import ConfigError, Denied, ReconcilerError, Terminal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLIENT_ID: Final = "ameide-reconciler"
_EXPIRES_IN_S: Final = 60
"""What a token is good for where its server does not say (token.md)."""
_EXPIRES_MAX_S: Final = 3600
_REFRESH_AHEAD_S: Final = 10.0
_DENIED_FOR_S: Final = 5.0
"""A token server that refused is not asked again by the threads that waited for the same answer."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_SCHEME: Final = re.compile(r"[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)")
_PARAM: Final = re.compile(
    r"[\s,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([!#$%&'*+.^_`|~0-9A-Za-z:/-]+))"
)


class Scope(NamedTuple):
    """What a token is for; an empty repository is the registry itself (`/v2/`)."""

    repository: str
    actions: str

    def __str__(self) -> str:
        return f"repository:{self.repository}:{self.actions}" if self.repository else ""


class Challenge(NamedTuple):
    """One challenge of a `WWW-Authenticate` header; scheme and parameter names in lower case."""

    scheme: str
    params: dict[str, str]


def challenges(header: str) -> tuple[Challenge, ...]:
    """Every challenge of a header, also of several headers joined by commas; what does not parse ends the list."""
    header, found, at = header[:8192], [], 0
    while name := _SCHEME.match(header, at):
        params: dict[str, str] = {}
        at = name.end()
        while param := _PARAM.match(header, at):
            quoted, plain = param[2], param[3]
            params[param[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            at = param.end()
        found.append(Challenge(name[1].lower(), params))
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Whether a host name can only mean this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    login: Login | None = field(repr=False)
    refresh_at: float


class _Refused(NamedTuple):
    text: str
    login: Login | None
    until: float


class Authorizer:
    """The `Authorization` header for each scope. Thread-safe; one token request per scope, however many threads ask."""

    def __init__(
        self,
        registry: Origin,
        credential: Credential | None,
        clock: Clock,
        *,
        fetch: Callable[[Call, str | None, float], requests.Response],
        check: Callable[[requests.Response, str], None],
        token_max_bytes: int,
    ) -> None:
        if credential is not None and registry.scheme != "https" and not is_loopback(registry.host):
            raise ConfigError(
                f"registry {registry.host}: a login would cross the network unprotected; use https "
                "(`ca_file` for a private CA), or configure no credential"
            )
        self._registry = registry
        self._credential = credential
        self._clock = clock
        self._fetch = fetch
        self._check = check
        self._token_max_bytes = token_max_bytes
        self._challenge: Challenge | None = None
        self._tokens: dict[Scope, _Token] = {}
        self._refused: dict[Scope, _Refused] = {}
        self._locks: dict[Scope, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    @property
    def scheme(self) -> str:
        """The scheme of the last challenge; empty if the registry never asked."""
        return self._challenge.scheme if self._challenge else ""

    def header(self, scope: Scope, until: float) -> str | None:
        """What to send first: None before the first challenge, else a header that is good for a while yet."""
        if self._challenge is None:
            return None
        return self._answer(self._challenge, scope, None, until)

    def grants(self, scope: Scope) -> tuple[Grant, ...] | None:
        """What the token that is held for a scope says of itself; None without a token, or where it says nothing."""
        held = self._tokens.get(scope)
        return None if held is None else grants_of(held.header.removeprefix("Bearer "))

    def renewed(self, scope: Scope, header: str, rejected: str | None, until: float) -> str | None:
        """A header that answers the challenges in `header` anew; None if there is none but the one rejected.

        Raises Denied if the token server refuses us or a login is missing, Terminal if its address is not acceptable.
        """
        offered = challenges(header)
        for scheme in ("bearer", "basic"):
            for challenge in offered:
                if challenge.scheme == scheme:
                    self._challenge = challenge
                    fresh = self._answer(challenge, scope, rejected, until)
                    return fresh if fresh != rejected else None
        return None

    def _answer(self, challenge: Challenge, scope: Scope, rejected: str | None, until: float) -> str | None:
        login = self._credential.login() if self._credential else None
        if challenge.scheme == "bearer":
            return self._token(challenge, scope, login, rejected, until).header
        if login is None:
            raise Denied(
                f"{self._registry.host}: asks for a user name and password, and no credential is configured; "
                "name a credential file for this registry"
            )
        if login.identity_token:
            raise Denied(f"{self._registry.host}: asks for a password; the credential file has an identity token only")
        return login.basic()

    def _token(
        self, challenge: Challenge, scope: Scope, login: Login | None, rejected: str | None, until: float
    ) -> _Token:
        held = self._tokens.get(scope)
        if held and self._usable(held, login, rejected):
            return held
        with self._turn(scope, until):
            held = self._tokens.get(scope)
            if held and self._usable(held, login, rejected):
                return held
            refused = self._refused.get(scope)
            if refused and refused.login is login and self._clock.monotonic_s() < refused.until:
                raise Denied(refused.text)
            try:
                made = self._request(challenge, scope, login, until)
            except Denied as error:
                self._refused[scope] = _Refused(str(error), login, self._clock.monotonic_s() + _DENIED_FOR_S)
                raise
            self._tokens[scope] = made
            return made

    def _usable(self, held: _Token, login: Login | None, rejected: str | None) -> bool:
        return held.header != rejected and held.login is login and self._clock.monotonic_s() < held.refresh_at

    @contextmanager
    def _turn(self, scope: Scope, until: float) -> Iterator[None]:
        with self._locks_lock:
            lock = self._locks.setdefault(scope, threading.Lock())
        if not lock.acquire(timeout=max(0.0, until - self._clock.monotonic_s())):
            raise Unavailable(f"{self._registry.host}: another thread still waits for a token for {scope}")
        try:
            yield
        finally:
            lock.release()

    def _request(self, challenge: Challenge, scope: Scope, login: Login | None, until: float) -> _Token:
        """One token request for our own scope, whatever scope the challenge names."""
        realm = challenge.params.get("realm", "")
        where = f"token for {str(scope) or self._registry.host} from {shown_url(realm)}"
        self._check_realm(realm, where)
        query = {"service": challenge.params.get("service", ""), "scope": str(scope)}
        query = {k: v for k, v in query.items() if v}
        headers = {"Accept": "application/json"}
        asked_at = self._clock.monotonic_s()
        if login and login.identity_token:
            form = {"grant_type": "refresh_token", "client_id": _CLIENT_ID, "refresh_token": login.identity_token}
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({**form, **query}).encode()
            call = Call("POST", realm, where, headers, body, max_bytes=self._token_max_bytes)
            response = self._fetch(call, None, until)
        else:
            parts = urlsplit(realm)
            url = urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *query.items()]), fragment=""))
            call = Call("GET", url, where, headers, max_bytes=self._token_max_bytes)
            response = self._fetch(call, login.basic() if login else None, until)
        if 300 <= response.status_code < 400:
            raise Terminal(f"{where}: redirected ({response.status_code}); a token request is never redirected")
        self._check(response, where)
        value, lifetime_s = _granted(response, where)
        ahead_s = min(_REFRESH_AHEAD_S, lifetime_s / 5)
        return _Token(f"Bearer {value}", login, asked_at + lifetime_s - ahead_s)

    def _check_realm(self, realm: str, where: str) -> None:
        """The rules at the head of this module. Raises Terminal."""
        try:
            origin = Origin.of(realm)
        except ReconcilerError as error:
            raise Terminal(f"{where}: the registry's challenge names no usable realm") from error
        if origin.scheme == "https":
            return
        if self._registry.scheme == "https":
            raise Terminal(f"{where}: the registry is on https and its token server is not; nothing was sent")
        if self._credential is not None and not is_loopback(origin.host):
            raise Terminal(f"{where}: the token server is not on https; the login was not sent")
        if origin.host != self._registry.host and not (is_loopback(origin.host) and is_loopback(self._registry.host)):
            raise Terminal(f"{where}: a plain-http token server on another host than the registry's; nothing was sent")


def _granted(response: requests.Response, where: str) -> tuple[str, int]:
    """The token and its lifetime in seconds; `token` and `access_token` are the same thing (token.md)."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        raise Unavailable(f"{where}: answered 200 with something that is no token") from None
    fields = body if isinstance(body, dict) else {}
    value = fields.get("token") or fields.get("access_token")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise Unavailable(f"{where}: answered 200 without a usable token")
    lifetime = fields.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int) or lifetime <= 0:
        lifetime = _EXPIRES_IN_S
    return value, min(lifetime, _EXPIRES_MAX_S)
