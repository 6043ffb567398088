"""50 baselines verified and attached to: against sigstore alone on the same bytes, and a plain client's uploads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any, Final
from urllib.parse import urljoin

import requests
from cryptography.hazmat.primitives.asymmetric import ec

from bench.distribution import PROGRAM, distribution, missing
from bench.measure import Bench, Row, Target, seconds, versus
from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.demo.images import build_and_push
from reconciler.evidence.attaching import Attacher, Statement
from reconciler.evidence.claims import ClaimsPolicy
from reconciler.evidence.finding import EMPTY_BLOB, attach_manifest
from reconciler.evidence.found import BUNDLE_MEDIA_TYPE
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.slsa import Build, provenance
from reconciler.evidence.summary import summary
from reconciler.evidence.trusted_root import RootAuthority
from reconciler.evidence.verifying import EvidenceVerifier
from reconciler.ports import Purpose
from state.git import CommitId, RefName
from state.oci import MANIFEST_MEDIA_TYPES, OCI_INDEX, Descriptor, Digest, Manifest, Repository, Tag
from state.statement import SLSA_PROVENANCE_V1, VERIFICATION_SUMMARY
from state.verdict import Level, Outcome
from tests.fixtures.registry_stub import Stub
from tests.fixtures.sigstore import ISSUER, REPOSITORY, REVISION, WORKFLOW, PrivateSigstore

BASELINES: Final = 50
WORKERS: Final = 16
COLD: Final = Row(
    "evidence.cold", f"{BASELINES} baselines: found, verified, index checked", unit="s", target=Target("<=", 1.5)
)
ALONE: Final = Row("evidence.alone", "the same, where the peer reads no index", unit="s")
WARM: Final = Row("evidence.warm", "the same digests again", unit="s", target=Target("<=", 0.01))
ATTACH: Final = Row("evidence.attach", f"a statement to {BASELINES} digests", unit="s", target=Target("<=", 1.5))


class Image:
    """A baseline in a repository of its own."""

    def __init__(self, host: str, number: int) -> None:
        self.repository = Repository(f"{host}/bench/evidence-{number}")
        self.digest = build_and_push(self.repository, Tag("main"), f"{number:040x}")
        self.base = f"http://{self.repository.host}/v2/{self.repository.path}/"

    def provenance(self) -> bytes:
        build = Build(REPOSITORY, RefName.branch("main"), CommitId(REVISION), "publish.yml", "https://ci", "https://b")
        return provenance(self.repository, self.digest, build)


def run(bench: Bench) -> list[Row]:
    if lacking := missing(PROGRAM):
        return [row._replace(note=lacking) for row in (COLD, ALONE, WARM, ATTACH)]
    with distribution(bench.folder("distribution")) as host, ThreadPoolExecutor(WORKERS) as pool:
        images, root = attested(host, BASELINES)
        return [*_verify(bench, host, images, root, pool), _attach(bench, host, images, pool)]


def attested(host: str, number: int) -> tuple[list[Image], bytes]:
    """So many images, each with a keyless provenance bundle of a private Sigstore deployment, and its trusted root."""
    deployment = Stub()
    try:
        sigstore = PrivateSigstore(deployment)
        images = [Image(host, n) for n in range(number)]
        with connected(host) as client:
            for image in images:
                _attach_raw_bundle(client, image, json.dumps(sigstore.signed(image.provenance())).encode())
        return images, json.dumps(sigstore.trusted_root()).encode()
    finally:
        deployment.close()


# --- verifying


def verifier(client: OrasRegistry, root: bytes) -> EvidenceVerifier:
    """One that asks for provenance by the workflow that `attested` signs as; nothing verified yet."""
    authority = RootAuthority.from_bytes(root, "root", transparency_log=True)
    policy = ClaimsPolicy(Purpose.BASELINE, Level.PROVENANCE, REPOSITORY, None, ISSUER, WORKFLOW)
    return EvidenceVerifier(client, authority, {p: policy._replace(purpose=p) for p in Purpose}, SystemClock())


def verify_all(made: EvidenceVerifier, images: Sequence[Image], pool: ThreadPoolExecutor) -> None:
    """Raises RuntimeError where a baseline is not accepted."""
    for verdict in pool.map(lambda i: made.verify(Purpose.BASELINE, i.repository, i.digest, None), images):
        if verdict.outcome is not Outcome.ACCEPTED:
            raise RuntimeError(verdict.reason)


def _verify(bench: Bench, host: str, images: Sequence[Image], root: bytes, pool: ThreadPoolExecutor) -> list[Row]:
    warm: list[float] = []

    def ours() -> float:
        with connected(host) as client:
            made = verifier(client, root)
            took = seconds(lambda: verify_all(made, images, pool))
            warm.append(seconds(lambda: verify_all(made, images, pool)))
            return took

    peers = {
        "whole": lambda: _sigstore_alone(images, root, pool, whole=True),
        "alone": lambda: _sigstore_alone(images, root, pool, whole=False),
    }
    found = versus("evidence.cold", bench.rounds, ours, peers)
    cold, alone = found["whole"], found["alone"]
    again = sorted(warm)[len(warm) // 2]
    return [
        COLD._replace(
            ours=cold.ours, peer=cold.peer, ratio=cold.ratio, note="plain reads, then sigstore's verify_dsse"
        ),
        ALONE._replace(ours=alone.ours, peer=alone.peer, ratio=alone.ratio, note="without index and platforms"),
        WARM._replace(ours=again, peer=cold.ours, ratio=again / cold.ours, note="the cold run"),
    ]


def _sigstore_alone(images: Sequence[Image], root: bytes, pool: ThreadPoolExecutor, *, whole: bool) -> float:
    """A plain client that reads list, manifest and bundle of each, and lets sigstore verify it.

    With `whole` also the index and the manifests that it lists, which has to be there for the same verdict.
    """
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier, policy
    from sigstore_models.trustroot.v1 import TrustedRoot as Model

    alone = Verifier(trusted_root=TrustedRoot(Model.from_json(root)))
    identity = policy.Identity(identity=f"{WORKFLOW}@refs/heads/main", issuer=ISSUER)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=WORKERS))

        def one(image: Image) -> None:
            accept = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
            listed = session.get(urljoin(image.base, f"manifests/sha256-{image.digest.hex}"), headers=accept).json()
            url = urljoin(image.base, f"manifests/{listed['manifests'][0]['digest']}")
            layer = session.get(url, headers=accept).json()["layers"][0]["digest"]
            bundle = Bundle.from_json(session.get(urljoin(image.base, f"blobs/{layer}")).content)
            alone.verify_dsse(bundle, identity)
            if whole:
                index = session.get(urljoin(image.base, f"manifests/{image.digest}"), headers=accept).json()
                for row in index["manifests"]:
                    _good(session.get(urljoin(image.base, f"manifests/{row['digest']}"), headers=accept))

        return seconds(lambda: list(pool.map(one, images)))


# --- attaching


def _attach(bench: Bench, host: str, images: Sequence[Image], pool: ThreadPoolExecutor) -> Row:
    signer = KeySigner(ec.generate_private_key(ec.SECP256R1()))
    policies = count()

    def statements() -> list[tuple[Image, Statement]]:
        policy = Digest.of(f"policy {next(policies)}".encode())
        return [
            (i, Statement(VERIFICATION_SUMMARY, summary(i.repository, i.digest, policy, "https://v"))) for i in images
        ]

    def cleared() -> None:
        for image in images:
            _put(requests.Session(), image, f"sha256-{image.digest.hex}", Manifest.of(OCI_INDEX, _EMPTY_INDEX))

    def ours() -> float:
        cleared()
        with connected(host) as client:
            attacher = Attacher(client, signer, KeyAuthority([signer.public_key]))
            manifests = {i: client.manifest(i.repository, i.digest) for i in images}

            def one(work: tuple[Image, Statement]) -> None:
                image, statement = work
                manifest = manifests[image]
                assert manifest is not None
                evidence = attacher.look(image.repository, image.digest)
                attacher.attach(image.repository, manifest.descriptor, statement, evidence, lambda: None)

            work = statements()
            return seconds(lambda: list(pool.map(one, work)))

    def plain() -> float:
        cleared()
        with requests.Session() as session:
            session.trust_env = False
            session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=WORKERS))

            def one(work: tuple[Image, Statement]) -> None:
                image, statement = work
                bundle = signer.sign(statement.raw)
                layer = Descriptor(BUNDLE_MEDIA_TYPE, _upload(session, image, bundle), len(bundle))
                _upload(session, image, EMPTY_BLOB)
                subject = Descriptor(OCI_INDEX, image.digest, 1)
                manifest, referrer = attach_manifest(subject, layer, statement.predicate_type)
                _put(session, image, manifest.digest, manifest)
                tag = f"sha256-{image.digest.hex}"
                listed = session.get(urljoin(image.base, f"manifests/{tag}"), headers={"Accept": OCI_INDEX}).json()
                row = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)}
                listed["manifests"].append({**row, "artifactType": referrer.artifact_type})
                _put(session, image, tag, Manifest.of(OCI_INDEX, json.dumps(listed).encode()))

            work = statements()
            return seconds(lambda: list(pool.map(one, work)))

    found = versus("evidence.attach", bench.rounds, ours, {"plain": plain})["plain"]
    return ATTACH._replace(
        ours=found.ours, peer=found.peer, ratio=found.ratio, note="a plain client, nothing looked up"
    )


_EMPTY_INDEX: Final = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()


def _attach_raw_bundle(client: OrasRegistry, image: Image, bundle: bytes) -> None:
    manifest = client.manifest(image.repository, image.digest)
    assert manifest is not None
    blob = client.put_blob(image.repository, bundle)
    client.put_blob(image.repository, EMPTY_BLOB)
    layer = Descriptor(BUNDLE_MEDIA_TYPE, blob.digest, blob.size)
    artifact, referrer = attach_manifest(manifest.descriptor, layer, SLSA_PROVENANCE_V1)
    client.put_artifact(image.repository, artifact, image.digest, referrer)


def _upload(session: requests.Session, image: Image, raw: bytes) -> Digest:
    digest = Digest.of(raw)
    started = _good(session.post(urljoin(image.base, "blobs/uploads/")))
    location = urljoin(image.base, started.headers["Location"])
    _good(session.put(f"{location}{'&' if '?' in location else '?'}digest={digest}", data=raw))
    return digest


def _put(session: requests.Session, image: Image, reference: str, manifest: Manifest) -> None:
    url = urljoin(image.base, f"manifests/{reference}")
    _good(session.put(url, data=manifest.raw, headers={"Content-Type": manifest.media_type}))


def _good(answer: Any) -> Any:
    if not answer.ok:
        raise RuntimeError(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:200]}")
    return answer


@contextmanager
def connected(host: str) -> Iterator[OrasRegistry]:
    limits = Limits(writes_per_s=None)
    client = OrasRegistry(host, plain_http=True, limits=limits, clock=SystemClock(), random=SystemRandom())
    try:
        yield client
    finally:
        client.close()
