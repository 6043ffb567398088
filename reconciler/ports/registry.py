"""Tags, manifests, artifacts and blobs of OCI registries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from state.oci import Descriptor, Digest, Manifest, Repository, Tag

REFERRERS_MAX: Final = 1000


class Referrer(NamedTuple):
    """One entry of a referrers list. `annotations` are the descriptor's."""

    descriptor: Descriptor
    artifact_type: str
    annotations: Mapping[str, str]


class RegistryReader(Protocol):
    """Manifests and tags by the OCI distribution-spec v1.1.1. Every read is bounded in bytes, pages and time."""

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        """The digest behind `tag` by HEAD; None on a 404, which alone is not proof of absence (design invariant 2)."""

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """The exact bytes and media type; None on a 404.

        Raises IntegrityError if the bytes have another digest than the one asked for or announced,
        Terminal if they are more than MANIFEST_MAX_BYTES.
        """

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        """Every tag, in the registry's order, without duplicates; None on a 404. Follows Link, never loops."""


TAGS_PER_PUT: Final = 10
"""The most tags that every registry which knows of several in one request takes. Source: distribution-spec main."""


class RegistryWriter(Protocol):
    """Writing tags."""

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        """Store `manifest` under `tag`, byte for byte, with its own media type.

        An existing tag is overwritten: whether that may happen is the caller's decision. `confirm` is called right
        before each request is sent, after every wait for a turn: what it raises is raised, and nothing is sent.
        Returns only on a 201 (or 200) whose `Docker-Content-Digest` is the manifest's. Source: distribution-spec
        v1.1.1, end-7.

        Raises:
            IntegrityError: the registry answers with another digest.
            Denied: 401 or 403 after one fresh token.
            Transient: 408, 429, 5xx, or no answer in time. The write may or may not have happened.
        """

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag] | None:
        """Store `manifest` under all `tags` (at most TAGS_PER_PUT) in one request; those the registry confirmed.

        A tag that is not in the answer is put by itself; it may have been written all the same. None where nothing was
        sent, since the registry is known not to know such a request. Raises as `put_manifest`, for all tags alike.
        Source: distribution-spec main (2026), end-7 with `?tag=` and `OCI-Tag`.
        """


class TagRemover(Protocol):
    """Taking tags away, one at a time."""

    def untag(self, repository: Repository, tag: Tag, confirm: Callable[[], None] | None = None) -> bool:
        """Remove one tag; False if there was none. Whether its digest keeps its other tags is the registry's doing:
        measure it first. `confirm` as in `put_manifest`. Source: distribution-spec v1.1.1, "Deleting Tags".

        Raises Unsupported if the registry does not remove tags, Denied, Transient (it may be gone or not).
        """


class ArtifactReader(Protocol):
    """What is attached to digests, and the bytes of it."""

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """See RegistryReader."""

    def referrers(self, repository: Repository, subject: Digest) -> Sequence[Referrer]:
        """Everything that is attached to `subject`: the referrers API, and the tag `sha256-<hex>` beside it.

        Both are read and merged by digest, since a registry may have learned the API after others wrote the tag; a
        registry without the API (404, 303, 405, 429, HTML) is read by the tag alone. Entries without a known type
        are returned with an empty `artifact_type`, never dropped. Empty where nothing is there.

        Raises Terminal beyond REFERRERS_MAX entries, Transient or Denied if neither way gives a usable answer.
        Source: distribution-spec v1.1.1, "Listing Referrers" and "Unavailable Referrers API".
        """

    def blob(self, repository: Repository, digest: Digest, max_bytes: int) -> bytes | None:
        """A blob's bytes, checked against `digest`; None on a 404.

        Raises IntegrityError for other bytes, Terminal as soon as more than `max_bytes` come. A redirect to a storage
        host is followed without the credential; nothing is read from a descriptor's `urls`.
        """


class BlobReader(Protocol):
    """Blobs that are too large to be held."""

    def save_blob(self, repository: Repository, wanted: Descriptor, target: Path, until_s: float) -> None:
        """Write a blob's bytes to the new file `target`, checked against digest and size of `wanted`.

        `until_s` is the monotonic time at which it is given up. Raises IntegrityError for other bytes, Terminal where
        it is not there, Unavailable where it does not end in time; then `target` is of no use. Redirects as `blob`.
        """


class ArtifactWriter(Protocol):
    """Attaching artifacts to digests (distribution-spec v1.1.1, "Pushing Manifests with Subject")."""

    def put_blob(self, repository: Repository, raw: bytes, confirm: Callable[[], None] | None = None) -> Descriptor:
        """Store `raw` (nothing is sent if it is there already); its descriptor as `application/octet-stream`.

        `confirm` and errors as `RegistryWriter.put_manifest`.
        """

    def put_artifact(
        self,
        repository: Repository,
        manifest: Manifest,
        subject: Digest,
        referrer: Referrer,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        """Store `manifest` by its digest as a referrer of `subject`, so that every reader finds it.

        Where the registry does not list it itself (no `OCI-Subject`, or no referrers API), `referrer` is merged into
        the index at the tag `sha256-<hex>`: read, merge, write, read again, until it is in it, with every other
        writer's entry and unknown field kept. An index that cannot be parsed is never replaced. Returns when
        `manifest` is found by `referrers`, or its presence was confirmed by `OCI-Subject` and the API.

        Raises IntegrityError, Denied, Transient as `RegistryWriter.put_manifest`, Terminal for an unreadable index.
        """


class ImageWriter(Protocol):
    """The parts of an image, by their digests: seen by nobody who asks for a tag."""

    def may_push(self, repository: Repository) -> bool:
        """Whether the credential may begin an upload there. Raises Transient."""

    def put_blob_file(
        self, repository: Repository, wanted: Descriptor, file: Path, until_s: float, confirm: Callable[[], None]
    ) -> None:
        """Store the bytes of `file`, which are those of `wanted` (nothing is sent if they are there already).

        `until_s` is the monotonic time at which it is given up. `confirm` and errors as `RegistryWriter.put_manifest`;
        a transfer that broke off is begun anew by the next call.
        """

    def put_untagged(self, repository: Repository, manifest: Manifest, confirm: Callable[[], None]) -> None:
        """Store `manifest` by its digest alone. `confirm` and errors as `RegistryWriter.put_manifest`."""
