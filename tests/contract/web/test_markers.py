"""Posting markers on real sockets: the carrier's token, the form of the marker, and what is kept."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.markers_posted import PostedMarkers
from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.adapters.used_tokens import UsedTokens
from reconciler.approval.codes import Code
from reconciler.events import Emitter
from reconciler.oidc.keys import FileKeys
from reconciler.oidc.tokens import Carrier, Keys
from reconciler.web.apps import public_app
from reconciler.web.markers import PREFIX, Inbox, MarkerInboxes
from state.errors import Unavailable
from state.oci import Digest
from tests.contract.web.test_host import Running
from tests.fixtures.approvals import approves, sealed
from tests.fixtures.carrier import (
    AUDIENCE,
    CLAIMS,
    EC_KEY,
    ISSUER,
    KEY_SET,
    RSA_KEY,
    SMALL,
    STRANGER,
    token,
)
from tests.thorough import examples
from tests.unit.test_envelopes import REFUSED

MARKER = sealed(approves())


@dataclass
class Endpoint:
    running: Running
    root: Path
    metrics: PrometheusMetrics
    arrived: list[str]

    def post(self, bearer: str | None, body: bytes = MARKER, *, name: str = "shop", method: str = "POST") -> Any:
        headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        return self.running.ask("public", f"{PREFIX}{name}", method, data=body, headers=headers)

    def kept(self) -> list[str]:
        return sorted(p.name for p in (self.root / "posted").iterdir())

    def counted(self, repository: str, result: str) -> bool:
        line = f'ameide_markers_total{{repository="{repository}",result="{result}"}}'
        return line in self.metrics.exposition().decode()


def serve(root: Path, keys: Keys) -> Endpoint:
    metrics, arrived = PrometheusMetrics(), list[str]()
    inbox = Inbox(Carrier(ISSUER, AUDIENCE, CLAIMS), keys, PostedMarkers(root / "posted"))
    inboxes = MarkerInboxes(
        {"shop": inbox}, UsedTokens(root / "used"), clock=SystemClock(), metrics=metrics, arrived=arrived.append
    )
    emitter = Emitter(lambda _: None, SystemClock())
    return Endpoint(Running(outside=public_app(emitter, {PREFIX: inboxes.handle})), root, metrics, arrived)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    (tmp_path / "jwks").write_bytes(KEY_SET)
    made = serve(tmp_path, FileKeys(tmp_path / "jwks"))
    yield made
    made.running.host.stop()


def refused(answer: requests.Response, status: int = 401) -> Code:
    assert answer.status_code == status, answer.text
    assert answer.json()["status"] == status
    assert "approved" not in answer.text
    assert answer.text.isascii()
    return Code(answer.json()["code"])


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec")])
def test_a_marker_is_received_and_kept_and_nothing_is_said_to_be_approved(
    endpoint: Endpoint, key: Any, algorithm: str, kid: str
) -> None:
    answer = endpoint.post(token(key, algorithm, kid=kid))
    assert answer.status_code == 202
    assert answer.json() == {"id": "1" * 32, "marker": Digest.of(MARKER), "status": "received"}
    assert endpoint.kept() == [f"{Digest.of(MARKER).hex}.json"]
    assert PostedMarkers(endpoint.root / "posted").pending() == (MARKER,)
    assert endpoint.arrived == ["shop"]
    assert endpoint.counted("shop", "received")


def test_a_marker_that_nobody_of_the_policy_signed_is_received_too(endpoint: Endpoint) -> None:
    """Who signed is the policy's question, and that is asked later."""
    assert endpoint.post(token(), REFUSED["11-own-key-of-an-attacker"][0]).status_code == 202


def test_the_audience_may_be_a_list_of_one(endpoint: Endpoint) -> None:
    assert endpoint.post(token(aud=[AUDIENCE])).status_code == 202


def test_a_token_without_nbf_counts(endpoint: Endpoint) -> None:
    assert endpoint.post(token(nbf=None)).status_code == 202


def unsigned() -> str:
    now = int(time.time())
    head = {"alg": "none", "typ": "JWT", "kid": "rsa"}
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": "x", **CLAIMS}
    rows = [base64.urlsafe_b64encode(json.dumps(v).encode()).rstrip(b"=").decode() for v in (head, said)]
    return ".".join((*rows, ""))


