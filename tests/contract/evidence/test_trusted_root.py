"""A pinned trusted root, asked about what a real client signed with private deployments."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.evidence.authority import CertificateClaims
from reconciler.evidence.found import Layout
from reconciler.evidence.trusted_root import RootAuthority
from state.errors import ConfigError
from state.verdict import Refusal
from tests.contract.evidence.support import SUBJECT, Edit, believing, flipped, found, refusal
from tests.fixtures.evidence import IN_TOTO, b64, key_bundle, new_key, statement
from tests.fixtures.sigstore import ISSUER, REPOSITORY, REVISION, WORKFLOW, PrivateSigstore, claims, write_json

STATEMENT = statement(SUBJECT)
ANOTHER = statement("sha256:" + "cd" * 32)


def test_what_a_trusted_workflow_signed_is_proven_with_all_that_its_certificate_says(
    private_sigstore: PrivateSigstore,
) -> None:
    proven = believing(private_sigstore.trusted_root()).prove(found(private_sigstore.signed(STATEMENT)))

    identity = f"{WORKFLOW}@refs/heads/main"
    assert (proven.payload_type, proven.payload, proven.key) == (IN_TOTO, STATEMENT, None)
    assert proven.certificate == CertificateClaims(
        issuer=ISSUER,
        identity=identity,
        source_repository=REPOSITORY,
        source_repository_id="4711",
        source_ref="refs/heads/main",
        source_revision=REVISION,
        build_signer=identity,
        runner_environment="github-hosted",
    )
    assert proven.signed_at is not None
    assert abs(proven.signed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_claims_that_a_certificate_lacks_are_told_as_lacking(private_sigstore: PrivateSigstore) -> None:
    bundle = private_sigstore.signed(STATEMENT, {"iss": ISSUER, "sub": "https://robots.test/one"})
    proven = believing(private_sigstore.trusted_root()).prove(found(bundle))
    assert proven.certificate == CertificateClaims(ISSUER, "https://robots.test/one")


def test_a_signature_of_long_ago_counts_although_its_certificate_has_expired(private_sigstore: PrivateSigstore) -> None:
    for service in (private_sigstore.fulcio, private_sigstore.rekor):
        service.clock.ahead = timedelta(days=-1)
    proven = believing(private_sigstore.trusted_root()).prove(found(private_sigstore.signed_by_hand(STATEMENT)))
    assert proven.signed_at is not None
    assert datetime.now(UTC) - proven.signed_at > timedelta(hours=23)


@pytest.mark.parametrize("ahead", [timedelta(minutes=11), timedelta(minutes=-1)], ids=["too late", "before it"])
def test_a_log_entry_from_outside_the_life_of_the_certificate_is_refused(
    private_sigstore: PrivateSigstore, ahead: timedelta
) -> None:
    private_sigstore.rekor.clock.ahead = ahead
    why, text = refusal(believing(private_sigstore.trusted_root()), private_sigstore.signed_by_hand(STATEMENT))
    assert why is Refusal.EXPIRED, text


def test_a_certificate_from_after_the_end_of_trust_in_its_authority_is_refused(
    private_sigstore: PrivateSigstore,
) -> None:
    bundle = private_sigstore.signed(STATEMENT)
    root = private_sigstore.trusted_root(valid_until="2021-01-01T00:00:00Z")
    assert refusal(believing(root), bundle)[0] is Refusal.EXPIRED


def test_an_unrelated_deployment_is_not_believed(sigstores: Callable[[], PrivateSigstore]) -> None:
    ours, theirs = sigstores(), sigstores()
    assert refusal(believing(ours.trusted_root()), theirs.signed(STATEMENT))[0] is Refusal.UNTRUSTED


@pytest.mark.parametrize("part", ["certificateAuthorities", "tlogs", "ctlogs"])
def test_every_part_of_the_deployment_has_to_be_the_trusted_one(
    sigstores: Callable[[], PrivateSigstore], part: str
) -> None:
    ours, theirs = sigstores(), sigstores()
    root = {**ours.trusted_root(), part: theirs.trusted_root()[part]}
    assert refusal(believing(root), ours.signed(STATEMENT))[0] is Refusal.UNTRUSTED


def test_a_certificate_for_another_purpose_is_refused(private_sigstore: PrivateSigstore) -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private_sigstore.fulcio.purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    bundle = private_sigstore.signed_by_hand(STATEMENT)
    assert refusal(believing(private_sigstore.trusted_root()), bundle)[0] is Refusal.UNTRUSTED


@pytest.mark.parametrize("scts", [0, 2], ids=["no SCT", "two SCTs"])
def test_a_certificate_that_no_log_of_certificates_vouches_for_once_is_refused(
    private_sigstore: PrivateSigstore, scts: int
) -> None:
    private_sigstore.fulcio.scts = scts
    bundle = private_sigstore.signed_by_hand(STATEMENT)
    why, text = refusal(believing(private_sigstore.trusted_root()), bundle)
    assert why is Refusal.UNTRUSTED, text
    assert "SCT" in text


# --- altered bundles -------------------------------------------------------------------------------------------------


def _payload(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = b64(ANOTHER)


def _payload_type(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "application/json"


def _signature(bundle: dict[str, Any]) -> None:
    signature = bundle["dsseEnvelope"]["signatures"][0]
    signature["sig"] = flipped(signature["sig"])


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


def _log_body(bundle: dict[str, Any]) -> None:
    entry = _entry(bundle)
    body = json.loads(b64decode(entry["canonicalizedBody"]))
    body["spec"]["payloadHash"]["value"] = "00" * 32
    entry["canonicalizedBody"] = b64(json.dumps(body).encode())


def _log_time(bundle: dict[str, Any]) -> None:
    entry = _entry(bundle)
    entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)


def _log_promise(bundle: dict[str, Any]) -> None:
    promise = _entry(bundle)["inclusionPromise"]
    promise["signedEntryTimestamp"] = flipped(promise["signedEntryTimestamp"])


def _log_root(bundle: dict[str, Any]) -> None:
    proof = _entry(bundle)["inclusionProof"]
    proof["rootHash"] = flipped(proof["rootHash"])


def _checkpoint(bundle: dict[str, Any]) -> None:
    checkpoint = _entry(bundle)["inclusionProof"]["checkpoint"]
    origin, rest = checkpoint["envelope"].split("\n", 1)
    checkpoint["envelope"] = f"{origin}x\n{rest}"


@pytest.mark.parametrize(
    "edit", [_payload, _payload_type, _signature, _log_body, _log_time, _log_promise, _log_root, _checkpoint]
)
def test_a_bundle_altered_in_one_place_is_refused(private_sigstore: PrivateSigstore, edit: Edit) -> None:
    bundle = private_sigstore.signed(STATEMENT)
    authority = believing(private_sigstore.trusted_root())
    authority.prove(found(bundle))
    edit(bundle)
    why, text = refusal(authority, bundle)
    assert why is Refusal.BAD_SIGNATURE, text


def test_the_log_entry_of_another_statement_is_refused(private_sigstore: PrivateSigstore) -> None:
    bundle, other = private_sigstore.signed(STATEMENT), private_sigstore.signed(ANOTHER)
    bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    why, text = refusal(believing(private_sigstore.trusted_root()), bundle)
    assert why is Refusal.BAD_SIGNATURE, text


def test_the_certificate_of_somebody_else_is_refused(private_sigstore: PrivateSigstore) -> None:
    bundle, other = private_sigstore.signed(STATEMENT), private_sigstore.signed(STATEMENT)
    bundle["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]
    assert refusal(believing(private_sigstore.trusted_root()), bundle)[0] is Refusal.BAD_SIGNATURE


def _no_certificate(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = b64(b"\x30\x03\x02\x01\x01")


def _no_proof(bundle: dict[str, Any]) -> None:
    del _entry(bundle)["inclusionProof"]


def _text_index(bundle: dict[str, Any]) -> None:
    _entry(bundle)["logIndex"] = "first"


@pytest.mark.parametrize("edit", [_no_certificate, _no_proof, _text_index])
def test_a_bundle_that_cannot_be_read_is_refused_as_malformed(private_sigstore: PrivateSigstore, edit: Edit) -> None:
    bundle = private_sigstore.signed(STATEMENT)
    edit(bundle)
    assert refusal(believing(private_sigstore.trusted_root()), bundle)[0] is Refusal.MALFORMED


# --- without a log ---------------------------------------------------------------------------------------------------


def _without_log(sigstore: PrivateSigstore) -> RootAuthority:
    return believing(sigstore.trusted_root(logs=False), log=False)


def test_a_timestamp_stands_for_the_log_where_that_is_configured(private_sigstore: PrivateSigstore) -> None:
    proven = _without_log(private_sigstore).prove(found(private_sigstore.timestamped(STATEMENT)))
    assert (proven.payload_type, proven.payload, proven.key) == (IN_TOTO, STATEMENT, None)
    assert proven.certificate is not None
    assert proven.certificate.identity == f"{WORKFLOW}@refs/heads/main"
    assert proven.signed_at is not None
    assert abs(proven.signed_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_no_mode_falls_back_to_the_other(private_sigstore: PrivateSigstore) -> None:
    root = private_sigstore.trusted_root()
    why, text = refusal(believing(root), private_sigstore.timestamped(STATEMENT))
    assert why is Refusal.UNSUPPORTED
    assert "transparency_log: false" in text
    why, text = refusal(believing(root, log=False), private_sigstore.signed(STATEMENT))
    assert why is Refusal.UNSUPPORTED
    assert "transparency_log: false" in text


def test_without_a_log_a_timestamp_of_a_trusted_authority_is_needed(sigstores: Callable[[], PrivateSigstore]) -> None:
    ours, theirs = sigstores(), sigstores()
    none = ours.timestamped(STATEMENT)
    none["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = []
    assert refusal(_without_log(ours), none)[0] is Refusal.UNTRUSTED
    assert refusal(_without_log(ours), ours.timestamped(STATEMENT, stamped=b"x"))[0] is Refusal.UNTRUSTED
    own_authority, ours.tsa = ours.tsa, theirs.tsa
    foreign = ours.timestamped(STATEMENT)
    ours.tsa = own_authority
    assert refusal(_without_log(ours), foreign)[0] is Refusal.UNTRUSTED


def test_without_a_log_an_unrelated_authority_for_certificates_is_not_believed(
    sigstores: Callable[[], PrivateSigstore],
) -> None:
    ours, theirs = sigstores(), sigstores()
    own_authority, ours.fulcio = ours.fulcio, theirs.fulcio
    foreign = ours.timestamped(STATEMENT)
    ours.fulcio = own_authority
    assert refusal(_without_log(ours), foreign)[0] is Refusal.UNTRUSTED


@pytest.mark.parametrize("ahead", [timedelta(minutes=11), timedelta(minutes=-1)], ids=["too late", "before it"])
def test_a_timestamp_from_outside_the_life_of_the_certificate_is_refused(
    private_sigstore: PrivateSigstore, ahead: timedelta
) -> None:
    private_sigstore.tsa.clock.ahead = ahead
    assert refusal(_without_log(private_sigstore), private_sigstore.timestamped(STATEMENT))[0] is Refusal.EXPIRED


def test_without_a_log_the_purpose_of_the_certificate_is_checked(private_sigstore: PrivateSigstore) -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    private_sigstore.fulcio.purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    assert refusal(_without_log(private_sigstore), private_sigstore.timestamped(STATEMENT))[0] is Refusal.UNTRUSTED


@pytest.mark.parametrize("edit", [_payload, _payload_type])
def test_without_a_log_an_altered_payload_is_refused(private_sigstore: PrivateSigstore, edit: Edit) -> None:
    bundle = private_sigstore.timestamped(STATEMENT)
    edit(bundle)
    assert refusal(_without_log(private_sigstore), bundle)[0] is Refusal.BAD_SIGNATURE


# --- other forms, and the file ---------------------------------------------------------------------------------------


def test_a_key_is_not_believed_by_a_trusted_root(private_sigstore: PrivateSigstore) -> None:
    bundle = key_bundle(new_key(), STATEMENT)
    assert refusal(believing(private_sigstore.trusted_root()), bundle)[0] is Refusal.UNTRUSTED
    assert refusal(_without_log(private_sigstore), bundle)[0] is Refusal.UNTRUSTED


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout.COSIGN_SIGNATURE, Refusal.UNSUPPORTED),
        (Layout.COSIGN_ATTESTATION, Refusal.UNSUPPORTED),
        (Layout.BUILDKIT, Refusal.UNSIGNED),
        (Layout.SBOM, Refusal.UNSIGNED),
    ],
)
def test_other_forms_of_evidence_are_refused_by_name(
    private_sigstore: PrivateSigstore, layout: Layout, expected: Refusal
) -> None:
    why, text = refusal(believing(private_sigstore.trusted_root()), found(b"{}", layout))
    assert why is expected
    assert layout.value in text


def test_the_digest_is_of_the_bytes_of_the_file_and_the_mode(private_sigstore: PrivateSigstore, tmp_path: Path) -> None:
    file = write_json(tmp_path / "root.json", private_sigstore.trusted_root())
    first = RootAuthority.from_file(file, transparency_log=True).digest()
    assert RootAuthority.from_file(file, transparency_log=True).digest() == first
    assert RootAuthority.from_file(file, transparency_log=False).digest() != first
    file.write_bytes(file.read_bytes() + b"\n")
    assert RootAuthority.from_file(file, transparency_log=True).digest() != first


def test_a_root_without_what_its_mode_needs_is_a_configuration_error(private_sigstore: PrivateSigstore) -> None:
    with pytest.raises(ConfigError, match="set `transparency_log: false`"):
        believing(private_sigstore.trusted_root(logs=False))
    with pytest.raises(ConfigError, match="no timestamp authority"):
        believing({**private_sigstore.trusted_root(), "timestampAuthorities": []}, log=False)
    with pytest.raises(ConfigError, match="no certificate authority"):
        believing({**private_sigstore.trusted_root(), "certificateAuthorities": []})


def test_a_root_as_protobuf_writes_it_leaves_empty_lists_out(private_sigstore: PrivateSigstore) -> None:
    root = {name: value for name, value in private_sigstore.trusted_root(logs=False).items() if value}
    believing(root, log=False).prove(found(private_sigstore.timestamped(STATEMENT)))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"{}\n{}", b'{"mediaType":"x"}'])
def test_a_file_that_is_no_trusted_root_is_a_configuration_error(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "root.json"
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"root\.json: expected one Sigstore trusted root"):
        RootAuthority.from_file(file, transparency_log=True)


def test_claims_of_pull_requests_are_told_as_they_are(private_sigstore: PrivateSigstore) -> None:
    bundle = private_sigstore.signed(STATEMENT, claims("refs/pull/7/merge"))
    proven = believing(private_sigstore.trusted_root()).prove(found(bundle))
    assert proven.certificate is not None
    assert proven.certificate.source_ref == "refs/pull/7/merge"


def test_nothing_is_written_and_nobody_is_asked(
    private_sigstore: PrivateSigstore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = private_sigstore.signed(STATEMENT)
    asked = len(private_sigstore.stub.requests)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    believing(private_sigstore.trusted_root()).prove(found(bundle))
    assert list(tmp_path.iterdir()) == []
    assert len(private_sigstore.stub.requests) == asked
