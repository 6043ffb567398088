"""Values of the OCI specifications are parsed strictly, once."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import IntegrityError, InvalidValue
from state.oci import OCI_INDEX, Descriptor, Digest, Manifest, Repository, Tag
from tests.thorough import examples

many = examples(300)
HEX = "0123456789abcdef" * 4


@many
@given(st.binary())
def test_a_digest_is_of_the_bytes_it_matches(raw: bytes) -> None:
    made = Digest.of(raw)
    assert made == "sha256:" + hashlib.sha256(raw).hexdigest()
    assert made.matches(raw)
    assert not made.matches(raw + b"\0")
    assert Digest(str(made)) == made
    assert (made.hex, made.short) == (made[7:], made[:19])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{'٠' * 64}",
        f"sha256:{'０' * 64}",
        None,
        5,
        f"sha256:{HEX}".encode(),
    ],
)
def test_a_malformed_digest_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue, match="digest"):
        Digest(text)  # type: ignore[arg-type]


@many
@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_a_tag_is_its_text(text: str) -> None:
    assert Tag(text) == text


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a:b", "a b", "a\n", "ä", "٣", "a\x00", None])
def test_a_malformed_tag_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue, match="tag"):
        Tag(text)  # type: ignore[arg-type]


def test_the_longest_tag_has_128_characters() -> None:
    assert len(Tag("a" * 128)) == 128


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("ghcr.io/acme/orders", "ghcr.io", "acme/orders"),
        ("localhost/x", "localhost", "x"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000", "x"),
        ("registry:5000/a/b/c", "registry:5000", "a/b/c"),
        ("[::1]:5000/x", "[::1]:5000", "x"),
        ("ghcr.io/a/b.c_d__e-f--g", "ghcr.io", "a/b.c_d__e-f--g"),
        (f"a.b/{'x' * 251}", "a.b", "x" * 251),
    ],
)
def test_a_repository_is_a_host_and_a_path(text: str, host: str, path: str) -> None:
    made = Repository(text)
    assert (made, made.host, made.path) == (text, host, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "acme/orders",
        "ghcr.io",
        "ghcr.io/",
        "/acme",
        "ghcr.io//acme",
        "ghcr.io/acme/",
        "ghcr.io/Acme/orders",
        "GHCR.io/acme/orders",
        "ghcr.io/acme/orders:main",
        f"ghcr.io/acme/orders@sha256:{HEX}",
        "https://ghcr.io/acme",
        "user:secret@ghcr.io/acme",
        "ghcr.io:/acme",
        "ghcr.io:123456/acme",
        "ghcr.io:port/acme",
        "ghcr.io:٣/acme",
        "ghcr.io/acme/../x",
        "ghcr.io/./x",
        "ghcr.io/a___b",
        "ghcr.io/a..b",
        "ghcr.io/-a",
        "ghcr.io/a_",
        "ghcr..io/acme",
        "-ghcr.io/acme",
        "ghcr-.io/acme",
        "ghcr.io/acme\n",
        "ghcr.io/acme\x00",
        "ghcr.io/äcme",
        f"a.b/{'x' * 252}",
        None,
    ],
)
def test_a_malformed_repository_is_refused(text: object) -> None:
    with pytest.raises(InvalidValue, match="repository"):
        Repository(text)  # type: ignore[arg-type]


@many
@given(st.text(max_size=40) | st.text("aA.:/-_0[]@\n", max_size=20))
def test_any_text_is_accepted_as_it_is_or_refused(text: str) -> None:
    for kind in (Digest, Tag, Repository):
        with contextlib.suppress(InvalidValue):
            assert kind(text) == text


def test_what_a_stranger_wrote_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidValue) as caught:
        Repository("x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [Digest.of(b""), Tag("main"), Repository("ghcr.io/acme/orders")])
def test_a_value_is_still_checked_text_after_a_copy(value: str) -> None:
    for made in (copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301
        assert made == value
        assert type(made) is type(value)


def test_a_manifest_keeps_its_bytes_and_knows_their_digest() -> None:
    raw = b'{ "schemaVersion":2,\n "manifests":[] }'
    made = Manifest.of(OCI_INDEX, raw)
    assert made.raw == raw
    assert made.descriptor == Descriptor(OCI_INDEX, Digest.of(raw), len(raw))
    assert Manifest.checked(OCI_INDEX, raw, made.digest, "here") == made


def test_other_bytes_than_were_asked_for_are_an_integrity_error_that_names_the_place() -> None:
    with pytest.raises(IntegrityError, match=r"ghcr\.io/acme/orders: asked for sha256:.* got bytes of sha256:"):
        Manifest.checked(OCI_INDEX, b"{}", Digest.of(b"other"), "ghcr.io/acme/orders")


@pytest.mark.parametrize(
    "text", ["", "json", "a/", "/b", "a/b/c", "a/b; charset=utf-8", "a/b\n", "ä/b", "a/" + "b" * 128]
)
def test_a_malformed_media_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="media type"):
        Manifest.of(text, b"{}")
