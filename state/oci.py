"""Values of the OCI specifications, parsed once and strictly.

Source: OCI distribution-spec v1.1.1 (Pulling manifests, `<name>` and `<reference>`), image-spec v1.1.1 (descriptor).
A value is a `str` with a checked form, so it hashes, sorts and serialises as its text does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Self

from state.errors import IntegrityError, InvalidValue
from state.shared import shared

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST: Final = (
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY: Final = re.compile(rf"(?P<host>{_HOST})/(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_MEDIA_TYPES: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST)

MANIFEST_MAX_BYTES: Final = 4 * 1024 * 1024
"""The size every registry must take (distribution-spec v1.1.1, Pushing Manifests); larger answers are refused."""


def _shown(text: object) -> str:
    return repr(text if not isinstance(text, str) or len(text) <= 80 else text[:77] + "...")


class Digest(str):
    """`sha256:` and 64 lower-case hex digits. Raises InvalidValue."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return shared(text, cls, cls._checked)

    @classmethod
    def _checked(cls, text: str) -> Self:
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise InvalidValue(f"digest: expected sha256: and 64 lower-case hex digits, got {_shown(text)}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The digest of these bytes."""
        return super().__new__(cls, "sha256:" + hashlib.sha256(raw).hexdigest())  # needs no check: made here

    @property
    def hex(self) -> str:
        return self[7:]

    @property
    def short(self) -> str:
        """For people only: the algorithm and the first 12 hex digits."""
        return self[:19]

    def matches(self, raw: bytes) -> bool:
        """Whether these bytes have this digest, compared in constant time."""
        return hmac.compare_digest(Digest.of(raw), self)


class Tag(str):
    """A tag: at most 128 of `[A-Za-z0-9_.-]`, not starting with `.` or `-`. Raises InvalidValue."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not isinstance(text, str) or not _TAG.fullmatch(text):
            raise InvalidValue(
                f"tag: expected 1 to 128 of [A-Za-z0-9_.-], not starting with . or -, got {_shown(text)}"
            )
        return super().__new__(cls, text)


class Repository(str):
    """`host[:port]/path`: the host is always explicit, the path lower-case. Raises InvalidValue."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return shared(text, cls, cls._checked)

    @classmethod
    def _checked(cls, text: str) -> Self:
        if not isinstance(text, str) or len(text) > 255 or not (match := _REPOSITORY.fullmatch(text)):
            raise InvalidValue(f"repository: expected host[:port]/lower-case/path, got {_shown(text)}")
        host = match["host"]
        if not ("." in host or ":" in host or host == "localhost"):
            raise InvalidValue(f"repository: expected a registry host before the first /, got {_shown(text)}")
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        return self.split("/", 1)[0]

    @property
    def path(self) -> str:
        return self.split("/", 1)[1]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a registry says of a manifest: media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The exact bytes of a manifest or index and the media type they were served with.

    The bytes are never parsed and written again: a retag moves them as they are. `digest` is theirs.
    """

    media_type: str
    raw: bytes
    digest: Digest

    @classmethod
    def of(cls, media_type: str, raw: bytes) -> Self:
        """The manifest with the digest of its bytes. Raises InvalidValue on a malformed media type."""
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise InvalidValue(f"media type: expected type/subtype, got {_shown(media_type)}")
        return cls(media_type, raw, Digest.of(raw))

    @classmethod
    def checked(cls, media_type: str, raw: bytes, expected: Digest, where: str) -> Self:
        """The manifest, if its bytes have the digest `expected`. Raises IntegrityError otherwise."""
        made = cls.of(media_type, raw)
        if not hmac.compare_digest(made.digest, expected):
            raise IntegrityError(f"{where}: asked for {expected}, got bytes of {made.digest}; nothing was used")
        return made

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, self.digest, len(self.raw))
