"""What one process has of the registry: the product's client, watched by the checker; and a verifier of truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.ports import Purpose
from state.errors import Terminal
from state.git import CommitId
from state.oci import Digest, Manifest, Repository, Tag
from state.verdict import Outcome, Verdict
from tests.simulation.check import IMAGE_OF, Checker
from tests.simulation.faults import Fault
from tests.simulation.ports import POLICY, Port


class WatchedRegistry:
    """The product's client; the checker hears what it answers, and what it is about to send."""

    def __init__(self, client: OrasRegistry, check: Checker, process: str) -> None:
        self._client, self._check, self._process = client, check, process
        self.referrers = client.referrers
        self.blob = client.blob
        self.save_blob = client.save_blob
        self.put_blob = client.put_blob
        self.put_artifact = client.put_artifact

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        found = self._client.resolve(repository, tag)
        self._check.tag_read(self._process, repository, tag, found)
        return found

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        found = self._client.manifest(repository, reference)
        self._check.manifest_read(self._process, repository, reference, found)
        return found

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        found = self._client.tags(repository)
        self._check.tags_read(self._process, repository, found)
        return found

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        self._client.put_manifest(repository, tag, manifest, self._told(repository, (tag,), manifest, confirm))

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag] | None:
        told = self._told(repository, tags, manifest, confirm)
        confirmed: frozenset[Tag] | None = None
        try:
            confirmed = self._client.put_tags(repository, tags, manifest, told)
        except Terminal:  # after anything else nobody knows what was made, so it may not be sent again unseen
            self._check.not_confirmed(self._process, repository, tags, manifest.digest)
            raise
        left = [tag for tag in tags if tag not in (confirmed or ())]
        self._check.not_confirmed(self._process, repository, left, manifest.digest)
        return confirmed

    def _told(
        self, repository: Repository, tags: Sequence[Tag], manifest: Manifest, confirm: Callable[[], None] | None
    ) -> Callable[[], None]:
        """`confirm`, with the checker told once that these tags of images are about to be sent."""
        first = repository in IMAGE_OF

        def confirmed() -> None:
            nonlocal first
            if confirm is not None:
                confirm()
            if first:
                first = False
                for tag in tags:
                    self._check.put(self._process, repository, tag, manifest)

        return confirmed


class SimVerifier(Port):
    def policy(self, purpose: Purpose) -> Digest:
        del purpose
        return POLICY

    def verify(
        self, purpose: Purpose, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> Verdict:
        def effect() -> Verdict:
            outcome = self.check.verdict(purpose, digest, source_revision)
            return Verdict(outcome, POLICY, "refused" if outcome is Outcome.REFUSED else "", evidence=(digest,))

        verdict = self.call(f"verifier.{purpose.value}", f"{repository.path} {digest.short}", effect, (Fault.LOST,))
        self.check.verified(self.process, purpose, repository, digest, verdict.outcome)
        return verdict
