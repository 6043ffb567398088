"""Bundles of a transparency log of version 2: neither promise nor time, so a timestamp says when."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from state.verdict import Refusal
from tests.contract.evidence.support import Edit, believing, found, refusal
from tests.contract.evidence.test_trusted_root import (
    ANOTHER,
    STATEMENT,
    _checkpoint,
    _entry,
    _log_root,
    _payload,
    _signature,
)
from tests.fixtures.evidence import b64
from tests.fixtures.sigstore import PrivateSigstore


def test_an_entry_of_a_log_of_version_2_counts_with_a_timestamp(private_sigstore: PrivateSigstore) -> None:
    bundle = private_sigstore.signed(STATEMENT, log=2)
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    assert entry["kindVersion"] == {"kind": "hashedrekord", "version": "0.0.2"}
    assert not entry.get("inclusionPromise")
    proven = believing(private_sigstore.trusted_root()).prove(found(bundle))
    assert (proven.payload, proven.certificate is not None) == (STATEMENT, True)
    assert proven.signed_at is not None
    assert abs(proven.signed_at - datetime.now(UTC)) < timedelta(minutes=1)


def _no_timestamp(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": []}


def _time_by_hand(bundle: dict[str, Any]) -> None:
    _no_timestamp(bundle)
    _entry(bundle)["integratedTime"] = str(int(datetime.now(UTC).timestamp()))


def _of_dsse(bundle: dict[str, Any]) -> None:
    _entry(bundle)["kindVersion"] = {"kind": "dsse", "version": "0.0.2"}


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (_payload, Refusal.BAD_SIGNATURE),
        (_signature, Refusal.UNTRUSTED),
        (_log_root, Refusal.BAD_SIGNATURE),
        (_checkpoint, Refusal.BAD_SIGNATURE),
        (_no_timestamp, Refusal.MALFORMED),
        (_time_by_hand, Refusal.MALFORMED),
        (_of_dsse, Refusal.UNSUPPORTED),
    ],
    ids=["payload", "signature", "root", "checkpoint", "no timestamp", "a time by hand", "dsse 0.0.2"],
)
def test_a_bundle_of_a_log_of_version_2_is_refused_where_one_part_is_not_as_it_was(
    private_sigstore: PrivateSigstore, edit: Edit, why: Refusal
) -> None:
    bundle = private_sigstore.signed(STATEMENT, log=2)
    edit(bundle)
    got, text = refusal(believing(private_sigstore.trusted_root()), bundle)
    assert got is why, text


def test_the_entry_of_another_statement_in_a_log_of_version_2_is_refused(private_sigstore: PrivateSigstore) -> None:
    bundle, other = (private_sigstore.signed(s, log=2) for s in (STATEMENT, ANOTHER))
    bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    assert refusal(believing(private_sigstore.trusted_root()), bundle)[0] is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize("ahead", [timedelta(minutes=11), timedelta(minutes=-1)], ids=["too late", "before it"])
def test_a_timestamp_beside_a_log_of_version_2_is_held_to_the_life_of_the_certificate(
    private_sigstore: PrivateSigstore, ahead: timedelta
) -> None:
    bundle = private_sigstore.signed(STATEMENT, log=2)
    private_sigstore.tsa.clock.ahead = ahead
    stamp = private_sigstore.tsa.stamp(b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    bundle["verificationMaterial"]["timestampVerificationData"] = {
        "rfc3161Timestamps": [{"signedTimestamp": b64(stamp)}]
    }
    why, text = refusal(believing(private_sigstore.trusted_root()), bundle)
    assert why in {Refusal.EXPIRED, Refusal.UNTRUSTED}, text


@pytest.mark.parametrize("part", ["certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"])
def test_every_part_of_a_deployment_with_a_log_of_version_2_has_to_be_the_trusted_one(
    sigstores: Callable[[], PrivateSigstore], part: str
) -> None:
    ours, theirs = sigstores(), sigstores()
    root = {**ours.trusted_root(), part: theirs.trusted_root()[part]}
    assert refusal(believing(root), ours.signed(STATEMENT, log=2))[0] is Refusal.UNTRUSTED


def test_the_earliest_of_several_timestamps_is_the_time_of_signing(private_sigstore: PrivateSigstore) -> None:
    authority, bundle = believing(private_sigstore.trusted_root()), private_sigstore.signed(STATEMENT, log=2)
    first = authority.prove(found(bundle)).signed_at
    _stamped_again(private_sigstore, bundle, timedelta(minutes=1))
    assert first is not None
    assert authority.prove(found(bundle)).signed_at == first


def test_a_time_that_no_log_promised_is_not_the_time_of_signing(private_sigstore: PrivateSigstore) -> None:
    authority, bundle = believing(private_sigstore.trusted_root()), private_sigstore.signed_by_hand(STATEMENT)
    _stamped_again(private_sigstore, bundle, timedelta(minutes=1))
    promised = authority.prove(found(bundle)).signed_at
    del _entry(bundle)["inclusionPromise"]
    _entry(bundle)["integratedTime"] = str(int(datetime.now(UTC).timestamp()) + 300)
    assert promised is not None
    stamped = authority.prove(found(bundle)).signed_at
    assert stamped is not None
    assert timedelta(seconds=50) < stamped - promised < timedelta(seconds=100)


def _stamped_again(sigstore: PrivateSigstore, bundle: dict[str, Any], ahead: timedelta) -> None:
    """One more timestamp over the signature, made `ahead` of now."""
    sigstore.tsa.clock.ahead = ahead
    raw = sigstore.tsa.stamp(b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    stamps = bundle["verificationMaterial"].setdefault("timestampVerificationData", {"rfc3161Timestamps": []})
    stamps["rfc3161Timestamps"].append({"signedTimestamp": b64(raw)})
