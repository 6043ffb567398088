"""Digests and names as this registry takes them.

Source: OCI image-spec v1.1.1, descriptor.md (Digests; Registered Algorithms: sha256 and sha512), distribution-spec
v1.1.1 (`<name>`, `<reference>`). The project itself writes only sha256, which is `state.oci.Digest`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final, Self

from reconciler.registry.errors import Code, WireError
from state.errors import InvalidValue
from state.oci import Repository, Tag

if TYPE_CHECKING:
    from hashlib import _Hash

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class ContentDigest(str):
    """`sha256:` and 64, or `sha512:` and 128, lower-case hex digits. Raises WireError DIGEST_INVALID."""

    __slots__ = ()

    def __new__(cls, text: object) -> Self:
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            shown = repr(text)[:100]
            raise WireError(Code.DIGEST_INVALID, f"digest: expected sha256: or sha512: and lower-case hex, got {shown}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, raw: bytes, algorithm: str = "sha256") -> Self:
        """The digest of these bytes."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    def hasher(self) -> _Hash:
        """A fresh hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, raw: bytes) -> bool:
        """Whether these bytes have this digest."""
        return hmac.compare_digest(ContentDigest.of(raw, self.algorithm), self)


def repository_name(text: str) -> str:
    """The `<name>` of a URL. Raises WireError NAME_INVALID.

    The grammar and the length limit are those of `state.oci.Repository`: clients bound host, `/` and name to 255.
    """
    try:
        return Repository(f"localhost/{text}").path
    except InvalidValue:
        raise WireError(
            Code.NAME_INVALID, f"name: expected lower-case path components, at most 245 characters, got {text[:80]!r}"
        ) from None


def tag_name(text: str) -> Tag | None:
    """The tag, or None if this text cannot be one."""
    try:
        return Tag(text)
    except InvalidValue:
        return None
