"""Targets: names and addresses, as configuration, commands and answers carry them."""

from __future__ import annotations

from typing import Final

from reconciler.adapters.http_errors import shown_url
from reconciler.adapters.http_transport import Origin, joined
from reconciler.gitops import references
from reconciler.gitops.keys import Key
from state import git_url
from state.git import CommitId, RefName
from state.oci import Digest, Manifest, Repository, Tag
from tests.fuzz.target import Target, each, text


def oci_reference(raw: bytes) -> None:
    given = text(raw)
    each(
        lambda: Repository(given),
        lambda: Tag(given),
        lambda: Digest(given),
        lambda: Manifest.of(given, b""),
        lambda: references.judge(given),
    )


def git_address(raw: bytes) -> None:
    given = text(raw)
    each(lambda: git_url.transport(given), lambda: git_url.log_transport(given))
    assert git_url.safe(given).isprintable()


def git_name(raw: bytes) -> None:
    given = text(raw)
    each(lambda: RefName(given), lambda: CommitId(given))


def web_address(raw: bytes) -> None:
    given = text(raw)
    shown_url(given)
    each(lambda: Origin.of(given), lambda: Origin.of(joined("https://registry.test/v2/", given, "link")))


def pin_key(raw: bytes) -> None:
    given = text(raw)
    assert str(Key.parse(given)) == given


TARGETS: Final = (
    Target("oci-reference", oci_reference, max_len=512),
    Target("git-url", git_address, max_len=2048),
    Target("git-name", git_name, max_len=512),
    Target("web-address", web_address, max_len=2048),
    Target("pin-key", pin_key, max_len=1024),
)
