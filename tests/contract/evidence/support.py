"""Bundles as found in a registry, and what an authority says of them."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

import pytest

from reconciler.evidence.authority import Authority
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE, Found, Layout, Refused
from reconciler.evidence.trusted_root import RootAuthority
from state.oci import Digest
from state.verdict import Refusal
from tests.fixtures.evidence import b64

Edit = Callable[[dict[str, Any]], None]
SUBJECT: Final = "sha256:" + "ab" * 32


def found(bundle: dict[str, Any] | bytes, layout: Layout = Layout.BUNDLE) -> Found:
    raw = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return Found(layout, Digest.of(raw), BUNDLE_MEDIA_TYPE, raw, {})


def believing(trusted_root: dict[str, Any], *, log: bool = True) -> RootAuthority:
    return RootAuthority.from_bytes(json.dumps(trusted_root).encode(), "trusted_root.json", transparency_log=log)


def refusal(authority: Authority, piece: Found | dict[str, Any]) -> tuple[Refusal, str]:
    """Why `authority` does not believe it."""
    with pytest.raises(Refused) as caught:
        authority.prove(piece if isinstance(piece, Found) else found(piece))
    return caught.value.refusal, caught.value.text


def flipped(text: str) -> str:
    """Base64 of the same bytes, but one bit."""
    raw = bytearray(b64decode(text))
    raw[len(raw) // 2] ^= 1
    return b64(bytes(raw))
