"""Keys of pins, and the references that may stand there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.gitops.keys import KEY_MAX_CHARS, STEPS_MAX, Document, Item, Key, Step
from reconciler.gitops.references import Verdict, judge, judge_parts, split
from state.errors import InvalidValue

DIGEST = "sha256:" + "ab" * 32
COMMIT = "0123456789abcdef0123456789abcdef01234567"

names = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
items = st.none() | st.builds(Item, names, st.from_regex(r"[a-z0-9][a-z0-9./:_-]{0,20}", fullmatch=True))
keys = st.builds(
    lambda document, steps, last: Key(document, (*steps, Step(last))),
    st.none()
    | st.builds(
        Document,
        st.from_regex(r"[A-Z][A-Za-z]{0,8}", fullmatch=True),
        st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True),
    ),
    st.lists(st.builds(Step, names, items), max_size=4),
    names,
)


@given(keys)
def test_a_key_has_one_spelling(key: Key) -> None:
    assert Key.parse(str(key)) == key


@given(st.text(alphabet="aZ0.-_[]=#/: \n\u00e9", max_size=30))
def test_whatever_is_read_as_a_key_is_written_back_as_it_was(text: str) -> None:
    try:
        key = Key.parse(text)
    except InvalidValue:
        return
    assert str(key) == text


@pytest.mark.parametrize(
    ("text", "document", "steps", "holds_digest"),
    [
        ("image.ref", None, ["image", "ref"], False),
        ("images[name=ghcr.io/acme/orders].digest", None, ["images[name=ghcr.io/acme/orders]", "digest"], True),
        (
            "CronJob/nightly.v2#spec.containers[name=app].image",
            Document("CronJob", "nightly.v2"),
            ["spec", "containers[name=app]", "image"],
            False,
        ),
    ],
)
def test_a_key_is_taken_apart(text: str, document: Document | None, steps: list[str], holds_digest: bool) -> None:
    key = Key.parse(text)
    assert (key.document, [str(s) for s in key.steps], key.holds_digest) == (document, steps, holds_digest)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a.", ".a", "a..b", "a b", "a\n", "a[0]", "a[n=]", "a[n=x", "a[n=x]]", "a[n=x][m=y].b", "a[n=x]b",
        "images[name=x]", "a/b", "#a", "Deployment#a", "Deployment/#a", "Deployment/Orders#a", "A/b#", "A/b#c#d",
        "a[n=x y].b", "größe", "a" * (KEY_MAX_CHARS + 1), ".".join(["a"] * (STEPS_MAX + 1)), "a[n=-x].b", "*", "a.*",
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        Key.parse(text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"ghcr.io/acme/orders@{DIGEST}", Verdict.PINNED),
        (f"alpine/k8s@{DIGEST}", Verdict.PINNED),
        (f"localhost:5000/orders@{DIGEST}", Verdict.PINNED),
        (f"[::1]:5000/orders@{DIGEST}", Verdict.PINNED),
        (f"ghcr.io/acme/orders:{COMMIT}@{DIGEST}", Verdict.PINNED),
        (f"ghcr.io/acme/orders:v1.2.3@{DIGEST}", Verdict.PINNED),
        (f"ghcr.io/acme/orders:1.2.3-rc.1@{DIGEST}", Verdict.PINNED),
        (f"ghcr.io/acme/orders:v1.2.3_build.7@{DIGEST}", Verdict.PINNED),
        (f"ghcr.io/acme/orders:main@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:latest@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:1@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:1.27@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:01.2.3@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:{COMMIT[:12]}@{DIGEST}", Verdict.FLOATING_TAG),
        (f"ghcr.io/acme/orders:{COMMIT.upper()}@{DIGEST}", Verdict.FLOATING_TAG),
        ("ghcr.io/acme/orders:v1.2.3", Verdict.NO_DIGEST),
        (f"ghcr.io/acme/orders:{COMMIT}", Verdict.NO_DIGEST),
        ("ghcr.io/acme/orders", Verdict.NO_DIGEST),
        ("localhost:5000/orders", Verdict.NO_DIGEST),
        ("nginx", Verdict.NO_DIGEST),
        ("", Verdict.EMPTY),
        (" ", Verdict.MALFORMED),
        (f"ghcr.io/acme/orders@{DIGEST} ", Verdict.MALFORMED),
        (f"ghcr.io/acme/orders@{DIGEST}@{DIGEST}", Verdict.MALFORMED),
        (f"ghcr.io/acme/orders@{DIGEST[:-1]}", Verdict.MALFORMED),
        (f"ghcr.io/acme/orders@{DIGEST.upper()}", Verdict.MALFORMED),
        ("ghcr.io/acme/orders@sha512:" + "ab" * 64, Verdict.MALFORMED),
        (f"ghcr.io/acme/Orders@{DIGEST}", Verdict.MALFORMED),
        (f"ghcr.io/acme/orders:@{DIGEST}", Verdict.MALFORMED),
        (f"@{DIGEST}", Verdict.MALFORMED),
        (f"https://ghcr.io/acme/orders@{DIGEST}", Verdict.MALFORMED),
        ("{{ .Values.image }}", Verdict.MALFORMED),
        ("ghcr.io/" + "a/" * 600 + f"a@{DIGEST}", Verdict.MALFORMED),
    ],
)
def test_the_grammar_of_references(text: str, verdict: Verdict) -> None:
    assert judge(text).verdict is verdict
    assert judge(text).reason


@pytest.mark.parametrize(
    ("tag", "digest", "verdict"),
    [
        (None, DIGEST, Verdict.PINNED),
        ("", DIGEST, Verdict.PINNED),
        ("v1.2.3", DIGEST, Verdict.PINNED),
        (f"v1.2.3@{DIGEST}", None, Verdict.PINNED),
        (f"v1.2.3@{DIGEST}", DIGEST, Verdict.PINNED),
        (f"v1.2.3@{DIGEST}", "sha256:" + "cd" * 32, Verdict.MALFORMED),
        (f"main@{DIGEST}", None, Verdict.FLOATING_TAG),
        ("main", DIGEST, Verdict.FLOATING_TAG),
        ("v1.2.3", None, Verdict.NO_DIGEST),
        ("v1.2.3", "", Verdict.NO_DIGEST),
        (None, None, Verdict.NO_DIGEST),
        (None, "sha256:abc", Verdict.MALFORMED),
        ("a b", DIGEST, Verdict.MALFORMED),
    ],
)
def test_a_tag_and_a_digest_apart(tag: str | None, digest: str | None, verdict: Verdict) -> None:
    assert judge_parts(tag, digest).verdict is verdict


@given(st.text(max_size=60))
def test_any_text_has_a_verdict(text: str) -> None:
    found = split(text)
    assert (judge(text).verdict in {Verdict.MALFORMED, Verdict.EMPTY}) == (found is None)
