"""One repository: an OCI image layout on disk, its blobs and its index.

Bytes are durable before the index names them, and the index is durable before a reader or a client hears of it.
Source: OCI image-spec v1.1.1, image-layout.md.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from reconciler.registry.commits import GroupCommit
from reconciler.registry.digests import ContentDigest
from reconciler.registry.disk import make_directory, move_file, remove_file, sync_directory, write_file
from reconciler.registry.errors import Code, WireError
from reconciler.registry.index import Contents, Stored
from reconciler.registry.manifests import Parsed, parse
from state.canonical import Json
from state.errors import IntegrityError
from state.oci import OCI_INDEX, OCI_MANIFEST, Tag

_log: Final = logging.getLogger(__name__)


class Layout:
    """The layout at `path`. Many threads may use one; only one process may (`storage` holds the lock)."""

    def __init__(self, path: Path, scratch: Path) -> None:
        """Read the layout that is there. Raises IntegrityError if its index.json cannot be read."""
        self._path = path
        self._scratch = scratch
        self._pins: Counter[ContentDigest] = Counter()
        self._pins_lock = threading.Lock()
        self._unreadable: list[ContentDigest] = []
        for algorithm in ("sha256", "sha512"):
            make_directory(path / "blobs" / algorithm)
        self._index = GroupCommit(self._load(path / "index.json"), self._write_index)

    @classmethod
    def create(cls, path: Path, scratch: Path) -> Self:
        """Make an empty layout. `oci-layout` is written last: it is what says that the repository exists."""
        make_directory(path)
        write_file(path / "index.json", Contents().encode(), scratch)
        made = cls(path, scratch)
        write_file(path / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}', scratch)
        return made

    # --- blobs -------------------------------------------------------------------------------------------------------

    def blob_path(self, digest: ContentDigest) -> Path:
        """Where the bytes of `digest` are, if they are there."""
        return self._path / "blobs" / digest.algorithm / digest.hex

    def blob_size(self, digest: ContentDigest) -> int | None:
        """Bytes of the blob; None if it is not in this repository."""
        try:
            return self.blob_path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def adopt_blob(self, source: Path, digest: ContentDigest) -> None:
        """Take a synced file, whose bytes were found to have `digest`, as a blob; the file is moved."""
        move_file(source, self.blob_path(digest))

    def mount_blob(self, source: Layout, digest: ContentDigest) -> bool:
        """Share a blob of another repository as a hard link; False if it is not there."""
        target = self.blob_path(digest)
        try:
            target.hardlink_to(source.blob_path(digest))
        except FileNotFoundError:
            return False
        except FileExistsError:
            pass
        sync_directory(target.parent)
        return True

    def delete_blob(self, digest: ContentDigest) -> None:
        """Remove a blob. Raises WireError: BLOB_UNKNOWN, or UNSUPPORTED if these bytes are a manifest here."""
        with self._pins_lock:
            if digest in self._index.published.manifests or self._pins[digest]:
                raise WireError(Code.UNSUPPORTED, f"{digest} is a manifest: delete it at the manifests end point")
            if not remove_file(self.blob_path(digest)):
                raise WireError(Code.BLOB_UNKNOWN, f"blob {digest} is not in this repository")

    # --- manifests and tags ------------------------------------------------------------------------------------------

    def find(self, reference: Tag | ContentDigest) -> Stored | None:
        """The manifest behind a tag or digest."""
        contents = self._index.published
        if isinstance(reference, ContentDigest):
            return contents.manifests.get(reference)
        found = contents.tags.get(reference)
        return None if found is None else contents.manifests.get(found[0])

    def read(self, stored: Stored) -> bytes | None:
        """The exact bytes; None if the manifest was deleted meanwhile.

        Raises IntegrityError if the file is missing or has other bytes.
        """
        try:
            return self._checked(stored)
        except IntegrityError:
            if self.find(stored.digest) is None:
                return None
            raise

    def tags(self) -> list[Tag]:
        """Every tag, by `tag_order`."""
        return sorted(self._index.published.tags, key=tag_order)

    def put_manifest(self, digest: ContentDigest, raw: bytes, manifest: Parsed, tags: Sequence[Tag]) -> None:
        """Store the bytes and point `tags` at them; durable when it returns.

        Raises WireError: MANIFEST_BLOB_UNKNOWN if something it references is not in this repository, MANIFEST_INVALID
        if a reference has another size, or if the same bytes are stored under another media type.
        """
        self._check_references(manifest)
        stored = Stored.of(manifest.media_type, digest, len(raw), manifest.subject)
        with self._pinned(digest):
            self._put_bytes(digest, raw)
            self._index.apply(lambda draft: draft.put(stored, tags))

    def delete_tag(self, tag: Tag) -> None:
        """Remove the tag and nothing else. Raises WireError MANIFEST_UNKNOWN."""
        self._index.apply(lambda draft: draft.delete_tag(tag))

    def delete_manifest(self, digest: ContentDigest) -> None:
        """Remove a manifest and every tag that points at it. Raises WireError MANIFEST_UNKNOWN."""
        self._index.apply(lambda draft: draft.delete_manifest(digest))
        with self._pins_lock:
            # Somebody may be putting the same bytes again right now.
            if not self._pins[digest] and self.find(digest) is None:
                remove_file(self.blob_path(digest))

    def referrers(self, subject: ContentDigest) -> Iterator[dict[str, Json]]:
        """Descriptors of the manifests whose `subject` this is, ascending by digest, made from their bytes.

        Raises IntegrityError if a manifest cannot be read, since the list would not be complete.
        """
        if self._unreadable:
            raise IntegrityError(f"{self._path}: cannot list referrers, {self._unreadable[0]} could not be read")
        found = [s for s in self._index.published.manifests.values() if s.subject == subject]
        for stored in sorted(found, key=lambda s: s.digest):
            if (raw := self.read(stored)) is None:
                continue
            manifest = parse(stored.media_type, raw)
            row: dict[str, Json] = {"mediaType": stored.media_type, "digest": stored.digest, "size": stored.size}
            if manifest.artifact_type:
                row["artifactType"] = manifest.artifact_type
            if manifest.annotations:
                row["annotations"] = dict(manifest.annotations)
            yield row

    # --- inside ------------------------------------------------------------------------------------------------------

    def _check_references(self, manifest: Parsed) -> None:
        for reference in manifest.references:
            try:
                size = self.blob_size(ContentDigest(reference.digest))
            except WireError:
                size = None  # a digest of an algorithm that cannot be stored here
            if size is None:
                raise WireError(
                    Code.MANIFEST_BLOB_UNKNOWN, f"{reference.digest[:150]} is referenced, but not in this repository"
                )
            if size != reference.size:
                raise WireError(
                    Code.MANIFEST_INVALID,
                    f"{reference.digest}: the descriptor says {reference.size} bytes, the blob has {size}",
                )

    @contextmanager
    def _pinned(self, digest: ContentDigest) -> Iterator[None]:
        with self._pins_lock:
            self._pins[digest] += 1
        try:
            yield
        finally:
            with self._pins_lock:
                self._pins[digest] -= 1
                if not self._pins[digest]:
                    del self._pins[digest]

    def _put_bytes(self, digest: ContentDigest, raw: bytes) -> None:
        target = self.blob_path(digest)
        if self.find(digest) is not None:
            if self.blob_size(digest) == len(raw) and target.read_bytes() == raw:
                return  # a retag: its bytes are durable, since the published index names them
            _log.error("integrity_violated: %s did not have the bytes of its name; the pushed ones replace it", target)
        write_file(target, raw, self._scratch)

    def _checked(self, stored: Stored) -> bytes:
        path = self.blob_path(stored.digest)
        try:
            raw = path.read_bytes() if path.stat().st_size == stored.size else b""
        except FileNotFoundError:
            raise IntegrityError(f"{path} is missing, but index.json names it: push it again or delete it") from None
        if not stored.digest.matches(raw):
            raise IntegrityError(
                f"{path}: the bytes do not have the digest {stored.digest}: push it again or delete it"
            )
        return raw

    def _write_index(self, contents: Contents) -> None:
        write_file(self._path / "index.json", contents.encode(), self._scratch)

    def _load(self, path: Path) -> Contents:
        try:
            contents = Contents.decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise IntegrityError(f"{path} is missing: not an image layout") from None
        for digest, stored in contents.manifests.items():
            if stored.media_type in (OCI_MANIFEST, OCI_INDEX):
                try:
                    raw = self._checked(stored)
                    contents.manifests[digest] = replace(stored, subject=parse(stored.media_type, raw).subject)
                except (IntegrityError, WireError) as error:
                    _log.error("integrity_violated: %s", error)
                    self._unreadable.append(digest)
        return contents


def tag_order(tag: str) -> tuple[str, str]:
    """The sort key of tags: distribution-spec v1.1.1, Listing Tags: "case-insensitive alphanumeric order"."""
    return tag.lower(), tag
