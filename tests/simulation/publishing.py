"""The product's releasing and publishing, as one process of the simulation has them."""

from __future__ import annotations

from typing import Any, Final, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.evidence_key import KeySigner
from reconciler.approval.signatures import Signers
from reconciler.evidence.assembling import OwnStatements
from reconciler.evidence.attaching import Attacher
from reconciler.evidence.bundles import Envelope, pae
from reconciler.evidence.keys import KeyAuthority, key_bundle
from reconciler.evidence.sbom_sources import Attached
from reconciler.looking import Sources
from reconciler.publishing.lanes import Lane
from reconciler.publishing.publisher import PublishTargets
from reconciler.publishing.releases import PublishedSets
from reconciler.releasing import ReleaseTargets
from state.statement import PAYLOAD_TYPE
from tests.publishing.ports import MemoryBranches, MemoryChanges, MemoryMarkers
from tests.simulation.content import RELEASES
from tests.simulation.gitops import POLICIES, TARGET
from tests.simulation.ports import SimGate, Steps
from tests.simulation.registry_port import WatchedRegistry
from tests.simulation.world import REPOSITORY_ID


class _Signer(KeySigner):
    """Signs without chance (RFC 6979), so that one seed gives one trace."""

    def sign(self, statement: bytes) -> bytes:
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        signature = self._key.sign(pae(PAYLOAD_TYPE, statement), algorithm)
        return key_bundle(Envelope(PAYLOAD_TYPE, statement, signature, ""), self.fingerprint)


_SIGNER: Final = _Signer(ec.derive_private_key(4711, ec.SECP256R1()))
OWN: Final = KeyAuthority([_SIGNER.public_key])
_SIGNERS: Final = {policy.digest(): Signers(policy) for policy in POLICIES}


def release_targets(sources: Sources, registry: WatchedRegistry) -> ReleaseTargets:
    store = cast("Any", registry)
    statements = OwnStatements(None, Attached())
    return ReleaseTargets(
        RELEASES, store, Attacher(store, _SIGNER, OWN), statements, sources.verifier, sources.executor
    )


def publish_targets(steps: Steps, process: str, sources: Sources, registry: WatchedRegistry) -> PublishTargets:
    gate = cast("Any", SimGate(steps, process))
    lane = Lane(TARGET, MemoryBranches(gate, process), MemoryChanges(gate))
    return PublishTargets(
        repository_id=REPOSITORY_ID,
        markers=MemoryMarkers(gate),
        signers=lambda: gate.read("policy", lambda gitops: _SIGNERS[gitops.policy.digest()]),
        lanes={TARGET.name: lane},
        sets=PublishedSets(cast("Any", registry), RELEASES, OWN),
        inventory=sources.gitops.inventory,
        forge=sources.forge,
        registry=sources.registry,
        executor=sources.executor,
        clock=sources.clock,
    )
