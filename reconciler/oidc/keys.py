"""The issuer's keys (JWKS), from a file or from the issuer. Source: RFC 7517; OpenID Connect Discovery 1.0 §4."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import requests

from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.ports import Clock
from reconciler.strict_yaml import read_regular
from state.errors import ConfigError, InvalidValue, Terminal, Unavailable

_MAX_BYTES: Final = 256 * 1024
_KEYS_MAX: Final = 100
_LIMITS: Final = ForgeLimits(connections=2, read_timeout_s=5, call_timeout_s=15)
_DISCOVERY: Final = "/.well-known/openid-configuration"
KEPT_S: Final = 3600.0
"""How long keys are believed: one that the issuer took back counts no longer than this."""
ASK_AGAIN_S: Final = 60.0
"""The issuer is asked at most once in this time, however many tokens name unknown keys."""


def parse_keys(raw: bytes, what: str) -> Mapping[str, Any]:
    """Key id → public key, of those that sign by RSA or ECDSA. Raises InvalidValue."""
    try:
        rows = json.loads(raw)["keys"]
        if not isinstance(rows, list) or len(rows) > _KEYS_MAX:
            raise InvalidValue(f"{what}: expected at most {_KEYS_MAX} keys")
        found: dict[str, Any] = {}
        for row in rows:
            key_id = row.get("kid")
            if row.get("kty") not in {"RSA", "EC"} or row.get("use", "sig") != "sig" or not isinstance(key_id, str):
                continue
            if "d" in row:
                raise InvalidValue(f"{what}: holds a private key; expected public ones alone")
            if key_id in found:
                raise InvalidValue(f"{what}: two keys have the id {key_id[:100]!r}")
            found[key_id] = jwt.PyJWK.from_dict(row, "RS256" if row["kty"] == "RSA" else "ES256").key
    except InvalidValue:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError) as error:
        raise InvalidValue(f"{what}: expected a JSON Web Key Set: {type(error).__name__}") from error
    return found


class FileKeys:
    """Implements `tokens.Keys` over a file, read again for each token."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def key(self, key_id: str) -> Any | None:
        try:
            return parse_keys(read_regular(self._path, max_bytes=_MAX_BYTES), str(self._path)).get(key_id)
        except InvalidValue as error:
            raise ConfigError(str(error)) from error


class IssuerKeys:
    """Implements `tokens.Keys` over the issuer's discovery document; may be asked from several threads."""

    def __init__(self, issuer: str, clock: Clock, ca_file: Path | None = None) -> None:
        """Asks nobody yet. Raises Terminal if `issuer` is no address."""
        self._issuer = issuer
        self._origin = Origin.of(issuer)
        self._clock = clock
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), self._origin, _LIMITS, clock, verify)
        self._lock = threading.Lock()
        self._known: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._asked_at: float | None = None

    def close(self) -> None:
        """Close pooled connections."""
        self._transport.close()

    def key(self, key_id: str) -> Any | None:
        """See Keys. Raises Unavailable while the issuer cannot be asked and nothing fresh is known."""
        with self._lock:
            now = self._clock.monotonic_s()
            fresh = self._fetched_at is not None and now - self._fetched_at < KEPT_S
            if not fresh or key_id not in self._known:
                if self._asked_at is None or now - self._asked_at >= ASK_AGAIN_S:
                    self._asked_at = now
                    self._known = self._fetch()
                    self._fetched_at = self._clock.monotonic_s()
                elif not fresh:
                    raise Unavailable(f"{self._issuer}: its keys could not be fetched; it is asked again in a minute")
            return self._known.get(key_id)

    def _fetch(self) -> Mapping[str, Any]:
        document = self._get(self._issuer.rstrip("/") + _DISCOVERY, "discovery document")
        try:
            value = json.loads(document)
            said, address = value["issuer"], value["jwks_uri"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Terminal(f"{self._issuer}: its discovery document cannot be read: {type(error).__name__}") from error
        if said != self._issuer or not isinstance(address, str):
            raise Terminal(f"{self._issuer}: its discovery document is of another issuer")
        if self._origin.scheme == "https" and Origin.of(address).scheme != "https":
            raise Terminal(f"{self._issuer}: its keys are not served by https")
        try:
            return parse_keys(self._get(address, "keys"), f"{self._issuer}: keys")
        except InvalidValue as error:
            raise Terminal(str(error)) from error

    def _get(self, url: str, what: str) -> bytes:
        where = f"{self._issuer}: {what}"
        call = Call("GET", url, where, {"Accept": "application/json"}, max_bytes=_MAX_BYTES)
        response = self._transport.send(call, None, self._clock.monotonic_s() + _LIMITS.call_timeout_s)
        if response.status_code != 200:
            raise Unavailable(f"{where}: answered {response.status_code}, expected 200")
        return bytes(response.content)
