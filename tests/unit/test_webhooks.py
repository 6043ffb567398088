"""Signatures of deliveries and what they hint at, against the published vectors and payloads."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.webhooks.hints import Hint, hint_of
from reconciler.webhooks.signatures import TOLERANCE_S, Sender, is_signed
from state.errors import InvalidValue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = Path(__file__).parents[1] / "data" / "webhooks"
GITHUB_SECRET, GITHUB_BODY = "It's a Secret to Everybody", b"Hello, World!"
GITHUB_SIGNATURE = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""Source: docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation"."""
STANDARD_SECRET, STANDARD_BODY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
STANDARD_AT = datetime.fromtimestamp(1614265330, UTC)
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
"""Source: the test vector of the standard-webhooks libraries."""


MERGE_REQUEST = {"project": {"id": 7}, "object_attributes": {"iid": 3}}


def github(signature: str, *secrets: str, body: bytes = GITHUB_BODY) -> bool:
    return is_signed(Sender.GITHUB, secrets or (GITHUB_SECRET,), {"x-hub-signature-256": signature}, body, NOW)


def test_github_s_published_vector_is_signed() -> None:
    assert github(f"sha256={GITHUB_SIGNATURE}")


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        GITHUB_SIGNATURE,
        f"sha1={GITHUB_SIGNATURE}",
        f"sha256={GITHUB_SIGNATURE[:-1]}",
        f"sha256={GITHUB_SIGNATURE.upper()}",
        f" sha256={GITHUB_SIGNATURE}",
        f"sha256={GITHUB_SIGNATURE}, sha256={GITHUB_SIGNATURE}",
        "sha256=é",
        "\udcff",
    ],
)
def test_no_other_text_is_a_signature_of_github(signature: str) -> None:
    assert not github(signature)


def test_one_byte_more_or_another_secret_is_not_signed() -> None:
    assert not github(f"sha256={GITHUB_SIGNATURE}", body=GITHUB_BODY + b"\n")
    assert not github(f"sha256={GITHUB_SIGNATURE}", "another")


def test_the_header_with_sha1_alone_lets_nobody_in() -> None:
    made = hmac.digest(GITHUB_SECRET.encode(), GITHUB_BODY, "sha1").hex()
    headers = {"x-hub-signature": f"sha1={made}"}
    assert not is_signed(Sender.GITHUB, (GITHUB_SECRET,), headers, GITHUB_BODY, NOW)


def test_while_a_secret_is_rotated_the_old_and_the_new_one_count() -> None:
    assert github(f"sha256={GITHUB_SIGNATURE}", "new", GITHUB_SECRET)
    assert github(f"sha256={GITHUB_SIGNATURE}", GITHUB_SECRET, "new")


@pytest.mark.parametrize("sender", Sender)
def test_without_a_secret_nobody_is_let_in(sender: Sender) -> None:
    empty = hmac.digest(b"", GITHUB_BODY, "sha256").hex()
    headers = {
        "x-hub-signature-256": f"sha256={empty}",
        "x-gitea-signature": empty,
        "x-gitlab-token": "",
    }
    assert not is_signed(sender, (), headers, GITHUB_BODY, NOW)


@pytest.mark.parametrize("header", ["x-gitea-signature", "x-forgejo-signature"])
def test_gitea_and_forgejo_sign_with_bare_hex(header: str) -> None:
    """The bytes are GitHub's vector: both make HMAC-SHA256 of the body in hex."""

    def check(signature: str) -> bool:
        return is_signed(Sender.GITEA, (GITHUB_SECRET,), {header: signature}, GITHUB_BODY, NOW)

    assert check(GITHUB_SIGNATURE)
    assert not check(f"sha256={GITHUB_SIGNATURE}")
    assert not check("")


def test_gitlab_s_secret_token_is_the_secret_itself() -> None:
    def check(sent: dict[str, str]) -> bool:
        return is_signed(Sender.GITLAB, ("s3cret",), sent, b"{}", NOW)

    assert check({"x-gitlab-token": "s3cret"})
    assert not check({"x-gitlab-token": "s3cre"})
    assert not check({})


def standard(headers: dict[str, str], *, at: datetime = STANDARD_AT, secret: str = STANDARD_SECRET) -> bool:
    return is_signed(Sender.GITLAB, (secret,), headers, STANDARD_BODY, at)


def test_the_published_vector_of_standard_webhooks_is_signed() -> None:
    assert standard(STANDARD)
    assert standard({**STANDARD, "webhook-signature": f"v1,AAAA {STANDARD['webhook-signature']}"})


