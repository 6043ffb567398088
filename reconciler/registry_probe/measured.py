"""What the probe saw, as plain values. `None` always means: could not be measured here, never `no`.

The field names are the keys of `ameide registry probe --json`; a change of their meaning raises `VERSION`.
Source of the behaviours: distribution-spec v1.1.1 and its main branch (multi-tag PUT).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

VERSION: Final = 1


class Mode(StrEnum):
    """How referrers of a digest are found."""

    API = "api"
    TAG_SCHEMA = "tag-schema"
    UNCLEAR = "unclear"


class Order(StrEnum):
    """The order of a tag listing, as far as the probe's own four tags show it."""

    ASCII = "ascii"
    CASE_INSENSITIVE = "case-insensitive"
    PUSHED = "as-pushed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Lag:
    """How long reads lagged behind a write: until one showed it, or until the probe gave up (`shown` false)."""

    shown: bool
    reads: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Manifests:
    """Plain writes and reads of one OCI image manifest with odd spacing."""

    absent_tag_status: int
    put_names_digest: bool
    bytes_kept: bool
    new_tag: Lag
    moved_tag: Lag | None
    listed_tag: Lag


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to `tags/list`: how many tags it had, and whether a Link led to more."""

    tags: int
    more: bool


@dataclass(frozen=True, slots=True)
class Paging:
    """Tag listings. `total` is every tag in the repository at that moment, the probe's own included."""

    total: int
    without_n: Page | None
    n_1: Page | None
    n_1000: Page | None
    n_10000: Page | None
    next_page_continues: bool | None
    order: Order


@dataclass(frozen=True, slots=True)
class Referrers:
    """The referrers API and its fallback, the tag schema."""

    mode: Mode
    push_status: int
    oci_subject: bool
    api_status: int
    api_is_index: bool
    listed: bool
    complete_descriptor: bool
    filter_announced: bool
    filter_applied: bool | None
    tag_schema_status: int | None
    tag_schema_moves: bool | None


@dataclass(frozen=True, slots=True)
class Immutability:
    """PUT of a tag that exists. `same_digest_counts`: whether our own client takes the answer for a success."""

    same_digest_status: int
    same_digest_counts: bool
    other_digest_status: int
    other_digest_moves: bool


@dataclass(frozen=True, slots=True)
class Conditional:
    """RFC 9110 preconditions; the `put_…` values are None where an existing tag cannot be written at all."""

    etag: bool
    get_status: int
    head_status: int
    put_if_match_honoured: bool | None
    put_create_only_honoured: bool | None


@dataclass(frozen=True, slots=True)
class Deletion:
    """DELETE of a tag, and of a digest with two tags and one referrer. None: the deletion before it was refused."""

    tag_status: int
    tag_gone: bool | None
    tag_spares_digest: bool | None
    digest_status: int
    digest_gone: bool | None
    digest_takes_tags: bool | None
    digest_takes_referrer: bool | None


@dataclass(frozen=True, slots=True)
class Docker:
    """A Docker schema 2 manifest."""

    status: int
    media_type_kept: bool | None
    bytes_kept: bool | None


@dataclass(frozen=True, slots=True)
class Size:
    """A manifest of so many bytes: the answer to its PUT (0: none), and whether it was read back byte for byte."""

    bytes: int
    status: int
    read_back: bool | None


@dataclass(frozen=True, slots=True)
class MultiTag:
    """PUT by digest with two `tag` parameters: how many the answer confirms in OCI-Tag, and how many then exist."""

    status: int
    confirmed: int
    exist: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything about one registry, as its scratch repository showed it."""

    tags_before: int
    manifests: Manifests
    paging: Paging
    referrers: Referrers
    immutability: Immutability
    conditional: Conditional
    deletion: Deletion
    docker_schema_2: Docker
    manifest_sizes: tuple[Size, ...]
    multi_tag: MultiTag


@dataclass(frozen=True, slots=True)
class Left:
    """Something the probe made and could not remove, and why."""

    kind: str
    name: str
    why: str
