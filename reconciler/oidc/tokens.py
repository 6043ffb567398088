"""Whether a bearer token is one of the configured carrier's. Source: OpenID Connect Core 1.0 §2, RFC 7519, RFC 8725.

Pure but for the keys, which are asked for. Times are compared with the given clock alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from reconciler.approval.codes import Code, RefusedMarker

TOKEN_MAX_CHARS: Final = 16 * 1024
SKEW_S: Final = 60
LIFE_MAX_S: Final = 24 * 3600
_ALGORITHMS: Final = ("RS256", "ES256")
_TIME_MAX: Final = 2**53
_UNCHECKED: Final = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
}
"""By the library, which has a clock of its own: all of it is checked here."""


class Keys(Protocol):
    """The issuer's public keys."""

    def key(self, key_id: str) -> Any | None:
        """The public key with this id; None if the issuer has none. Raises Transient, Denied or ConfigError."""


class Carrier(NamedTuple):
    """Whose tokens count: each claim with exactly this text."""

    issuer: str
    audience: str
    claims: Mapping[str, str]


class Accepted(NamedTuple):
    """A token that counts, unless it was used before."""

    id: str
    expires_at: int
    """When it is refused in any case."""


def check(token: str, carrier: Carrier, keys: Keys, now: int) -> Accepted:
    """Raises RefusedMarker with one of the `oidc-` codes, and what `keys` raises."""
    # 1. The form, before anything is looked up.
    header = _header(token)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in _ALGORITHMS:
        raise RefusedMarker(Code.OIDC_BAD_ALGORITHM, repr(algorithm)[:40])
    if not isinstance(key_id, str) or not key_id or len(key_id) > 256 or "crit" in header:
        raise RefusedMarker(Code.OIDC_BAD_TOKEN, "expected a kid and no crit in its header")
    # 2. The issuer's signature, with a key of the kind that the algorithm is for.
    claims = _claims(token, algorithm, _key(keys, key_id, algorithm))
    # 3. What it says.
    if claims.get("iss") != carrier.issuer:
        raise RefusedMarker(Code.OIDC_WRONG_ISSUER, repr(claims.get("iss"))[:100])
    if claims.get("aud") not in (carrier.audience, [carrier.audience]):
        raise RefusedMarker(Code.OIDC_WRONG_AUDIENCE, repr(claims.get("aud"))[:100])
    expires_at = _check_times(claims, now)
    for name, expected in sorted(carrier.claims.items()):
        got = claims.get(name)
        if not isinstance(got, str) or got != expected:
            raise RefusedMarker(Code.OIDC_WRONG_CLAIM, f"{name}: expected {expected!r}, got {repr(got)[:200]}")
    token_id = claims.get("jti")
    if not isinstance(token_id, str) or not 0 < len(token_id) <= 512:
        raise RefusedMarker(Code.OIDC_NO_JTI)
    return Accepted(token_id, expires_at + SKEW_S)


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > TOKEN_MAX_CHARS or not token.isascii():
        raise RefusedMarker(Code.OIDC_BAD_TOKEN, f"expected at most {TOKEN_MAX_CHARS} ASCII characters")
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise RefusedMarker(Code.OIDC_BAD_TOKEN, type(error).__name__) from error


def _key(keys: Keys, key_id: str, algorithm: str) -> Any:
    key = keys.key(key_id)
    match algorithm, key:
        case _, None:
            raise RefusedMarker(Code.OIDC_UNKNOWN_KEY, repr(key_id)[:100])
        case "RS256", rsa.RSAPublicKey() if key.key_size >= 2048:
            return key
        case "ES256", ec.EllipticCurvePublicKey() if key.curve.name == "secp256r1":
            return key
        case _:
            raise RefusedMarker(Code.OIDC_BAD_ALGORITHM, f"the key {key_id[:100]!r} is not for {algorithm}")


def _claims(token: str, algorithm: str, key: Any) -> Mapping[str, Any]:
    try:
        return jwt.decode(token, key, algorithms=[algorithm], options=_UNCHECKED)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError as error:
        raise RefusedMarker(Code.OIDC_BAD_SIGNATURE) from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise RefusedMarker(Code.OIDC_BAD_TOKEN, type(error).__name__) from error


def _check_times(claims: Mapping[str, Any], now: int) -> int:
    times = {}
    for name in ("exp", "nbf", "iat"):
        at = claims.get(name)
        if name == "nbf" and at is None:  # optional in OpenID Connect; GitLab and GitHub set it
            continue
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at <= _TIME_MAX:
            raise RefusedMarker(Code.OIDC_BAD_TOKEN, f"{name} is no time in whole seconds")
        times[name] = at
    if times["exp"] - times["iat"] > LIFE_MAX_S or times["exp"] > now + LIFE_MAX_S + SKEW_S:
        raise RefusedMarker(Code.OIDC_LIFETIME)
    if now >= times["exp"] + SKEW_S:
        raise RefusedMarker(Code.OIDC_EXPIRED, f"{now - times['exp']} s ago")
    if max(times["iat"], times.get("nbf", 0)) > now + SKEW_S:
        raise RefusedMarker(Code.OIDC_NOT_YET_VALID)
    return times["exp"]
