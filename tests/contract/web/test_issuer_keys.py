"""The issuer's keys, asked for over real sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.oidc.keys import IssuerKeys
from state.errors import Terminal, Unavailable
from tests.contract.web.test_markers import serve
from tests.fixtures.carrier import EC_KEY, KEY_SET, RSA_KEY, STRANGER, jwk, key_set, token
from tests.fixtures.registry_stub import Reply, Seen, Stub


class Hands(SystemClock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic_s(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime.now(UTC)


class Provider:
    """An issuer: its discovery document and keys, and how often it was asked."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.keys = KEY_SET
        self.document: dict[str, Any] = {"issuer": stub.url, "jwks_uri": f"{stub.url}/keys"}
        self.status = 200
        stub.answer = self._answer

    def _answer(self, seen: Seen) -> Reply:
        if seen.path == "/keys":
            return Reply(self.status, {}, self.keys)
        if seen.path == "/.well-known/openid-configuration":
            return Reply(self.status, {}, json.dumps(self.document).encode())
        return Reply(404)

    @property
    def asked(self) -> int:
        return sum(r.path == "/keys" for r in self.stub.requests)


@pytest.fixture
def provider(stub: Stub) -> Provider:
    return Provider(stub)


def test_the_issuers_keys_are_fetched_once_and_again_for_an_unknown_one_at_most_once_a_minute(
    provider: Provider,
) -> None:
    clock = Hands()
    keys = IssuerKeys(provider.stub.url, clock)
    assert keys.key("rsa") is not None
    assert keys.key("ec") is not None
    assert provider.asked == 1
    for _ in range(20):
        assert keys.key("new") is None
    assert provider.asked == 1
    provider.keys = key_set(jwk(STRANGER, "new"))
    clock.at += 61
    assert keys.key("new") is not None
    assert keys.key("rsa") is None
    assert provider.asked == 2
    keys.close()


def test_a_key_that_the_issuer_took_back_is_forgotten_within_the_hour(provider: Provider) -> None:
    clock = Hands()
    keys = IssuerKeys(provider.stub.url, clock)
    assert keys.key("rsa") is not None
    provider.keys = key_set(jwk(EC_KEY, "ec"))
    clock.at += 3601
    assert keys.key("rsa") is None


def test_an_issuer_that_does_not_answer_is_asked_once_a_minute_and_nothing_old_is_believed(provider: Provider) -> None:
    clock = Hands()
    keys = IssuerKeys(provider.stub.url, clock)
    provider.status = 500
    for _ in range(3):
        with pytest.raises(Unavailable):
            keys.key("rsa")
    assert len(provider.stub.requests) == 1
    provider.status = 200
    clock.at += 61
    assert keys.key("rsa") is not None
    provider.status = 500
    clock.at += 3601
    with pytest.raises(Unavailable):
        keys.key("rsa")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.document.update(issuer="https://evil.example"),
        lambda p: p.document.update(jwks_uri=7),
        lambda p: p.document.pop("jwks_uri"),
        lambda p: setattr(p, "document", []),
        lambda p: setattr(p, "keys", b"{"),
        lambda p: setattr(p, "keys", b"[]"),
        lambda p: setattr(p, "keys", key_set(jwk(RSA_KEY, "a"), jwk(EC_KEY, "a"))),
        lambda p: setattr(p, "keys", key_set({**jwk(RSA_KEY, "a"), "d": "AQ"})),
        lambda p: setattr(p, "keys", key_set(*[jwk(EC_KEY, str(n)) for n in range(101)])),
        lambda p: setattr(p, "keys", b" " * 300_000),
    ],
)
def test_an_issuer_that_says_something_else_is_not_believed(provider: Provider, spoil: Any) -> None:
    spoil(provider)
    with pytest.raises((Terminal, Unavailable)):
        IssuerKeys(provider.stub.url, Hands()).key("rsa")


def test_a_posted_marker_counts_with_keys_of_the_issuer(provider: Provider, tmp_path: Path) -> None:
    endpoint = serve(tmp_path, IssuerKeys(provider.stub.url, SystemClock()))
    try:
        assert endpoint.post(token()).status_code == 202
        assert endpoint.post(token(kid="x")).status_code == 401
    finally:
        endpoint.running.host.stop()
