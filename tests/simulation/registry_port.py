"""The simulated registry and verifier, as one process has them. Each call is one step of the simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.ports import Purpose
from state.errors import Denied, IntegrityError, Transient, Unavailable
from state.git import CommitId
from state.oci import Digest, Manifest, Repository, Tag
from state.verdict import Outcome, Verdict
from tests.simulation.faults import BYTES, GROUP, WRITE, Fault
from tests.simulation.ports import POLICY, Port
from tests.simulation.world import Several


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

        def garbled() -> Manifest | None:
            found = effect()
            return found and self._garbled(repository, found)

        instead = {Fault.GARBLED: garbled}
        found = self.call("registry.manifest", f"{repository.path} {reference[:19]}", effect, BYTES, instead)
        self.check.manifest_read(self.process, repository, reference, found)
        return found

    def _garbled(self, repository: Repository, asked: Manifest) -> Manifest:
        """Other bytes under the digest that was asked for, or announced for a tag; the client may notice it."""
        rng = self.steps.draw()
        if rng.random() < 0.25:
            raise IntegrityError(f"simulated: {repository}: other bytes than those of {asked.digest.short}")
        others = [m.raw for (at, _), m in self.world.registry.manifests.items() if at == repository and m != asked]
        wrong = rng.choice((*others, asked.raw[:-1], asked.raw + b"\n", b"", b"<html>502</html>"))
        return Manifest(asked.media_type, wrong, asked.digest)

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        found = self.call("registry.tags", repository.path, lambda: self.world.registry.any_tag(repository) or None)
        self.check.tags_read(self.process, repository, found)
        return found

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        def effect() -> None:
            self._land(repository, (tag,), manifest)

        if confirm is not None:
            confirm()
        self.check.put(self.process, repository, tag, manifest)
        self.call("registry.put", f"{repository.path}:{tag[:12]} {manifest.digest.short}", effect, WRITE)

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag]:
        rng = self.steps.draw()

        def effect() -> frozenset[Tag]:
            some = tuple(tag for tag in tags if rng.random() < 0.5) or (tags[0],)
            match self.world.registry.several[repository]:
                case Several.UNKNOWN:
                    made, confirmed = (), ()
                case Several.ALL:
                    made, confirmed = tuple(tags), tuple(tags)
                case Several.SOME:
                    made, confirmed = some, some
                case Several.SILENT:
                    made, confirmed = tuple(tags), some
            self._land(repository, made, manifest)
            self.check.groups += bool(made)
            return frozenset(confirmed)

        def partway() -> frozenset[Tag]:
            if self.world.registry.several[repository] is not Several.UNKNOWN:
                self._land(repository, rng.sample(tags, rng.randrange(len(tags))), manifest)
            if rng.random() < 0.5:
                raise Unavailable(f"simulated: {repository}: 500 for one of {len(tags)} tags")
            if rng.random() < 0.5:
                self.world.registry.hidden.add(repository)  # the permission is gone, for what comes next as well
            raise Denied(f"simulated: {repository}: 403 for one of {len(tags)} tags")

        if confirm is not None:
            confirm()
        for tag in tags:
            self.check.put(self.process, repository, tag, manifest)
        subject = f"{repository.path} {len(tags)} tags {manifest.digest.short}"
        confirmed: frozenset[Tag] = frozenset()
        try:
            confirmed = self.call("registry.put_tags", subject, effect, GROUP, {Fault.PARTWAY: partway})
        except Transient:
            raise  # nobody knows what was made, so none of it may be sent again before it was looked for
        except Denied:
            self.check.not_confirmed(self.process, repository, tags, manifest.digest)
            raise
        self.check.not_confirmed(
            self.process, repository, [tag for tag in tags if tag not in confirmed], manifest.digest
        )
        return confirmed

    def _land(self, repository: Repository, tags: Sequence[Tag], manifest: Manifest) -> None:
        registry, now = self.world.registry, self.world.time.monotonic
        if repository in registry.hidden:
            raise Denied(f"simulated: {repository} may not be written")
        for tag in tags:
            self.check.about_to_land(self.process, repository, tag, manifest.digest)
            if registry.now(repository, tag) is None and self.steps.draw().random() < self.staleness:
                registry.stale_until[repository, tag] = now + self.steps.draw().uniform(0, 80)
            registry.put(repository, tag, manifest)

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
