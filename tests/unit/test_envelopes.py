"""Envelopes: every form that counts, and every refusal that needs no facts."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.adapters.evidence_key import KeySigner
from reconciler.approval.codes import MEANING, Code, RefusedMarker
from reconciler.approval.envelopes import inspect, seal, verify
from reconciler.approval.signatures import NAMESPACE, Signers
from state import approval
from state.oci import Digest
from tests.fixtures.approvals import (
    EC,
    ED,
    PLAN,
    POLICY,
    PRINCIPALS,
    SSH,
    admits,
    approves,
    b64,
    by_key,
    by_ssh,
    envelope,
    pae,
    policy,
    revokes,
    sealed,
    spoiled,
    statement_of,
)
from tests.fixtures.evidence import BUNDLE_TYPE, hint_of
from tests.thorough import examples

SIGNERS = Signers(POLICY)
PAYLOAD = approval.payload(approves())
GOOD = sealed(approves())


def refusal(raw: bytes, signers: Signers = SIGNERS) -> Code:
    with pytest.raises(RefusedMarker) as caught:
        verify(raw, signers)
    assert caught.value.text.startswith(MEANING[caught.value.code].text[:-1])
    return caught.value.code


def bundle(signature: dict[str, str], hint: str | None = None, **changed: Any) -> bytes:
    value = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signature["keyid"] if hint is None else hint}},
        "dsseEnvelope": json.loads(envelope(changed.pop("payload", PAYLOAD), [{"sig": signature["sig"]}])),
        **changed,
    }
    return json.dumps(value).encode()


# --- what counts


def test_an_ssh_signature_counts_and_the_digests_are_of_envelope_and_statement() -> None:
    signed = verify(GOOD, SIGNERS)
    assert (signed.marker, signed.principals) == (approves(), ("alice",))
    assert (signed.digest, signed.statement) == (Digest.of(GOOD), Digest.of(PAYLOAD))


@pytest.mark.parametrize("marker", [approves(), admits(), revokes()])
def test_every_kind_of_marker_is_read(marker: Any) -> None:
    assert verify(sealed(marker), SIGNERS).marker == marker
    assert inspect(sealed(marker)) == marker


def test_the_name_of_an_ssh_key_may_be_left_out() -> None:
    row = by_ssh("alice", PAYLOAD)
    for signature in ({"sig": row["sig"]}, {"keyid": "", "sig": row["sig"]}):
        assert verify(envelope(PAYLOAD, [signature]), SIGNERS).principals == ("alice",)


@pytest.mark.parametrize(("name", "key"), [("dora", EC["dora"]), ("erin", ED["erin"]), ("alice", EC["alice"])])
def test_a_bare_signature_counts_by_the_key_it_names(name: str, key: Any) -> None:
    payload = approval.payload(approves(name))
    fingerprint = b64decode(hint_of(key)).hex()
    for key_id in (hint_of(key), fingerprint, f"sha256:{fingerprint}"):
        signature = by_key(key, payload, key_id=key_id)
        assert verify(envelope(payload, [signature]), SIGNERS).principals == (name,)
        assert verify(bundle(signature, payload=payload), SIGNERS).principals == (name,)


def test_what_our_own_key_signer_makes_counts() -> None:
    raw = KeySigner(EC["alice"]).sign(PAYLOAD)
    assert verify(raw, SIGNERS).principals == ("alice",)
    assert inspect(raw) == approves()


def test_several_people_sign_one_envelope_by_different_means() -> None:
    payload = approval.payload(approves("alice", "bob", "dora"))
    rows = [by_ssh("bob", payload), by_key(EC["dora"], payload), by_ssh("alice", payload)]
    assert verify(envelope(payload, rows), SIGNERS).principals == ("alice", "bob", "dora")


def test_two_keys_of_one_person_are_one_principal() -> None:
    assert verify(sealed(approves(), "alice", "alice-2"), SIGNERS).principals == ("alice",)
    payload = approval.payload(approves())
    both = envelope(payload, [by_ssh("alice", payload), by_key(EC["alice"], payload)])
    assert verify(both, SIGNERS).principals == ("alice",)


def test_what_seal_writes_is_read() -> None:
    row = by_ssh("alice", PAYLOAD)
    assert verify(seal(PAYLOAD, [(row["keyid"], b64decode(row["sig"]))]), SIGNERS).principals == ("alice",)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is missing")
def test_a_signature_by_ssh_keygen_counts(tmp_path: Path) -> None:
    key, message = tmp_path / "key", tmp_path / "message"
    key.write_bytes(SSH["alice"].private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    message.write_bytes(pae(PAYLOAD))
    subprocess.run(["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", str(key), str(message)], check=True)
    armour = (tmp_path / "message.sig").read_bytes()
    assert verify(envelope(PAYLOAD, [{"sig": b64(armour)}]), SIGNERS).principals == ("alice",)


# --- what does not


def edited(**changed: Any) -> bytes:
    """Signed, and changed afterwards."""
    payload = approval.payload(approves(**changed))
    return envelope(payload, [by_ssh("alice", PAYLOAD)])


def twice(raw: bytes, key: bytes) -> bytes:
    return raw.replace(b'"%s":' % key, b'"%s":null,"%s":' % (key, key), 1)


def dressed(row: dict[str, str], **changed: str) -> dict[str, str]:
    return {**row, **changed}


ROW = by_ssh("alice", PAYLOAD)
SBOM = {**statement_of(approves()), "predicateType": "https://spdx.dev/Document"}
SHORT = statement_of(approves())
SHORT["predicate"]["head"] = "a" * 12
REFUSED: dict[str, tuple[bytes, Code]] = {
    "8-payload-edited-after-signing": (edited(not_after=approves().not_after + 1), Code.BAD_SIGNATURE),
    "9-sbom-of-an-approver": (spoiled(SBOM), Code.WRONG_PREDICATE),
    "10-another-payload-type": (envelope(PAYLOAD, [ROW], payloadType="text/plain"), Code.BAD_PAYLOAD_TYPE),
    "10-signed-as-another-payload-type": (
        envelope(PAYLOAD, [by_ssh("alice", PAYLOAD, payload_type="text/plain")]),
        Code.BAD_SIGNATURE,
    ),
    "11-own-key-of-an-attacker": (sealed(approves("mallory"), "mallory"), Code.UNKNOWN_KEY),
    "11-bare-key-of-an-attacker": (envelope(PAYLOAD, [by_key(EC["mallory"], PAYLOAD)]), Code.UNKNOWN_KEY),
    "12-attacker-under-the-name-of-alice": (
        envelope(PAYLOAD, [dressed(by_ssh("mallory", PAYLOAD), keyid=ROW["keyid"])]),
        Code.BAD_SIGNATURE,
    ),
    "12-bare-attacker-under-the-name-of-alice": (
        envelope(PAYLOAD, [by_key(EC["mallory"], PAYLOAD, key_id=hint_of(EC["alice"]))]),
        Code.BAD_SIGNATURE,
    ),
    "13-key-of-a-removed-approver": (sealed(approves("gone"), "gone"), Code.UNKNOWN_KEY),
    "17-names-bob-signed-by-alice": (sealed(approves("bob"), "alice"), Code.APPROVER_MISMATCH),
    "17-names-two-signed-by-one": (sealed(approves("alice", "bob"), "alice"), Code.APPROVER_MISMATCH),
    "17-names-one-signed-by-two": (sealed(approves("alice"), "alice", "bob"), Code.APPROVER_MISMATCH),
    "26-duplicate-key-in-the-statement": (
        envelope(twice(PAYLOAD, b"head"), [by_ssh("alice", twice(PAYLOAD, b"head"))]),
        Code.DUPLICATE_KEY,
    ),
    "26-duplicate-key-in-the-envelope": (twice(GOOD, b"payload"), Code.DUPLICATE_KEY),
    "27-spaced": (
        envelope(PAYLOAD + b"\n", [by_ssh("alice", PAYLOAD + b"\n")]),
        Code.NOT_CANONICAL,
    ),
    "27-escaped": (
        envelope(p := PAYLOAD.replace(b'"alice"', b'"\\u0061lice"'), [by_ssh("alice", p)]),
        Code.NOT_CANONICAL,
    ),
    "31-abbreviated-sha": (spoiled(SHORT), Code.BAD_SHA),
    "35-ten-megabytes": (b'{"payload":"' + b"A" * 10_000_000 + b'"}', Code.TOO_LARGE),
    "35-one-byte-too-many": (GOOD + b" " * (64 * 1024 + 1 - len(GOOD)), Code.TOO_LARGE),
    "36-unsigned": (envelope(PAYLOAD, []), Code.BAD_ENVELOPE),
    "37-plain-json": (b'{"approved": true, "sha": "%s"}' % (b"a" * 40), Code.BAD_ENVELOPE),
    "38-empty": (b"", Code.BAD_ENVELOPE),
    "38-half-written": (GOOD[:300], Code.BAD_ENVELOPE),
    "nine-signatures": (envelope(PAYLOAD, [ROW] * 9), Code.BAD_ENVELOPE),
    "one-bad-signature-beside-a-good-one": (
        envelope(PAYLOAD, [ROW, by_ssh("bob", PAYLOAD + b"x")]),
        Code.BAD_SIGNATURE,
    ),
    "one-unknown-key-beside-a-good-one": (envelope(PAYLOAD, [ROW, by_ssh("mallory", PAYLOAD)]), Code.UNKNOWN_KEY),
    "another-namespace": (envelope(PAYLOAD, [by_ssh("alice", PAYLOAD, namespace="git")]), Code.BAD_SIGNATURE),
    "a-bare-signature-without-a-name": (envelope(PAYLOAD, [by_key(EC["alice"], PAYLOAD, key_id="")]), Code.UNKNOWN_KEY),
    "a-name-in-place-of-a-fingerprint": (envelope(PAYLOAD, [dressed(ROW, keyid="alice")]), Code.BAD_SIGNATURE),
    "a-broken-armour": (envelope(PAYLOAD, [{"sig": b64(b"-----BEGIN SSH SIGNATURE-----\nAAAA")}]), Code.BAD_ENVELOPE),
    "a-cut-armour": (envelope(PAYLOAD, [{"sig": b64(b64decode(ROW["sig"])[:-30])}]), Code.BAD_ENVELOPE),
    "no-base64": (envelope(PAYLOAD, [dressed(ROW, sig="#")]), Code.BAD_ENVELOPE),
    "another-spelling-of-base64": (envelope(PAYLOAD, [dressed(ROW, sig=ROW["sig"] + "====")]), Code.BAD_ENVELOPE),
    "unknown-member": (envelope(PAYLOAD, [ROW], more=1), Code.BAD_ENVELOPE),
    "unknown-member-of-a-signature": (envelope(PAYLOAD, [dressed(ROW, cert="x")]), Code.BAD_ENVELOPE),
    "signatures-are-no-list": (envelope(PAYLOAD, []).replace(b"[]", b"{}"), Code.BAD_ENVELOPE),
    "a-list": (b"[]", Code.BAD_ENVELOPE),
    "deep": (b"[" * 60_000, Code.BAD_ENVELOPE),
    "not-a-number": (b'{"payload":NaN}', Code.BAD_ENVELOPE),
    "an-endless-integer": (b'{"payload":' + b"9" * 60_000 + b"}", Code.BAD_ENVELOPE),
    "statement-that-is-no-json": (envelope(b"approve", [by_ssh("alice", b"approve")]), Code.BAD_STATEMENT),
    "statement-that-is-a-list": (envelope(b"[]", [by_ssh("alice", b"[]")]), Code.WRONG_PREDICATE),
    "statement-with-a-member-more": (
        spoiled({**statement_of(approves()), "more": 1}),
        Code.BAD_STATEMENT,
    ),
    "subjects-in-another-order": (
        spoiled({**(v := statement_of(approves())), "subject": [v["subject"][0], *v["subject"][:0:-1]]}),
        Code.BAD_STATEMENT,
    ),
    "id-of-other-letters": (
        spoiled({**(v := statement_of(approves())), "predicate": {**v["predicate"], "id": "\uff11" * 32}}),
        Code.BAD_STATEMENT,
    ),
    "time-beyond-the-year-9999": (
        spoiled({**(v := statement_of(approves())), "predicate": {**v["predicate"], "not_after": 2**53 - 1}}),
        Code.BAD_STATEMENT,
    ),
    "old-bundle": (
        bundle(by_key(EC["alice"], PAYLOAD), mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
        Code.BAD_ENVELOPE,
    ),
    "bundle-by-an-unknown-key": (bundle(by_key(EC["mallory"], PAYLOAD)), Code.UNKNOWN_KEY),
    "bundle-with-a-strange-hint": (bundle(by_key(EC["alice"], PAYLOAD), hint=""), Code.UNKNOWN_KEY),
    "bundle-with-a-member-more": (bundle(by_key(EC["alice"], PAYLOAD), more=1), Code.BAD_ENVELOPE),
    "bundle-with-a-certificate-and-no-root": (
        bundle(ROW, verificationMaterial={"certificate": {"rawBytes": b64(b"x")}}),
        Code.UNKNOWN_KEY,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_spoiled_envelope_is_refused_with_its_code(name: str) -> None:
    raw, code = REFUSED[name]
    assert refusal(raw) is code


def test_a_principal_that_was_renamed_did_not_sign_under_the_new_name() -> None:
    people = {
        **{k: v for k, v in PRINCIPALS.items() if k != "alice"},
        "alicia": PRINCIPALS["alice"]._replace(name="alicia"),
    }
    assert refusal(GOOD, Signers(policy(principals=people))) is Code.APPROVER_MISMATCH


def test_a_key_that_changed_hands_signs_for_its_owner_of_now() -> None:
    people = {
        **PRINCIPALS,
        "alice": PRINCIPALS["alice"]._replace(ssh_keys=PRINCIPALS["bob"].ssh_keys),
        "bob": PRINCIPALS["bob"]._replace(ssh_keys=PRINCIPALS["alice"].ssh_keys),
    }
    assert refusal(GOOD, Signers(policy(principals=people))) is Code.APPROVER_MISMATCH


def test_what_needs_no_policy_is_told_without_one() -> None:
    told = {Code.TOO_LARGE, Code.BAD_ENVELOPE, Code.DUPLICATE_KEY, Code.BAD_PAYLOAD_TYPE, Code.WRONG_PREDICATE}
    told |= {Code.BAD_STATEMENT, Code.BAD_SHA, Code.NOT_CANONICAL}
    for name, (raw, code) in REFUSED.items():
        if code in told and "armour" not in name:
            with pytest.raises(RefusedMarker) as caught:
                inspect(raw)
            assert caught.value.code is code, name
    assert inspect(REFUSED["11-own-key-of-an-attacker"][0]) == approves("mallory")


# --- whatever comes


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode(errors="surrogatepass")))
def test_any_bytes_are_refused_and_nothing_else_happens(raw: bytes) -> None:
    for call in (lambda: verify(raw, SIGNERS), lambda: inspect(raw)):
        with pytest.raises(RefusedMarker):
            call()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.sampled_from(["payload", "payloadType", "signatures", "mediaType", "verificationMaterial", "dsseEnvelope"]),
    _JSON,
)
def test_any_member_may_be_anything_and_is_refused_or_as_before(member: str, value: Any) -> None:
    for good in (GOOD, bundle(by_key(EC["alice"], PAYLOAD))):
        raw = json.dumps({**json.loads(good), member: value}).encode()
        with pytest.raises(RefusedMarker):
            verify(raw, SIGNERS)


@examples(300)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=2))
def test_no_change_of_bytes_makes_another_marker(at: int, put: bytes) -> None:
    raw = GOOD[:at] + put + GOOD[at + len(put) :]
    try:
        found = verify(raw, SIGNERS)
    except RefusedMarker:
        return
    assert found.marker == approves()
    assert found.principals == ("alice",)
    assert PLAN.digest() == found.marker.plan  # type: ignore[union-attr]