@pytest.mark.parametrize("left_out", STANDARD)
def test_a_signing_token_needs_every_header(left_out: str) -> None:
    assert not standard({k: v for k, v in STANDARD.items() if k != left_out})


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "1614265330.0"},
        {"webhook-timestamp": "-1614265330"},
        {"webhook-timestamp": "²"},
        {"webhook-signature": STANDARD["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": STANDARD["webhook-signature"].replace("v1", "v1a")},
    ],
)
def test_what_was_signed_cannot_be_changed(changed: dict[str, str]) -> None:
    assert not standard(STANDARD | changed)


@pytest.mark.parametrize(("seconds", "counts"), [(TOLERANCE_S, True), (TOLERANCE_S + 1, False)])
@pytest.mark.parametrize("way", [1, -1])
def test_a_signature_ages(seconds: int, counts: bool, way: int) -> None:
    assert standard(STANDARD, at=STANDARD_AT + way * timedelta(seconds=seconds)) is counts


def test_a_signing_token_is_never_taken_as_a_plain_one() -> None:
    assert not standard({"x-gitlab-token": STANDARD_SECRET})


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64"])
def test_an_unusable_signing_token_lets_nobody_in(secret: str) -> None:
    made = hmac.digest(b"", b"msg.1614265330." + STANDARD_BODY, "sha256")
    headers = {**STANDARD, "webhook-id": "msg", "webhook-signature": f"v1,{base64.b64encode(made).decode()}"}
    assert not standard(headers, secret=secret)


@pytest.mark.parametrize(
    ("sender", "file", "hint"),
    [
        (Sender.GITHUB, "pull_request_opened", Hint(186853002, 2)),
        (Sender.GITHUB, "pull_request_synchronize", Hint(186853002, 2)),
        (Sender.GITHUB, "pull_request_closed", Hint(186853002, 2)),
        (Sender.GITHUB, "push", Hint(186853002, None)),
        (Sender.GITHUB, "ping", Hint(186853261, None)),
        (Sender.GITEA, "pull_request", Hint(1, 2)),
        (Sender.GITEA, "pull_request_label", Hint(1, 2)),
        (Sender.GITEA, "push", Hint(1, None)),
        (Sender.GITEA, "create", Hint(1, None)),
        (Sender.GITLAB, "merge_request", Hint(1, 1)),
        (Sender.GITLAB, "note_merge_request", Hint(5, None)),
        (Sender.GITLAB, "issue", Hint(1, None)),  # its iid is no merge request's
        (Sender.GITLAB, "push", Hint(15, None)),
        (Sender.GITLAB, "tag_push", Hint(1, None)),
    ],
)
def test_a_recorded_delivery_hints_at_its_pull_request(sender: Sender, file: str, hint: Hint) -> None:
    assert hint_of(sender, (DATA / sender.value / f"{file}.json").read_bytes()) == hint


@pytest.mark.parametrize(
    ("sender", "body", "hint"),
    [
        (Sender.GITEA, {"repository": {"id": 7}, "number": 3, "pull_request": {"number": 3}}, Hint(7, 3)),
        (Sender.GITEA, {"repository": {"id": 7}, "ref": "refs/heads/main"}, Hint(7, None)),
        (
            Sender.GITLAB,
            {"object_kind": "merge_request", "project": {"id": 7}, "object_attributes": {"iid": 3}},
            Hint(7, 3),
        ),
        (Sender.GITLAB, {"object_kind": "issue", "project": {"id": 7}, "object_attributes": {"iid": 3}}, Hint(7, None)),
        (Sender.GITHUB, {"action": "published"}, Hint(None, None)),
        (Sender.GITHUB, {"repository": {"id": True}, "pull_request": {"number": "3"}}, Hint(None, None)),
        (Sender.GITHUB, {"repository": {"id": 0}, "pull_request": {"number": -1}}, Hint(None, None)),
        (Sender.GITHUB, {"repository": {"id": 2**53}, "pull_request": []}, Hint(None, None)),
        (Sender.GITHUB, {"repository": 7}, Hint(None, None)),
    ],
)
def test_only_whole_positive_ids_hint_at_anything(sender: Sender, body: dict[str, object], hint: Hint) -> None:
    assert hint_of(sender, json.dumps(body).encode()) == hint


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 10_000 + b"}"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        hint_of(Sender.GITHUB, body)


@given(
    sender=st.sampled_from(Sender),
    headers=st.dictionaries(
        st.sampled_from(["x-hub-signature-256", "x-gitea-signature", "x-gitlab-token", *STANDARD]), st.text()
    ),
    body=st.binary(),
)
def test_whatever_a_stranger_sends_is_not_signed(sender: Sender, headers: dict[str, str], body: bytes) -> None:
    assert not is_signed(sender, ("a secret nobody guesses", STANDARD_SECRET), headers, body, NOW)


@given(st.binary())
def test_any_bytes_give_a_hint_or_the_one_error(body: bytes) -> None:
    try:
        found = hint_of(Sender.GITLAB, body)
    except InvalidValue:
        return
    assert isinstance(found, Hint)
