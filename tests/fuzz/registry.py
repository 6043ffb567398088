"""Targets: what a registry answers, and what a client sends to the embedded one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from reconciler.adapters.http_errors import retry_after_header_s
from reconciler.adapters.registry_answers import announced_digest, media_type, next_page, tag_page
from reconciler.adapters.registry_auth import _granted, challenges
from reconciler.adapters.registry_errors import PAUSE_MAX_S, is_rate_limit, refusal, retry_after_s
from reconciler.adapters.registry_referrers import ReferrersIndex
from reconciler.evidence.finding import _children, _descriptor, _layers
from reconciler.evidence.found import Refused
from reconciler.registry import manifests
from reconciler.registry.errors import WireError
from state.errors import InvalidValue, ReconcilerError, Unavailable
from state.oci import OCI_INDEX, Manifest
from state.release_set import layer_of
from tests.fuzz.target import Target, answer, each

_NOW: Final = datetime(2026, 1, 31, tzinfo=UTC)


def manifest_answer(raw: bytes) -> None:
    got = answer(raw)
    each(lambda: media_type(got, "manifest"), lambda: announced_digest(got, "manifest"))


def tags(raw: bytes) -> None:
    tag_page(answer(raw), "tags", 1 << 20)


def link(raw: bytes) -> None:
    url = next_page(answer(raw), "https://registry.test/v2/", "acme/orders/tags/list", "tags")
    assert url is None or url.startswith("https://registry.test/v2/acme/orders/tags/list?")


def refused(raw: bytes) -> None:
    got = answer(raw)
    is_rate_limit(got)
    error = refusal(got, "manifest", now=_NOW, cooldown_s=60)
    assert isinstance(error, ReconcilerError)
    assert "dTpwdw==" not in str(error)


def retry_after(raw: bytes) -> None:
    """The whole input is the header, since the pause may be a number, a date or anything."""
    got = answer(b"429\nRetry-After: " + raw)
    asked_s = retry_after_header_s(got, _NOW)
    assert asked_s is None or asked_s >= 0
    pause_s = retry_after_s(got, _NOW)
    assert pause_s is None or 0 <= pause_s <= PAUSE_MAX_S


def www_authenticate(raw: bytes) -> None:
    for challenge in challenges(raw.decode("latin-1")):
        assert challenge.scheme == challenge.scheme.lower()


def token(raw: bytes) -> None:
    _granted(answer(b"200\n\n" + raw), "token")


def referrers(raw: bytes) -> None:
    index = ReferrersIndex.parse(raw)
    kept = index.entries()
    # What is written again has to be readable again, with nothing lost.
    again = ReferrersIndex.parse(index.with_entries(kept[:1]).raw)
    assert len(again.entries()) == len(kept) + len(kept[:1])


def manifest(raw: bytes) -> None:
    given = Manifest.of(OCI_INDEX, raw)
    each(
        lambda: [_descriptor(row) for row in _children(given)],
        lambda: [_descriptor(row) for row in _layers(given)],
        lambda: layer_of(given),
        allowed=(Refused, InvalidValue),
    )


def pushed_manifest(raw: bytes) -> None:
    kind, _, body = raw.partition(b"\n")
    manifests.parse(manifests.media_type_of(kind.decode("latin-1"), body), body)


TARGETS: Final = (
    Target("registry-manifest-answer", manifest_answer),
    Target("registry-tags", tags, (Unavailable,)),
    Target("registry-link", link),
    Target("registry-refusal", refused, ()),
    Target("retry-after", retry_after, (), max_len=512),
    Target("www-authenticate", www_authenticate, (), max_len=16 * 1024),
    Target("registry-token", token, (Unavailable,)),
    Target("referrers-index", referrers, (InvalidValue,)),
    Target("manifest", manifest, ()),
    Target("pushed-manifest", pushed_manifest, (WireError,)),
)
