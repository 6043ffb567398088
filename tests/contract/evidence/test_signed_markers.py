"""Markers signed by certificate: by a person, or by a workflow whose environment is gated."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from reconciler.approval.approvers import Identity, Principal
from reconciler.approval.codes import Code, RefusedMarker
from reconciler.approval.envelopes import inspect, verify
from reconciler.approval.signatures import Signers
from state import approval
from tests.contract.evidence.support import believing, flipped
from tests.fixtures.approvals import EC, ENVIRONMENT, GATE, ISSUER, POLICY, PRINCIPALS, approves, by_key, policy
from tests.fixtures.evidence import hint_of
from tests.fixtures.sigstore import PrivateSigstore, claims
from tests.unit.test_envelopes import bundle

PAYLOAD = approval.payload(approves("gate"))
GATED = claims(environment=ENVIRONMENT)


def signers(sigstore: PrivateSigstore, *, log: bool = True, **people: Principal) -> Signers:
    return Signers(policy(principals={**PRINCIPALS, **people}), believing(sigstore.trusted_root(logs=log), log=log))


def refusal(made: dict[str, Any], by: Signers) -> Code:
    with pytest.raises(RefusedMarker) as caught:
        verify(json.dumps(made).encode(), by)
    return caught.value.code


def now_issued(sigstore: PrivateSigstore, ahead_s: int = 0, name: str = "gate") -> bytes:
    """A statement of the time that the deployment has now."""
    now = int(sigstore.fulcio.clock.now().timestamp()) + ahead_s
    return approval.payload(approves(name, issued_at=now, not_after=now + 3600))


def test_a_gated_workflow_signs_in_its_environment(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.signed(now_issued(private_sigstore), GATED)
    raw = json.dumps(made).encode()
    assert verify(raw, signers(private_sigstore)).principals == ("gate",)
    assert inspect(raw).approvers == ("gate",)


def test_a_deployment_without_a_log_vouches_by_its_timestamps(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.timestamped(now_issued(private_sigstore), GATED)
    assert verify(json.dumps(made).encode(), signers(private_sigstore, log=False)).principals == ("gate",)


def test_a_person_signs_without_an_environment(private_sigstore: PrivateSigstore) -> None:
    person = Principal("zoe", 1007, identities=(Identity(ISSUER, "zoe@example.org"),))
    said = claims(job_workflow_ref=None, sub="zoe@example.org")
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore, name="zoe"), said)
    assert verify(json.dumps(made).encode(), signers(private_sigstore, zoe=person)).principals == ("zoe",)


@pytest.mark.parametrize(
    "said",
    [
        claims(),
        claims(environment="staging"),
        claims(environment=ENVIRONMENT.upper()),
        claims(environment=ENVIRONMENT, job_workflow_ref=GATE.replace("main", "work")),
        claims(environment=ENVIRONMENT, job_workflow_ref=GATE.replace("/publish.yml", "/evil.yml")),
        claims(environment=ENVIRONMENT, iss="https://issuer.private.test.evil"),
        claims(environment=ENVIRONMENT, job_workflow_ref=GATE + "/"),
    ],
)
def test_any_other_identity_is_no_principal(private_sigstore: PrivateSigstore, said: dict[str, Any]) -> None:
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore), said)
    assert refusal(made, signers(private_sigstore)) is Code.UNKNOWN_KEY


def test_a_certificate_of_another_deployment_is_refused(sigstores: Any) -> None:
    ours, theirs = sigstores(), sigstores()
    made = theirs.signed_by_hand(now_issued(theirs), GATED)
    assert refusal(made, signers(ours)) is Code.CERTIFICATE_REFUSED


def test_without_a_root_no_certificate_counts(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore), GATED)
    assert refusal(made, Signers(POLICY)) is Code.UNKNOWN_KEY


def test_a_spoiled_signature_or_payload_is_refused(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore), GATED)
    envelope = made["dsseEnvelope"]
    for part in (
        {"payload": private_sigstore.signed_by_hand(now_issued(private_sigstore, 1), GATED)["dsseEnvelope"]["payload"]},
        {"signatures": [{"sig": flipped(envelope["signatures"][0]["sig"])}]},
    ):
        spoilt = {**made, "dsseEnvelope": {**envelope, **part}}
        assert refusal(spoilt, signers(private_sigstore)) is Code.BAD_SIGNATURE


def test_a_certificate_that_was_over_is_refused(private_sigstore: PrivateSigstore) -> None:
    private_sigstore.rekor.clock.ahead = timedelta(hours=1)
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore), GATED)
    assert refusal(made, signers(private_sigstore)) is Code.CERTIFICATE_REFUSED


def test_one_who_signs_today_for_tomorrow_is_found_out_by_the_log(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore, 3600), GATED)
    assert refusal(made, signers(private_sigstore)) is Code.NOT_YET_VALID


def test_who_is_named_has_to_be_who_signed(private_sigstore: PrivateSigstore) -> None:
    made = private_sigstore.signed_by_hand(now_issued(private_sigstore, name="alice"), GATED)
    assert refusal(made, signers(private_sigstore)) is Code.APPROVER_MISMATCH


def test_a_bundle_by_a_key_needs_no_root_and_is_no_certificate(private_sigstore: PrivateSigstore) -> None:
    payload = approval.payload(approves("dora"))
    raw = bundle(by_key(EC["dora"], payload), hint_of(EC["dora"]), payload=payload)
    assert verify(raw, signers(private_sigstore)).principals == ("dora",)
