"""Several registries as one: each repository goes to the client of its host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from reconciler.ports import RegistryReader, RegistryWriter
from state.errors import ConfigError
from state.oci import Digest, Manifest, Repository, Tag


class RegistryClient(RegistryReader, RegistryWriter, Protocol):
    """A client of one registry host."""


class Registries:
    """RegistryReader and RegistryWriter over the configured hosts, and no others.

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
    ) -> frozenset[Tag]:
        return self.client(repository).put_tags(repository, tags, manifest, confirm)

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
