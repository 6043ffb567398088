"""Statements signed with a private deployment, and what is told when that fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.evidence_sigstore import SigstoreSigner
from reconciler.evidence.assembling import signer_of
from reconciler.settings.model import EvidenceSettings
from state import statement
from state.errors import ConfigError, Denied, InvalidValue, RateLimited, ReconcilerError, Unavailable
from state.oci import Digest
from state.verdict import Refusal
from tests.contract.evidence.support import believing, found, refusal
from tests.fixtures.registry_stub import Reply, Seen
from tests.fixtures.shop import eventually
from tests.fixtures.sigstore import WORKFLOW, PrivateSigstore, claims, token, write_json

STATEMENT = statement.build({"shop": Digest("sha256:" + "ab" * 32)}, "https://example.test/v1", {"ok": True})
ROBOT = "https://github.com/org/ops/.github/workflows/reconcile.yml@refs/heads/main"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(token(claims(job_workflow_ref=ROBOT)) + "\n")
    return file


@pytest.fixture
def signer(private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path) -> SigstoreSigner:
    config = write_json(tmp_path / "trust_config.json", private_sigstore.trust_config())
    return SigstoreSigner(config, token_file, deadline_s=20)


def calls(sigstore: PrivateSigstore, end: str) -> int:
    return sum(seen.path.endswith(end) for seen in sigstore.stub.requests)


def test_a_statement_is_signed_byte_for_byte_in_our_name(
    private_sigstore: PrivateSigstore, signer: SigstoreSigner
) -> None:
    proven = believing(private_sigstore.trusted_root()).prove(found(signer.sign(STATEMENT)))
    assert proven.payload == STATEMENT
    assert proven.certificate == signer.claims()
    assert signer.name() == ROBOT


def test_with_a_timestamp_authority_bundles_carry_both_witnesses(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path
) -> None:
    config = write_json(tmp_path / "trust_config.json", private_sigstore.trust_config(timestamps=True))
    raw = SigstoreSigner(config, token_file).sign(STATEMENT)
    assert len(json.loads(raw)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]) == 1
    assert believing(private_sigstore.trusted_root()).prove(found(raw)).payload == STATEMENT


def test_a_log_of_version_2_is_signed_into_and_what_it_gives_is_proven(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path
) -> None:
    config = write_json(tmp_path / "trust_config.json", private_sigstore.trust_config(timestamps=True, log=2))
    signer = SigstoreSigner(config, token_file)
    raw = signer.sign(STATEMENT)
    assert calls(private_sigstore, "/api/v2/log/entries") == 1
    proven = believing(private_sigstore.trusted_root()).prove(found(raw))
    assert (proven.payload, proven.certificate) == (STATEMENT, signer.claims())


def test_a_batch_shares_one_certificate(private_sigstore: PrivateSigstore, signer: SigstoreSigner) -> None:
    for _ in range(3):
        signer.sign(STATEMENT)
    assert (calls(private_sigstore, "/signingCert"), calls(private_sigstore, "/entries")) == (1, 3)


def test_an_expired_certificate_is_replaced_with_the_token_of_now(
    private_sigstore: PrivateSigstore, signer: SigstoreSigner, token_file: Path
) -> None:
    private_sigstore.fulcio.lifetime = timedelta(seconds=2)
    issued = datetime.now(UTC)
    assert signer.name() == ROBOT
    private_sigstore.fulcio.lifetime = timedelta(minutes=10)
    eventually("the certificate has expired", lambda: datetime.now(UTC) - issued > timedelta(seconds=3))
    token_file.write_text(token(claims()))
    believing(private_sigstore.trusted_root()).prove(found(signer.sign(STATEMENT)))
    assert signer.name() == f"{WORKFLOW}@refs/heads/main"


def test_certificates_that_come_expired_are_told_as_clocks_that_differ(
    private_sigstore: PrivateSigstore, signer: SigstoreSigner
) -> None:
    private_sigstore.fulcio.clock.ahead = timedelta(minutes=-11)
    with pytest.raises(ConfigError, match="clocks"):
        signer.sign(STATEMENT)


def _fails(sigstore: PrivateSigstore, end: str, reply: Reply) -> None:
    sigstore.stub.answer = lambda seen: reply if seen.path.endswith(end) else sigstore.serve(seen)


@pytest.mark.parametrize("end", ["/signingCert", "/entries"])
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Denied), (401, Denied), (403, Denied), (429, RateLimited), (500, Unavailable), (503, Unavailable)],
)
def test_a_refusal_is_told_with_the_words_of_the_server(
    private_sigstore: PrivateSigstore, signer: SigstoreSigner, end: str, status: int, error: type[ReconcilerError]
) -> None:
    _fails(private_sigstore, end, Reply(status, {}, b'{"code": 3, "message": "the subject is not\\nto our liking"}'))
    with pytest.raises(error, match=f"{status}: the subject is not to our liking"):
        signer.sign(STATEMENT)


@pytest.mark.parametrize("end", ["/signingCert", "/entries"])
@pytest.mark.parametrize(
    "reply", [Reply(drop=True), Reply(201, {}, b"<html>"), Reply(201, {}, b"{}"), Reply(201, {}, b"[]")]
)
def test_an_answer_that_cannot_be_used_is_tried_again_later(
    private_sigstore: PrivateSigstore, signer: SigstoreSigner, end: str, reply: Reply
) -> None:
    _fails(private_sigstore, end, reply)
    with pytest.raises(Unavailable):
        signer.sign(STATEMENT)
    private_sigstore.stub.answer = private_sigstore.serve
    assert signer.sign(STATEMENT)


@pytest.mark.parametrize("end", ["/signingCert", "/entries"])
def test_a_server_that_never_answers_does_not_hold_us_for_ever(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path, end: str
) -> None:
    config = write_json(tmp_path / "trust_config.json", private_sigstore.trust_config())
    silent = threading.Event()

    def answer(seen: Seen) -> Reply:
        if seen.path.endswith(end):
            silent.wait(30)
            return Reply(drop=True)
        return private_sigstore.serve(seen)

    private_sigstore.stub.answer = answer
    try:
        with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
            SigstoreSigner(config, token_file, deadline_s=0.5).sign(STATEMENT)
    finally:
        silent.set()


def test_no_error_tells_the_token(private_sigstore: PrivateSigstore, signer: SigstoreSigner, token_file: Path) -> None:
    secret = token_file.read_text().strip()
    _fails(private_sigstore, "/signingCert", Reply(403, {}, json.dumps({"message": f"bad {secret}"}).encode()))
    with pytest.raises(Denied) as caught:
        signer.sign(STATEMENT)
    assert "bad [token]" in str(caught.value)
    assert secret not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    ["", "no token", token(claims(), lifetime_s=-60), token({**claims(), "aud": "another"}), "\xff"],
    ids=["empty", "not a token", "expired", "another audience", "not text"],
)
def test_a_token_that_cannot_be_used_is_a_configuration_error(
    signer: SigstoreSigner, token_file: Path, text: str
) -> None:
    token_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="expected an OIDC token") as caught:
        signer.sign(STATEMENT)
    assert not text or text not in str(caught.value)


def test_a_missing_token_file_and_no_ambient_token_are_configuration_errors(
    signer: SigstoreSigner, token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        signer.sign(STATEMENT)
    for name in ("GITHUB_ACTIONS", "BUILDKITE", "GITLAB_CI", "CIRCLECI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")  # without `id-token: write` there is no address to ask
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="the ambient token"):
        SigstoreSigner(tmp_path / "trust_config.json", None).sign(STATEMENT)


def test_a_certificate_of_an_unknown_log_says_that_the_file_is_of_another_deployment(
    sigstores: Callable[[], PrivateSigstore], token_file: Path, tmp_path: Path
) -> None:
    config = sigstores().trust_config()
    config["trustedRoot"]["ctlogs"] = sigstores().trusted_root()["ctlogs"]
    file = write_json(tmp_path / "trust_config.json", config)
    with pytest.raises(ConfigError, match="same deployment"):
        SigstoreSigner(file, token_file).sign(STATEMENT)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff"])
def test_a_file_that_is_no_trust_config_is_a_configuration_error(token_file: Path, tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "trust_config.json"
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match="expected a Sigstore client trust configuration"):
        SigstoreSigner(file, token_file)


def test_bytes_that_are_no_statement_are_not_signed(private_sigstore: PrivateSigstore, signer: SigstoreSigner) -> None:
    with pytest.raises(InvalidValue):
        signer.sign(b"{}")
    assert not private_sigstore.stub.requests


def _settings(tmp_path: Path, sigstore: PrivateSigstore, token_file: Path) -> EvidenceSettings:
    config = write_json(tmp_path / "own_config.json", sigstore.trust_config())
    signer: dict[str, Any] = {"kind": "sigstore", "trust_config_file": config, "token_file": token_file}
    return EvidenceSettings.model_validate({"signer": signer, "release_sets": "registry.test/org/sets"})


def test_our_own_authority_proves_our_statements_and_nobody_elses(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path
) -> None:
    signer, own = signer_of(_settings(tmp_path, private_sigstore, token_file))
    ours = found(signer.sign(STATEMENT))
    assert own.prove(ours).payload == STATEMENT
    assert own.digest() == own.digest()

    another = private_sigstore.signed(STATEMENT, claims())  # the same deployment and issuer, another workflow
    assert refusal(own, another)[0] is Refusal.WRONG_WORKFLOW
    elsewhere = private_sigstore.signed(STATEMENT, claims(job_workflow_ref=ROBOT, iss="https://other.test"))
    assert refusal(own, elsewhere)[0] is Refusal.WRONG_ISSUER


def test_our_own_authority_asks_for_no_certificate_unless_something_is_to_be_compared(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path
) -> None:
    _, own = signer_of(_settings(tmp_path, private_sigstore, token_file))
    assert refusal(own, found(b"{}"))[0] is Refusal.MALFORMED
    assert not private_sigstore.stub.requests


def test_a_log_of_version_2_without_a_timestamp_authority_is_refused_before_anything_is_logged(
    private_sigstore: PrivateSigstore, token_file: Path, tmp_path: Path
) -> None:
    config = private_sigstore.trust_config()
    for service in config["signingConfig"]["rekorTlogUrls"]:
        service["majorApiVersion"] = 2
    with pytest.raises(ConfigError, match="needs a timestamp authority"):
        SigstoreSigner(write_json(tmp_path / "v2.json", config), token_file)
    assert private_sigstore.stub.requests == []