def with_public_key_as_secret() -> str:
    """The public key taken for the secret of an HMAC."""
    import hmac

    now = int(time.time())
    head = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": "x", **CLAIMS}
    rows = [base64.urlsafe_b64encode(json.dumps(v).encode()).rstrip(b"=") for v in (head, said)]
    mac = hmac.digest(KEY_SET, b".".join(rows), "sha256")
    return b".".join((*rows, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()


NOW = int(time.time())
CARRIERS: dict[str, tuple[Any, Code]] = {
    "41-another-audience": (lambda: token(aud="sts.amazonaws.com"), Code.OIDC_WRONG_AUDIENCE),
    "41-one-of-two-audiences": (lambda: token(aud=[AUDIENCE, "x"]), Code.OIDC_WRONG_AUDIENCE),
    "42-the-pull-requests-own-workflow": (
        lambda: token(
            event_name="pull_request", job_workflow_ref="acme/shop/.github/workflows/approve.yml@refs/pull/41/merge"
        ),
        Code.OIDC_WRONG_CLAIM,
    ),
    "42-another-workflow": (lambda: token(job_workflow_ref=CLAIMS["job_workflow_ref"] + "x"), Code.OIDC_WRONG_CLAIM),
    "43-no-environment": (lambda: token(environment=None), Code.OIDC_WRONG_CLAIM),
    "44-another-repository": (lambda: token(repository_id="666"), Code.OIDC_WRONG_CLAIM),
    "44-a-number-for-a-text": (lambda: token(repository_id=77), Code.OIDC_WRONG_CLAIM),
    "44-a-list-with-the-value": (lambda: token(repository_id=["77"]), Code.OIDC_WRONG_CLAIM),
    "45-expired": (lambda: token(iat=NOW - 700, nbf=NOW - 700, exp=NOW - 120), Code.OIDC_EXPIRED),
    "46-alg-none": (unsigned, Code.OIDC_BAD_ALGORITHM),
    "46-hmac-with-the-public-key": (with_public_key_as_secret, Code.OIDC_BAD_ALGORITHM),
    "46-rs512": (lambda: token(RSA_KEY, "RS512"), Code.OIDC_BAD_ALGORITHM),
    "46-rs256-by-the-elliptic-key": (lambda: token(RSA_KEY, "RS256", kid="ec"), Code.OIDC_BAD_ALGORITHM),
    "46-a-key-that-is-too-small": (lambda: token(SMALL, "RS256", kid="small"), Code.OIDC_BAD_ALGORITHM),
    "47-self-hosted": (lambda: token(runner_environment="self-hosted"), Code.OIDC_WRONG_CLAIM),
    "no-token": (lambda: None, Code.OIDC_MISSING),
    "an-empty-token": (lambda: "", Code.OIDC_MISSING),
    "garbage": (lambda: "a.b.c", Code.OIDC_BAD_TOKEN),
    "too-long": (lambda: "a" * 17_000, Code.OIDC_BAD_TOKEN),
    "no-kid": (lambda: token(kid=None), Code.OIDC_BAD_TOKEN),
    "unknown-kid": (lambda: token(kid="other"), Code.OIDC_UNKNOWN_KEY),
    "another-key": (lambda: token(STRANGER), Code.OIDC_BAD_SIGNATURE),
    "another-issuer": (lambda: token(iss="https://evil.example"), Code.OIDC_WRONG_ISSUER),
    "issuer-with-a-slash": (lambda: token(iss=ISSUER + "/"), Code.OIDC_WRONG_ISSUER),
    "of-the-future": (lambda: token(iat=NOW + 600, nbf=NOW + 600, exp=NOW + 900), Code.OIDC_NOT_YET_VALID),
    "nbf-of-the-future": (lambda: token(nbf=NOW + 600, exp=NOW + 900), Code.OIDC_NOT_YET_VALID),
    "valid-for-a-year": (lambda: token(exp=NOW + 365 * 86400), Code.OIDC_LIFETIME),
    "no-expiry": (lambda: token(exp=None), Code.OIDC_BAD_TOKEN),
    "no-issue-time": (lambda: token(iat=None), Code.OIDC_BAD_TOKEN),
    "expiry-that-is-huge": (lambda: token(exp=10**30), Code.OIDC_BAD_TOKEN),
    "expiry-that-is-a-fraction": (lambda: token(exp=NOW + 300.5), Code.OIDC_BAD_TOKEN),
    "no-jti": (lambda: token(jti=None), Code.OIDC_NO_JTI),
    "empty-jti": (lambda: token(jti=""), Code.OIDC_NO_JTI),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_a_carrier_that_is_not_the_configured_one_is_refused_with_its_code(endpoint: Endpoint, name: str) -> None:
    make, code = CARRIERS[name]
    assert refused(endpoint.post(make())) is code
    assert endpoint.kept() == []
    assert endpoint.counted("shop", "refused")


def test_40_a_token_is_used_once_also_across_restarts(endpoint: Endpoint) -> None:
    bearer = token()
    assert endpoint.post(bearer).status_code == 202
    assert refused(endpoint.post(bearer)) is Code.OIDC_REPLAYED
    again = serve(endpoint.root, FileKeys(endpoint.root / "jwks"))
    try:
        assert refused(again.post(bearer)) is Code.OIDC_REPLAYED
        assert again.post(token()).status_code == 202
    finally:
        again.running.host.stop()


def test_the_same_marker_posted_twice_is_kept_once(endpoint: Endpoint) -> None:
    assert [endpoint.post(token()).status_code for _ in range(2)] == [202, 202]
    assert len(endpoint.kept()) == 1


BAD = [
    name for name, (raw, code) in REFUSED.items()
    if code in {Code.BAD_PAYLOAD_TYPE, Code.DUPLICATE_KEY, Code.WRONG_PREDICATE, Code.BAD_SHA, Code.NOT_CANONICAL}
    or name.startswith(("36", "37", "38"))
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_marker_is_told_what_is_wrong_and_the_token_is_not_spent(endpoint: Endpoint, name: str) -> None:
    raw, code = REFUSED[name]
    bearer = token()
    assert refused(endpoint.post(bearer, raw), 400) is code
    assert endpoint.kept() == []
    assert endpoint.post(bearer).status_code == 202


def test_a_large_body_is_refused_before_it_is_read(endpoint: Endpoint) -> None:
    assert refused(endpoint.post(token(), b"x" * 70_000), 413) is Code.TOO_LARGE
    assert endpoint.post(token(), b"x" * 2_000_000).status_code == 413


def test_a_name_that_is_not_configured_looks_like_a_bad_token(endpoint: Endpoint) -> None:
    assert refused(endpoint.post(token(), name="other")) is Code.OIDC_BAD_TOKEN
    assert endpoint.counted("unknown", "refused")
    assert endpoint.post(token(), name="").status_code == 404
    assert endpoint.post(token(), name="shop/x").status_code == 404
    assert endpoint.post(token(), method="GET").status_code == 405


def test_keys_that_cannot_be_read_are_our_fault_and_told_to_nobody(endpoint: Endpoint) -> None:
    (endpoint.root / "jwks").write_bytes(b"{}")
    answer = endpoint.post(token())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert "jwks" not in answer.text
    assert endpoint.counted("shop", "failed")
    (endpoint.root / "jwks").write_bytes(KEY_SET)
    assert endpoint.post(token()).status_code == 202


@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200),
    st.binary(max_size=200),
)
def test_anything_sent_is_refused_without_a_fault_of_ours(endpoint: Endpoint, bearer: str, body: bytes) -> None:
    assert endpoint.post(bearer or None, body).status_code == 401
    assert endpoint.post(token(), body).status_code in {400, 413}
    assert endpoint.kept() == []


# --- what is kept


def test_the_store_is_bounded_and_forgets_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.adapters.markers_posted.FILES_MAX", 3)
    store = PostedMarkers(tmp_path)
    kept = [store.put(b"%d" % n) for n in range(3)]
    assert store.put(b"0") == kept[0]
    with pytest.raises(Unavailable):
        store.put(b"more")
    store.done(kept[:1])
    assert store.put(b"more") == Digest.of(b"more")
    assert set(PostedMarkers(tmp_path).pending()) == {b"1", b"2", b"more"}


def test_used_tokens_are_bounded_and_forgotten_once_they_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.adapters.used_tokens.TOKENS_MAX", 2)
    used = UsedTokens(tmp_path)
    assert used.use("i", "a", 100, 50)
    assert used.use("i", "b", 200, 50)
    assert not used.use("i", "a", 100, 50)
    with pytest.raises(Unavailable):
        used.use("i", "c", 300, 50)
    assert used.use("i", "c", 300, 101)
    assert used.use("other issuer", "b", 200, 201)
    again = UsedTokens(tmp_path)
    assert not again.use("i", "c", 300, 201)
    assert len([*tmp_path.iterdir()]) == 2
