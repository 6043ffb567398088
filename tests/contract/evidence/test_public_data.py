"""Bundles that public projects made with the public deployment, verified offline with the root that sigstore ships.

The bundles are other people's and not part of this repository: `--public-data DIR` names a folder with them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from reconciler.evidence.trusted_root import RootAuthority
from state.verdict import Refusal
from tests.contract.evidence.support import found, refusal

GITHUB = "https://token.actions.githubusercontent.com"
KUBEWARDEN = "https://github.com/kubewarden/kubewarden-controller"


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Path:
    folder: Path | None = request.config.getoption("--public-data")
    if folder is None:
        pytest.skip("public data skipped: --public-data DIR names no folder with it")
    return folder


@pytest.fixture
def public_root() -> RootAuthority:
    store = files("sigstore") / "_store" / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev" / "trusted_root.json"
    return RootAuthority.from_bytes(store.read_bytes(), "the root that sigstore ships", transparency_log=True)


def test_the_image_signature_of_a_public_project_is_proven(data: Path, public_root: RootAuthority) -> None:
    proven = public_root.prove(found((data / "cosign-v3-image-signature-kubewarden.json").read_bytes()))
    said = proven.certificate
    assert said is not None
    assert (said.issuer, said.identity) == (GITHUB, f"{KUBEWARDEN}/.github/workflows/release.yml@refs/tags/v1.34.0")
    assert (said.source_repository, said.source_repository_id) == (KUBEWARDEN, "318490971")
    assert (said.source_ref, said.runner_environment) == ("refs/tags/v1.34.0", "github-hosted")
    assert json.loads(proven.payload)["predicateType"] == "https://sigstore.dev/cosign/sign/v1"


def test_the_certificate_of_a_person_has_an_email_and_no_source(data: Path, public_root: RootAuthority) -> None:
    said = public_root.prove(found((data / "cosign-oci-attestation.json").read_bytes())).certificate
    assert said is not None
    assert (said.issuer, said.source_repository, said.source_ref) == ("https://github.com/login/oauth", None, None)
    assert said.identity.count("@") == 1


def test_a_reusable_workflow_signs_for_the_repository_that_calls_it(data: Path, public_root: RootAuthority) -> None:
    proven = public_root.prove(found((data / "github-reusable-workflow-slsa-v1.json").read_bytes()))
    said = proven.certificate
    assert said is not None
    assert said.identity == said.build_signer
    assert said.identity.startswith("https://github.com/github/artifact-attestations-workflows/")
    assert said.source_repository == "https://github.com/malancas/attest-demo"
    assert json.loads(proven.payload)["predicateType"] == "https://slsa.dev/provenance/v1"


def test_a_public_bundle_with_an_invalid_signature_is_refused(data: Path, public_root: RootAuthority) -> None:
    why, text = refusal(public_root, found((data / "invalid-signature.json").read_bytes()))
    assert why in {Refusal.BAD_SIGNATURE, Refusal.UNSUPPORTED, Refusal.MALFORMED}, text


def test_a_public_bundle_with_another_payload_is_refused(data: Path, public_root: RootAuthority) -> None:
    bundle = json.loads((data / "cosign-v3-image-signature-kubewarden.json").read_bytes())
    bundle["dsseEnvelope"]["payload"] = "e30="
    assert refusal(public_root, bundle)[0] is Refusal.BAD_SIGNATURE
