"""Several registries as one: each repository goes to the client of its host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from reconciler.ports import (
    ArtifactReader,
    ArtifactWriter,
    BlobReader,
    ImageWriter,
    Referrer,
    RegistryReader,
    RegistryWriter,
)
from state.errors import ConfigError
from state.oci import Descriptor, Digest, Manifest, Repository, Tag


class RegistryClient(RegistryReader, RegistryWriter, ArtifactReader, BlobReader, ArtifactWriter, ImageWriter, Protocol):
    """A client of one registry host."""


class Registries:
    """The registry and artifact ports over the configured hosts, and no others.

    Every method raises ConfigError for a repository on a host that is not configured: a client made on the spot
    would have to guess its credential and CA.
    """

    def __init__(self, clients: Mapping[str, RegistryClient]) -> None:
        self._clients = dict(clients)

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        return self.client(repository).resolve(repository, tag)

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        return self.client(repository).manifest(repository, reference)

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        return self.client(repository).tags(repository)

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        self.client(repository).put_manifest(repository, tag, manifest, confirm)

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag] | None:
        return self.client(repository).put_tags(repository, tags, manifest, confirm)

    def referrers(self, repository: Repository, subject: Digest) -> Sequence[Referrer]:
        return self.client(repository).referrers(repository, subject)

    def blob(self, repository: Repository, digest: Digest, max_bytes: int) -> bytes | None:
        return self.client(repository).blob(repository, digest, max_bytes)

    def save_blob(self, repository: Repository, wanted: Descriptor, target: Path, until_s: float) -> None:
        self.client(repository).save_blob(repository, wanted, target, until_s)

    def put_blob(self, repository: Repository, raw: bytes, confirm: Callable[[], None] | None = None) -> Descriptor:
        return self.client(repository).put_blob(repository, raw, confirm)

    def may_push(self, repository: Repository) -> bool:
        return self.client(repository).may_push(repository)

    def put_blob_file(
        self, repository: Repository, wanted: Descriptor, file: Path, until_s: float, confirm: Callable[[], None]
    ) -> None:
        self.client(repository).put_blob_file(repository, wanted, file, until_s, confirm)

    def put_untagged(self, repository: Repository, manifest: Manifest, confirm: Callable[[], None]) -> None:
        self.client(repository).put_untagged(repository, manifest, confirm)

    def put_artifact(
        self,
        repository: Repository,
        manifest: Manifest,
        subject: Digest,
        referrer: Referrer,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        self.client(repository).put_artifact(repository, manifest, subject, referrer, confirm)

    def client(self, repository: Repository) -> RegistryClient:
        """The client of this repository's host. Raises ConfigError."""
        try:
            return self._clients[repository.host]
        except KeyError:
            known = ", ".join(sorted(self._clients)) or "none"
            raise ConfigError(
                f"{repository}: registry host {repository.host} is not configured (configured: {known}); "
                "add it to the configuration's registries, with its credential file or as anonymous"
            ) from None
