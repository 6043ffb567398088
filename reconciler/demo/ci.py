"""The demo's CI as a signer: provenance of each build, signed with a key and attached to the image's digest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.evidence_key import KeySigner, generate_key_pair
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.slsa import Build, provenance
from state.errors import IntegrityError
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.statement import SLSA_PROVENANCE_V1

SOURCE: Final = "https://git.example/shop"
BUILDER: Final = "https://ci.example/builder"
_BUILD_TYPE: Final = "https://ci.example/build/v1"


class Keys:
    """One generated key pair: an encrypted private key, its password, the public key; three files."""

    def __init__(self, root: Path, name: str) -> None:
        self.private = root / f"{name}.key"
        self.password = root / f"{name}.password"
        self.public = root / f"{name}.pub"
        generate_key_pair(self.private, self.password, self.public)

    def signer(self) -> KeySigner:
        return KeySigner.from_file(self.private, self.password)


class Publisher:
    """States and signs what a CI built, with the key it is given."""

    def __init__(self, registry: OrasRegistry) -> None:
        self._registry = registry

    def attest(self, keys: Keys, repository: Repository, digest: Digest, ref: RefName, revision: CommitId) -> None:
        """Attach SLSA provenance to `digest`."""
        signer = keys.signer()
        attacher = Attacher(self._registry, signer, KeyAuthority([signer.public_key]))
        build = Build(SOURCE, ref, revision, ".ci/publish.yaml", BUILDER, _BUILD_TYPE)
        manifest = self._registry.manifest(repository, digest)
        if manifest is None:
            raise IntegrityError(f"{repository}@{digest}: was pushed a moment ago, and is gone")
        attacher.attach(
            repository,
            manifest.descriptor,
            Statement(SLSA_PROVENANCE_V1, provenance(repository, digest, build)),
            attacher.look(repository, digest),
            lambda: None,
        )


@contextmanager
def publisher(registry_host: str) -> Iterator[Publisher]:
    """A publisher for a registry on this machine."""
    client = OrasRegistry(
        registry_host, plain_http=True, limits=Limits(writes_per_s=None), clock=SystemClock(), random=SystemRandom()
    )
    try:
        yield Publisher(client)
    finally:
        client.close()
