"""When and for what the authorities of a trusted root are trusted: at the second, and for each timestamp."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime, timedelta
from typing import Any

import pytest

from state.verdict import Refusal
from tests.contract.evidence.support import believing, found, refusal
from tests.contract.evidence.test_trusted_root import STATEMENT
from tests.fixtures.evidence import b64
from tests.fixtures.sigstore import PrivateSigstore


def _until(root: dict[str, Any], part: str, **window: datetime) -> dict[str, Any]:
    """The root with another time of trust in one of its authorities; `start` and `end` as protobuf writes them."""
    times = {name: f"{at:%Y-%m-%dT%H:%M:%SZ}" for name, at in window.items()}
    rows = [{**row, "validFor": {"start": "2020-01-01T00:00:00Z", **times}} for row in root[part]]
    return {**root, part: rows}


@pytest.mark.parametrize(
    ("part", "why"),
    [("certificateAuthorities", Refusal.EXPIRED), ("timestampAuthorities", Refusal.UNTRUSTED)],
)
def test_trust_in_an_authority_begins_with_its_start_and_ends_before_its_end(
    private_sigstore: PrivateSigstore, part: str, why: Refusal
) -> None:
    bundle, root = private_sigstore.timestamped(STATEMENT), private_sigstore.trusted_root(logs=False)
    at = believing(root, log=False).prove(found(bundle)).signed_at
    assert at is not None
    second = timedelta(seconds=1)
    believing(_until(root, part, start=at, end=at + second), log=False).prove(found(bundle))
    for window in ({"end": at}, {"start": at + second}):
        assert refusal(believing(_until(root, part, **window), log=False), bundle)[0] is why, window


def test_more_timestamps_than_anybody_makes_are_not_looked_at(private_sigstore: PrivateSigstore) -> None:
    authority = believing(private_sigstore.trusted_root(logs=False), log=False)
    bundle = private_sigstore.timestamped(STATEMENT)
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps *= 32
    assert authority.prove(found(bundle)).payload == STATEMENT
    stamps.append(stamps[0])
    assert refusal(authority, bundle)[0] is Refusal.OVERSIZED


def test_the_earliest_of_several_timestamps_is_the_time_and_each_has_to_be_in_the_life_of_the_certificate(
    private_sigstore: PrivateSigstore,
) -> None:
    authority = believing(private_sigstore.trusted_root(logs=False), log=False)
    bundle = private_sigstore.timestamped(STATEMENT)
    first = authority.prove(found(bundle)).signed_at
    assert first is not None
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]

    def add(ahead: timedelta) -> None:
        private_sigstore.tsa.clock.ahead = ahead
        raw = private_sigstore.tsa.stamp(b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
        stamps.append({"signedTimestamp": b64(raw)})

    add(timedelta(minutes=1))
    assert authority.prove(found(bundle)).signed_at == first
    add(timedelta(minutes=11))
    assert refusal(authority, bundle)[0] is Refusal.EXPIRED


@pytest.mark.parametrize("log", [True, False], ids=["with a log", "with timestamps"])
def test_a_certificate_whose_key_may_not_sign_is_refused(private_sigstore: PrivateSigstore, log: bool) -> None:
    private_sigstore.fulcio.signs = False
    bundle = private_sigstore.signed_by_hand(STATEMENT) if log else private_sigstore.timestamped(STATEMENT)
    root = private_sigstore.trusted_root(logs=log)
    assert refusal(believing(root, log=log), bundle)[0] is Refusal.UNTRUSTED


def test_a_timestamp_authority_needs_an_authority_above_it(private_sigstore: PrivateSigstore) -> None:
    root = private_sigstore.trusted_root(logs=False)
    chain = root["timestampAuthorities"][0]["certChain"]
    chain["certificates"] = chain["certificates"][:1]
    assert refusal(believing(root, log=False), private_sigstore.timestamped(STATEMENT))[0] is Refusal.UNTRUSTED
