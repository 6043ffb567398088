"""The simulated registry and verifier, as one process has them. Each call is one step of the simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.ports import Purpose
from state.errors import Denied
from state.git import CommitId
from state.oci import Digest, Manifest, Repository, Tag
from state.verdict import Outcome, Verdict
from tests.simulation.faults import BYTES, WRITE, Fault
from tests.simulation.ports import POLICY, Port


class SimRegistry(Port):
    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        def effect() -> Digest | None:
            return self.world.registry.shown(repository, tag, self.world.time.monotonic)

        found = self.call("registry.resolve", f"{repository.path}:{tag[:12]}", effect)
        self.check.tag_read(self.process, repository, tag, found)
        return found

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        def effect() -> Manifest | None:
            registry = self.world.registry
            if repository in registry.hidden:
                return None
            digest = (
                reference
                if isinstance(reference, Digest)
                else registry.shown(repository, reference, self.world.time.monotonic)
            )
            return registry.manifests.get((repository, digest)) if digest is not None else None

        found = self.call("registry.manifest", f"{repository.path} {reference[:19]}", effect, BYTES)
        self.check.manifest_read(self.process, repository, reference, found)
        return found

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        found = self.call("registry.tags", repository.path, lambda: self.world.registry.any_tag(repository) or None)
        self.check.tags_read(self.process, repository, found)
        return found

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        def effect() -> None:
            registry, now = self.world.registry, self.world.time.monotonic
            if repository in registry.hidden:
                raise Denied(f"simulated: {repository} may not be written")
            self.check.about_to_land(self.process, repository, tag, manifest.digest)
            if registry.now(repository, tag) is None and self.steps.draw().random() < self.staleness:
                registry.stale_until[repository, tag] = now + self.steps.draw().uniform(0, 80)
            registry.put(repository, tag, manifest)

        if confirm is not None:
            confirm()
        self.check.put(self.process, repository, tag, manifest.digest)
        self.call("registry.put", f"{repository.path}:{tag[:12]} {manifest.digest.short}", effect, WRITE)

    def put_tags(self, *_: object) -> frozenset[Tag]:
        """This registry knows one tag per request only."""
        return frozenset()

    staleness = 0.0


class SimVerifier(Port):
    def policy(self, purpose: Purpose) -> Digest:
        del purpose
        return POLICY

    def verify(
        self, purpose: Purpose, repository: Repository, digest: Digest, source_revision: CommitId | None
    ) -> Verdict:
        def effect() -> Verdict:
            outcome = self.check.verdict(purpose, digest, source_revision)
            return Verdict(outcome, POLICY, "refused" if outcome is Outcome.REFUSED else "")

        verdict = self.call(f"verifier.{purpose.value}", f"{repository.path} {digest.short}", effect, (Fault.LOST,))
        self.check.verified(self.process, purpose, repository, digest, verdict.outcome)
        return verdict
