"""Bytes from outside → bundles and envelopes: whatever comes, the only error is a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.evidence import bundles
from reconciler.evidence.found import BUNDLE_MAX_BYTES, Refused
from state.verdict import Refusal
from tests.fixtures.evidence import BUNDLE_TYPE, IN_TOTO, b64, envelope, hint_of, key_bundle, new_key, pae, statement

KEY: Final = new_key()
PAYLOAD: Final = statement("sha256:" + "a" * 64)
V01: Final = "application/vnd.dev.sigstore.bundle+json;version=0.1"
V02: Final = "application/vnd.dev.sigstore.bundle+json;version=0.2"
V03_OLD: Final = "application/vnd.dev.sigstore.bundle+json;version=0.3"


def good() -> dict[str, Any]:
    return key_bundle(KEY, PAYLOAD)


def certified(media_type: str = BUNDLE_TYPE, *, chain: bool = False) -> dict[str, Any]:
    made = good()
    made["mediaType"] = media_type
    leaf = {"rawBytes": b64(b"leaf")}
    signer = (
        {"x509CertificateChain": {"certificates": [leaf, {"rawBytes": b64(b"issuer")}]}}
        if chain
        else {"certificate": leaf}
    )
    made["verificationMaterial"] = {
        **signer,
        "tlogEntries": [{"logIndex": "1"}],
        "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "AA=="}, {"signedTimestamp": "AA=="}]},
    }
    return made


def edited(edit: Callable[[dict[str, Any]], Any], made: dict[str, Any] | None = None) -> bytes:
    value = made or good()
    edit(value)
    return json.dumps(value).encode()


def refusal_of(raw: bytes) -> Refusal:
    with pytest.raises(Refused) as caught:
        bundles.parse_bundle(raw)
    return caught.value.refusal


def test_a_key_bundle_is_read_as_it_was_made() -> None:
    written = good()
    made = bundles.parse_bundle(json.dumps(written).encode())
    assert made.media_type == BUNDLE_TYPE
    assert (made.certificate, made.key_hint) == (None, hint_of(KEY))
    assert (made.envelope.payload_type, made.envelope.payload) == (IN_TOTO, PAYLOAD)
    assert b64(made.envelope.signature) == written["dsseEnvelope"]["signatures"][0]["sig"]
    assert (made.log_entries, made.timestamps) == (0, 0)


@pytest.mark.parametrize(("media_type", "chain"), [(BUNDLE_TYPE, False), (V03_OLD, False), (V01, True), (V02, True)])
def test_the_leaf_certificate_and_the_witnesses_are_told(media_type: str, chain: bool) -> None:
    made = bundles.parse_bundle(json.dumps(certified(media_type, chain=chain)).encode())
    assert (made.certificate, made.key_hint) == (b"leaf", None)
    assert (made.log_entries, made.timestamps) == (1, 2)


def test_members_that_are_null_or_absent_are_the_same() -> None:
    def edit(value: dict[str, Any]) -> None:
        value["messageSignature"] = None
        material = value["verificationMaterial"]
        material.update(certificate=None, tlogEntries=None)
        del material["timestampVerificationData"]
        del value["dsseEnvelope"]["signatures"][0]["keyid"]
        material["publicKey"] = {}

    made = bundles.parse_bundle(edited(edit))
    assert (made.key_hint, made.log_entries, made.timestamps, made.envelope.key_id) == ("", 0, 0, "")


def test_members_of_the_envelope_that_dsse_does_not_know_are_ignored() -> None:
    raw = edited(lambda v: v["dsseEnvelope"].update(extension={"kind": "x"}))
    assert bundles.parse_bundle(raw).envelope.payload == PAYLOAD


def test_what_is_signed_is_the_pre_authentication_encoding() -> None:
    # the example of the specification
    assert bundles.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert bundles.pae(IN_TOTO, PAYLOAD) == pae(IN_TOTO, PAYLOAD)


def test_both_alphabets_of_base64_are_read_and_no_second_spelling() -> None:
    assert bundles.decode_base64("-_8=", "x", 10) == bundles.decode_base64("+/8=", "x", 10) == b"\xfb\xff"
    for text in ("-/8=", "+/9=", "+/8", "+/8=\n", " +/8=", "+/8=+/8=", "ü"):
        with pytest.raises(Refused) as caught:
            bundles.decode_base64(text, "x", 10)
        assert caught.value.refusal is Refusal.MALFORMED, text


REFUSED: Final[dict[str, tuple[Refusal, Callable[[], bytes]]]] = {
    "too many bytes": (Refusal.OVERSIZED, lambda: b" " * (BUNDLE_MAX_BYTES + 1)),
    "too many parts": (Refusal.OVERSIZED, lambda: b"[" + b"[]," * 30_000 + b"[]]"),
    "a certificate of 100 KiB": (
        Refusal.OVERSIZED,
        lambda: edited(
            lambda v: v["verificationMaterial"]["certificate"].update(rawBytes=b64(b"x" * 100_000)), certified()
        ),
    ),
    "a signature of 100 KiB": (
        Refusal.OVERSIZED,
        lambda: edited(lambda v: v["dsseEnvelope"]["signatures"][0].update(sig=b64(b"x" * 100_000))),
    ),
    "a long hint": (
        Refusal.OVERSIZED,
        lambda: edited(lambda v: v["verificationMaterial"]["publicKey"].update(hint="x" * 2000)),
    ),
    "a thousand log entries": (
        Refusal.OVERSIZED,
        lambda: edited(lambda v: v["verificationMaterial"].update(tlogEntries=[{}] * 1000)),
    ),
    "a version to come": (
        Refusal.UNSUPPORTED,
        lambda: edited(lambda v: v.update(mediaType="application/vnd.dev.sigstore.bundle.v0.4+json")),
    ),
    "a message signature": (
        Refusal.UNSUPPORTED,
        lambda: edited(lambda v: (v.pop("dsseEnvelope"), v.update(messageSignature={"signature": "AA=="}))),
    ),
    "two signatures": (
        Refusal.UNSUPPORTED,
        lambda: edited(lambda v: v["dsseEnvelope"].update(signatures=v["dsseEnvelope"]["signatures"] * 2)),
    ),
    "no signature": (Refusal.UNSUPPORTED, lambda: edited(lambda v: v["dsseEnvelope"].update(signatures=[]))),
    "both contents": (Refusal.MALFORMED, lambda: edited(lambda v: v.update(messageSignature={"signature": "AA=="}))),
    "no content": (Refusal.MALFORMED, lambda: edited(lambda v: v.pop("dsseEnvelope"))),
    "no material": (Refusal.MALFORMED, lambda: edited(lambda v: v.pop("verificationMaterial"))),
    "a key and a certificate": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["verificationMaterial"].update(certificate={"rawBytes": "AAAA"})),
    ),
    "neither key nor certificate": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["verificationMaterial"].pop("publicKey")),
    ),
    "a chain in version 0.3": (Refusal.MALFORMED, lambda: json.dumps(certified(chain=True)).encode()),
    "a lone certificate in version 0.1": (Refusal.MALFORMED, lambda: json.dumps(certified(V01)).encode()),
    "an unknown member": (Refusal.MALFORMED, lambda: edited(lambda v: v.update(dsse_envelope={}))),
    "an unknown kind of material": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["verificationMaterial"].update(noKey={})),
    ),
    "an empty signature": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["dsseEnvelope"]["signatures"][0].update(sig="")),
    ),
    "no payload": (Refusal.MALFORMED, lambda: edited(lambda v: v["dsseEnvelope"].pop("payload"))),
    "a payload type that is none": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["dsseEnvelope"].update(payloadType="simplesigning")),
    ),
    "a payload that is no base64": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["dsseEnvelope"].update(payload="{}")),
    ),
    "a member twice": (
        Refusal.MALFORMED,
        lambda: json.dumps(good()).replace('"dsseEnvelope"', '"dsseEnvelope": {}, "dsseEnvelope"').encode(),
    ),
    "no JSON": (Refusal.MALFORMED, lambda: b"{"),
    "JSON of another kind": (Refusal.MALFORMED, lambda: b"[]"),
    "not a number": (Refusal.MALFORMED, lambda: b'{"a": NaN}'),
    "deep nesting": (Refusal.MALFORMED, lambda: b'{"a":' * 9000),
    "half of a surrogate pair": (
        Refusal.MALFORMED,
        lambda: edited(lambda v: v["dsseEnvelope"]["signatures"][0].update(keyid="\ud800")),
    ),
    "no UTF-8": (Refusal.MALFORMED, lambda: b'{"mediaType": "\xff"}'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_bundle_is_refused_for_its_reason(name: str) -> None:
    refusal, made = REFUSED[name]
    assert refusal_of(made()) is refusal


def only_refused(parse: Callable[[bytes], object], raw: bytes) -> None:
    caught: Refused | None = None
    try:
        parse(raw)
    except Refused as refused:
        caught = refused
    assert caught is None or caught.refusal in {Refusal.MALFORMED, Refusal.OVERSIZED, Refusal.UNSUPPORTED}


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"1" * 5000)
@example(b'"\\ud800"')
def test_arbitrary_bytes_are_only_ever_refused(raw: bytes) -> None:
    only_refused(bundles.parse_bundle, raw)
    only_refused(bundles.parse_envelope, raw)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(found for key, item in inner for found in paths(item, (*at, key)))]


@given(st.data(), JSON, st.booleans())
def test_a_bundle_with_any_member_changed_is_read_or_refused(data: st.DataObject, other: Any, chained: bool) -> None:
    made = certified(V02, chain=True) if chained else good()
    path = data.draw(st.sampled_from(paths(made)))
    if path:
        inner = made
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = other
    else:
        made = other
    only_refused(bundles.parse_bundle, json.dumps(made).encode())


@given(st.integers(0, 100_000), st.binary(max_size=3), st.integers(0, 5))
def test_a_bundle_with_bytes_cut_or_put_in_is_read_or_refused(at: int, put: bytes, cut: int) -> None:
    raw = json.dumps(good()).encode()
    at %= len(raw)
    only_refused(bundles.parse_bundle, raw[:at] + put + raw[at + cut :])


def test_a_bare_envelope_is_read() -> None:
    made = envelope(KEY, PAYLOAD)
    found = bundles.parse_envelope(json.dumps(made).encode())
    assert (found.payload_type, found.payload) == (IN_TOTO, PAYLOAD)
    assert b64(found.signature) == made["signatures"][0]["sig"]
