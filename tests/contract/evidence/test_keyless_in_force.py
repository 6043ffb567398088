"""From the settings to a verdict, with a real registry and a private deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.evidence.assembling import signer_of, verifier_of
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.finding import EMPTY_BLOB, attach_manifest
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE
from reconciler.ports import Purpose
from reconciler.settings.model import EvidenceSettings, VerificationSettings
from state import statement
from state.git import CommitId
from state.oci import Descriptor, Repository
from state.verdict import Level, Outcome, Refusal
from tests.contract.registry.support import connect
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.evidence import SLSA_V1, provenance_v1
from tests.fixtures.evidence import statement as others_statement
from tests.fixtures.oci_images import push_image
from tests.fixtures.sigstore import ISSUER, REPOSITORY, REVISION, WORKFLOW, PrivateSigstore, claims, token, write_json

ROBOT = "https://github.com/org/ops/.github/workflows/reconcile.yml@refs/heads/main"


@pytest.fixture
def store(embedded_registry: EmbeddedRegistry) -> Iterator[OrasRegistry]:
    made = connect(embedded_registry.host)
    yield made
    made.close()


class Published:
    """An image in the registry, to which bundles are attached."""

    def __init__(self, store: OrasRegistry, host: str) -> None:
        self.store = store
        self.repository = Repository(f"{host}/org/shop")
        self.index = push_image(host, "org/shop", "main")
        self.subject = Descriptor(self.index.media_type, self.index.digest, len(self.index.raw))

    def attach(self, bundle: dict[str, Any]) -> None:
        self.store.put_blob(self.repository, EMPTY_BLOB)
        blob = self.store.put_blob(self.repository, json.dumps(bundle).encode())
        layer = Descriptor(BUNDLE_MEDIA_TYPE, blob.digest, blob.size)
        manifest, referrer = attach_manifest(self.subject, layer, SLSA_V1)
        self.store.put_artifact(self.repository, manifest, self.subject.digest, referrer)


def settings(root_file: Path, **authority: Any) -> VerificationSettings:
    return VerificationSettings.model_validate(
        {
            "baseline": Level.PROVENANCE,
            "pull_request": Level.PROVENANCE,
            "authority": {
                "kind": "sigstore",
                "trusted_root_file": root_file,
                "issuer": ISSUER,
                "workflow": WORKFLOW,
                **authority,
            },
            "source_repository": REPOSITORY,
            "source_repository_id": 4711,
        }
    )


@pytest.mark.parametrize("log", [True, False], ids=["with a log", "with timestamps"])
def test_an_image_of_the_configured_workflow_is_accepted(
    private_sigstore: PrivateSigstore,
    store: OrasRegistry,
    embedded_registry: EmbeddedRegistry,
    tmp_path: Path,
    log: bool,
) -> None:
    image = Published(store, embedded_registry.host)
    signs = private_sigstore.signed if log else private_sigstore.timestamped
    said = others_statement(image.index.digest, predicate=provenance_v1(repository_id="4711"))
    image.attach(signs(said))
    root = write_json(tmp_path / "root.json", private_sigstore.trusted_root(logs=log))

    verifier = verifier_of(settings(root, transparency_log=log), store, SystemClock())
    for purpose in Purpose:
        verdict = verifier.verify(purpose, image.repository, image.index.digest, CommitId(REVISION))
        assert verdict.outcome is Outcome.ACCEPTED, verdict
        assert len(verdict.evidence) == 1

    other = verifier_of(settings(root, transparency_log=log, workflow=f"{WORKFLOW}x"), store, SystemClock())
    verdict = other.verify(Purpose.BASELINE, image.repository, image.index.digest, None)
    assert (verdict.outcome, verdict.refusal) == (Outcome.REFUSED, Refusal.WRONG_WORKFLOW)


def test_a_pull_request_of_the_workflow_is_no_baseline(
    private_sigstore: PrivateSigstore, store: OrasRegistry, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    image = Published(store, embedded_registry.host)
    ref = "refs/pull/7/merge"
    said = others_statement(image.index.digest, predicate=provenance_v1(ref=ref, repository_id="4711"))
    image.attach(private_sigstore.signed(said, claims(ref)))
    root = write_json(tmp_path / "root.json", private_sigstore.trusted_root())
    verdict = verifier_of(settings(root), store, SystemClock()).verify(
        Purpose.BASELINE, image.repository, image.index.digest, None
    )
    assert (verdict.outcome, verdict.refusal) == (Outcome.REFUSED, Refusal.WRONG_REF)


def test_a_statement_of_ours_is_attached_once_however_often_it_is_asked_for(
    private_sigstore: PrivateSigstore, store: OrasRegistry, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    image = Published(store, embedded_registry.host)
    config = write_json(tmp_path / "config.json", private_sigstore.trust_config())
    token_file = tmp_path / "token"
    token_file.write_text(token(claims(job_workflow_ref=ROBOT)))
    own = {"kind": "sigstore", "trust_config_file": config, "token_file": token_file}
    sets = f"{embedded_registry.host}/org/sets"
    raw = statement.build({image.repository: image.index.digest}, "https://example.test/v1", {"ok": True})
    image.attach(private_sigstore.signed(raw))  # the same statement, by somebody else

    made = []
    for _ in range(2):  # as two starts of the reconciler
        signer, authority = signer_of(EvidenceSettings.model_validate({"signer": own, "release_sets": sets}))
        attacher = Attacher(store, signer, authority)
        evidence = attacher.look(image.repository, image.index.digest)
        made.append(
            attacher.attach(
                image.repository, image.subject, Statement("https://example.test/v1", raw), evidence, lambda: None
            )
        )
    assert made[0] == made[1]
    assert len(attacher.look(image.repository, image.index.digest).found) == 2
