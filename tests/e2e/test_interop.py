"""cosign and oras on what the reconciler wrote, and the reconciler on what cosign wrote: the programs themselves."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.handed_over import HandedOverFiles
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.demo.ci import SOURCE, Keys, publisher
from reconciler.demo.images import build_and_push
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.bundles import parse_bundle
from reconciler.evidence.carrying import Carrier
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.finding import EMPTY_BLOB, attach_manifest
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.summary import summary
from reconciler.evidence.trusted_root import RootAuthority
from reconciler.evidence.verifying import EvidenceVerifier
from reconciler.ports import Purpose
from state.git import CommitId, RefName
from state.observed import How
from state.oci import Descriptor, Digest, Repository, Tag
from state.release_set import PREDICATE_TYPE, ReleasedImage, ReleaseSet
from state.statement import SLSA_PROVENANCE_V1, SPDX, VERIFICATION_SUMMARY, build, parse
from state.verdict import Level, Outcome, Refusal
from tests.contract.registry.support import Connect, ManualClock, connect
from tests.fixtures.evidence import provenance_v1, statement
from tests.fixtures.proving import spdx
from tests.fixtures.sigstore import ISSUER, REPOSITORY, WORKFLOW, PrivateSigstore
from tools import go_tools

REVISION = CommitId("1" * 40)
MAIN = RefName.branch("main")
OFFLINE = "--insecure-ignore-tlog"
PASSWORD = "of the key"


@pytest.fixture(
    params=[
        "embedded_registry",
        pytest.param("distribution", marks=pytest.mark.distribution),
        pytest.param("distribution3", marks=pytest.mark.distribution3),
    ]
)
def host(request: pytest.FixtureRequest) -> str:
    """A registry with the referrers API (embedded), or read by the tag schema (both generations of distribution)."""
    return str(request.getfixturevalue(request.param).host)


@pytest.fixture
def client() -> Iterator[Connect]:
    made: list[OrasRegistry] = []

    def make(host: str, **more: Any) -> OrasRegistry:
        made.append(connect(host, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run one of the Go programs by its name; nothing of the user's home or of the network takes part."""

    def go(name: str, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "COSIGN_PASSWORD": PASSWORD}
        done = subprocess.run(
            [str(go_tools.path_of(name)), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stderr
        return done

    return go


class Image:
    """An image that CI pushed; its repository is the test's own."""

    def __init__(self, host: str, name: str) -> None:
        self.repository = Repository(f"{host}/interop/{name}")
        self.digest = build_and_push(self.repository, Tag("main"), REVISION)
        self.reference = f"{self.repository}@{self.digest}"


@pytest.fixture
def image(host: str, request: pytest.FixtureRequest) -> Image:
    name = "".join(c if c.isalnum() else "-" for c in request.node.originalname.lower())
    return Image(host, name[:60].strip("-"))


def attested(image: Image, keys: Keys) -> None:
    with publisher(image.repository.host) as ci:
        ci.attest(keys, image.repository, image.digest, MAIN, REVISION)


def verifier(client: OrasRegistry, public: Path, *, level: Level, cosign_v2: bool = False) -> EvidenceVerifier:
    policies = {p: ClaimsPolicy(p, level, SOURCE) for p in Purpose}
    return EvidenceVerifier(client, KeyAuthority.from_files([public]), policies, ManualClock(), cosign_v2=cosign_v2)


@pytest.mark.cosign
def test_cosign_verifies_what_was_signed_with_a_key_file_and_nothing_else(
    image: Image, tmp_path: Path, run: Run
) -> None:
    ours, other = Keys(tmp_path, "ours"), Keys(tmp_path, "other")
    attested(image, ours)
    key = ("--key", str(ours.public), OFFLINE)
    run("cosign", "verify", *key, image.reference)
    shown = run("cosign", "verify-attestation", *key, "--type", "slsaprovenance1", image.reference)
    assert json.loads(shown.stdout.splitlines()[0])["payloadType"] == "application/vnd.in-toto+json"
    run("cosign", "verify-attestation", *key, "--type", "spdxjson", image.reference, ok=False)
    run("cosign", "verify", "--key", str(other.public), OFFLINE, image.reference, ok=False)


@pytest.mark.oras
def test_oras_discovers_what_was_attached(image: Image, tmp_path: Path, run: Run) -> None:
    attested(image, Keys(tmp_path, "ci"))
    shown = run("oras", "discover", "--plain-http", "--format", "json", image.reference)
    rows = json.loads(shown.stdout)["referrers"]
    assert [r["artifactType"] for r in rows] == ["application/vnd.dev.sigstore.bundle.v0.3+json"]
    assert rows[0]["annotations"]["dev.sigstore.bundle.predicateType"] == "https://slsa.dev/provenance/v1"


@pytest.mark.cosign
@pytest.mark.oras
def test_a_release_set_is_pulled_by_oras_and_verified_by_cosign(
    image: Image, tmp_path: Path, run: Run, client: Connect
) -> None:
    made, keys = client(image.repository.host), Keys(tmp_path, "own")
    released = ReleasedImage(image.repository, image.digest, How.RETAGGED, ("orders",), "2026-01-31T12:00:00Z", ())
    release = ReleaseSet(1, REVISION, Digest.of(b"policy"), (REVISION,), (released,))
    repository, manifest = Repository(f"{image.repository}-releases"), release.manifest()
    signer = keys.signer()
    attacher = Attacher(made, signer, KeyAuthority([signer.public_key]))
    made.put_blob(repository, release.to_bytes())
    made.put_blob(repository, b"{}")
    made.put_manifest(repository, Tag(REVISION), manifest)
    signed = Statement(PREDICATE_TYPE, release.statement(repository, manifest.digest))
    attacher.attach(repository, manifest.descriptor, signed, attacher.look(repository, manifest.digest), lambda: None)
    reference = f"{repository}:{REVISION}"
    run("oras", "pull", "--plain-http", "--output", str(tmp_path / "out"), reference)
    assert ReleaseSet.parse((tmp_path / "out" / "release-set.json").read_bytes()) == release
    run("cosign", "verify-attestation", "--key", str(keys.public), OFFLINE, "--type", PREDICATE_TYPE, reference)


@pytest.mark.cosign
@pytest.mark.oras
def test_an_sbom_of_ours_is_verified_by_cosign_and_pulled_by_oras(
    image: Image, tmp_path: Path, run: Run, client: Connect
) -> None:
    made, keys = client(image.repository.host), Keys(tmp_path, "own")
    signer = keys.signer()
    attacher = Attacher(made, signer, KeyAuthority([signer.public_key]))
    manifest = made.manifest(image.repository, image.digest)
    assert manifest is not None
    said = Statement(SPDX, build({str(image.repository): image.digest}, SPDX, spdx()))
    evidence = attacher.look(image.repository, image.digest)
    attacher.attach(image.repository, manifest.descriptor, said, evidence, lambda: None)
    run("cosign", "verify-attestation", "--key", str(keys.public), OFFLINE, "--type", "spdxjson", image.reference)
    shown = run("oras", "discover", "--plain-http", "--format", "json", image.reference)
    (row,) = json.loads(shown.stdout)["referrers"]
    run("oras", "pull", "--plain-http", "--output", str(tmp_path / "out"), f"{image.repository}@{row['digest']}")
    raw = (tmp_path / "out" / "sbom.spdx.sigstore.json").read_bytes()
    assert parse(parse_bundle(raw).envelope.payload).predicate == spdx()


@pytest.fixture
def cosign_key(tmp_path: Path, run: Run) -> Path:
    """A key pair that cosign made: `cosign.key` and `cosign.pub`."""
    run("cosign", "generate-key-pair")
    return tmp_path / "cosign.pub"


@pytest.mark.cosign
def test_a_key_that_cosign_made_signs_what_cosign_verifies(
    image: Image, tmp_path: Path, run: Run, client: Connect, cosign_key: Path
) -> None:
    made, password = client(image.repository.host), tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    signer = KeySigner.from_file(tmp_path / "cosign.key", password)
    attacher = Attacher(made, signer, KeyAuthority.from_files([cosign_key]))
    manifest = made.manifest(image.repository, image.digest)
    assert manifest is not None
    said = Statement(VERIFICATION_SUMMARY, summary(image.repository, image.digest, Digest.of(b"policy"), "https://v"))
    evidence = attacher.look(image.repository, image.digest)
    attacher.attach(image.repository, manifest.descriptor, said, evidence, lambda: None)
    shown = ("--type", VERIFICATION_SUMMARY, image.reference)
    run("cosign", "verify-attestation", "--key", str(cosign_key), OFFLINE, *shown)


OFFLINE_SIGNING = ("--tlog-upload=false", "--use-signing-config=false", "--yes")


@pytest.mark.cosign
def test_provenance_that_cosign_attested_makes_a_baseline_and_a_build_count(
    image: Image, tmp_path: Path, run: Run, client: Connect, cosign_key: Path
) -> None:
    made = client(image.repository.host)
    predicate = tmp_path / "predicate.json"
    predicate.write_text(json.dumps(provenance_v1(source=SOURCE, revision=REVISION)))
    checked = verifier(made, cosign_key, level=Level.PROVENANCE)
    before = checked.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert before.refusal is Refusal.NO_EVIDENCE
    run(
        "cosign", "attest", "--key", str(tmp_path / "cosign.key"), *OFFLINE_SIGNING,
        "--type", "slsaprovenance1", "--predicate", str(predicate), image.reference,
    )  # fmt: skip
    checked = verifier(made, cosign_key, level=Level.PROVENANCE)
    accepted = checked.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert (accepted.outcome, accepted.reason) == (Outcome.ACCEPTED, "")
    assert checked.verify(Purpose.PULL_REQUEST, image.repository, image.digest, REVISION).outcome is Outcome.ACCEPTED
    other = checked.verify(Purpose.PULL_REQUEST, image.repository, image.digest, CommitId("2" * 40))
    assert other.refusal is Refusal.WRONG_REVISION


@pytest.mark.cosign
@pytest.mark.parametrize("layout", [(), ("--new-bundle-format=false",)], ids=["bundle", "sig-tag"])
def test_a_signature_of_cosign_counts_at_level_signature_only(  # noqa: PLR0917
    image: Image, tmp_path: Path, run: Run, client: Connect, cosign_key: Path, layout: tuple[str, ...]
) -> None:
    made = client(image.repository.host)
    run("cosign", "sign", "--key", str(tmp_path / "cosign.key"), *OFFLINE_SIGNING, *layout, image.reference)
    signature = verifier(made, cosign_key, level=Level.SIGNATURE, cosign_v2=bool(layout))
    found = signature.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert (found.outcome, found.reason) == (Outcome.ACCEPTED, "")
    provenance = verifier(made, cosign_key, level=Level.PROVENANCE, cosign_v2=bool(layout))
    refused = provenance.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert refused.refusal is Refusal.WRONG_PREDICATE


@pytest.mark.cosign
def test_an_attestation_of_the_older_layout_is_attached_as_a_bundle_that_cosign_verifies(
    image: Image, tmp_path: Path, run: Run, client: Connect, cosign_key: Path
) -> None:
    made, predicate, sbom = client(image.repository.host), tmp_path / "predicate.json", tmp_path / "sbom.json"
    predicate.write_text(json.dumps(provenance_v1(source=SOURCE, revision=REVISION)))
    sbom.write_text(json.dumps(spdx()))
    key = ("--key", str(tmp_path / "cosign.key"), *OFFLINE_SIGNING, "--new-bundle-format=false")
    run("cosign", "sign", *key, image.reference)
    for kind, file in (("slsaprovenance1", predicate), ("spdxjson", sbom)):
        run("cosign", "attest", *key, "--type", kind, "--predicate", str(file), image.reference)
    checked = verifier(made, cosign_key, level=Level.PROVENANCE, cosign_v2=True)
    verdict = checked.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert (verdict.outcome, len(verdict.carried)) == (Outcome.ACCEPTED, 1)
    own = Keys(tmp_path, "own").signer()
    attacher = Attacher(made, own, KeyAuthority([own.public_key]))
    assert attacher.shadows(image.repository, image.digest)
    carrier = Carrier(made, KeyAuthority.from_files([cosign_key]), None)
    carried = carrier.carried(image.repository, image.digest, verdict.carried, shadowing=True)
    manifest = made.manifest(image.repository, image.digest)
    assert manifest is not None
    for each in carried.ready:
        evidence = attacher.look(image.repository, image.digest)
        attacher.attach(image.repository, manifest.descriptor, each, evidence, lambda: None)
    assert not attacher.shadows(image.repository, image.digest)
    public = ("--key", str(cosign_key), OFFLINE)
    run("cosign", "verify", *public, image.reference)
    for kind in ("slsaprovenance1", "spdxjson"):
        run("cosign", "verify-attestation", *public, "--type", kind, image.reference)
    again = verifier(made, cosign_key, level=Level.PROVENANCE).verify(
        Purpose.BASELINE, image.repository, image.digest, None
    )
    assert (again.outcome, again.carried) == (Outcome.ACCEPTED, ())


@pytest.mark.cosign
def test_no_bundle_hides_the_older_signature_of_another_signer(
    image: Image, tmp_path: Path, run: Run, client: Connect, cosign_key: Path
) -> None:
    made, ci = client(image.repository.host), Keys(tmp_path, "ci")
    run(
        "cosign", "sign", "--key", str(tmp_path / "cosign.key"), *OFFLINE_SIGNING, "--new-bundle-format=false",
        image.reference,
    )  # fmt: skip
    folder = tmp_path / "handed" / f"sha256-{image.digest.hex}"
    folder.mkdir(parents=True)
    said = statement(image.digest, "https://slsa.dev/provenance/v1", provenance_v1(source=SOURCE, revision=REVISION))
    (folder / "p.sigstore.json").write_bytes(ci.signer().sign(said))
    hand_over = HandedOverFiles(tmp_path / "handed")
    policies = {p: ClaimsPolicy(p, Level.PROVENANCE, SOURCE) for p in Purpose}
    authority = KeyAuthority.from_files([ci.public])
    checked = EvidenceVerifier(made, authority, policies, ManualClock(), hand_over=hand_over)
    verdict = checked.verify(Purpose.BASELINE, image.repository, image.digest, None)
    assert verdict.outcome is Outcome.ACCEPTED
    carried = Carrier(made, authority, hand_over).carried(
        image.repository, image.digest, verdict.carried, shadowing=True
    )
    assert (carried.ready, "first bundle" in carried.blocked) == ((), True)
    run("cosign", "verify", "--key", str(cosign_key), OFFLINE, image.reference)


@pytest.mark.cosign
@pytest.mark.parametrize("log", [1, 2])
def test_keyless_provenance_counts_for_cosign_and_for_us_by_the_same_trusted_root(  # noqa: PLR0917
    image: Image, tmp_path: Path, run: Run, client: Connect, private_sigstore: PrivateSigstore, log: int
) -> None:
    made, root = client(image.repository.host), tmp_path / "root.json"
    root.write_text(json.dumps(private_sigstore.trusted_root()))
    said = statement(image.digest, SLSA_PROVENANCE_V1, provenance_v1(source=REPOSITORY, revision=REVISION))
    attach(made, image, json.dumps(private_sigstore.signed(said, log=log)).encode())
    policies = {p: ClaimsPolicy(p, Level.PROVENANCE, REPOSITORY, None, ISSUER, WORKFLOW) for p in Purpose}
    authority = RootAuthority.from_bytes(root.read_bytes(), "root", transparency_log=True)
    verdict = EvidenceVerifier(made, authority, policies, SystemClock()).verify(
        Purpose.BASELINE, image.repository, image.digest, None
    )
    assert (verdict.outcome, verdict.reason) == (Outcome.ACCEPTED, "")

    def verified(ref: str, *, ok: bool) -> None:
        identity = ("--certificate-identity", f"{WORKFLOW}@{ref}", "--certificate-oidc-issuer", ISSUER)
        times = ("--use-signed-timestamps",) if log == 2 else ()
        asked = ("--trusted-root", str(root), *times, "--type", "slsaprovenance1", *identity)
        run("cosign", "verify-attestation", *asked, image.reference, ok=ok)

    verified(MAIN, ok=True)
    verified("refs/heads/other", ok=False)


def attach(client: OrasRegistry, image: Image, bundle: bytes) -> None:
    """A bundle as any publisher attaches it."""
    manifest = client.manifest(image.repository, image.digest)
    assert manifest is not None
    layer = client.put_blob(image.repository, bundle)
    client.put_blob(image.repository, EMPTY_BLOB)
    described = Descriptor(BUNDLE_MEDIA_TYPE, layer.digest, layer.size)
    artifact, referrer = attach_manifest(manifest.descriptor, described, SLSA_PROVENANCE_V1)
    client.put_artifact(image.repository, artifact, image.digest, referrer)
