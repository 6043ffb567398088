"""Provenance of 50 baselines, verified offline against the trusted root of a private Sigstore deployment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.evidence import BASELINES, WORKERS, Image, attested, connected, verifier, verify_all
from bench.measure import Bench, Row, Target, seconds
from bench.peers_programs import Against, Program, compared, program, run_all
from tests.fixtures.sigstore import ISSUER, WORKFLOW


def run(bench: Bench, host: str) -> Iterator[Row]:
    folder, cosign = bench.folder("cosign"), program("cosign")
    images, root = attested(host, BASELINES)
    (folder / "root.json").write_bytes(root)
    with ThreadPoolExecutor(WORKERS) as pool:

        def ours() -> float:
            with connected(host) as client:
                made = verifier(client, root)
                return seconds(lambda: verify_all(made, images, pool))

        def by(what: str, images_each: int, at_a_time: int, target: Target | None = None) -> Against:
            groups = [images[n : n + images_each] for n in range(0, len(images), images_each)]
            commands = [_verify(cosign, folder / "root.json", group) for group in groups]
            return Against(cosign, what, lambda: seconds(lambda: run_all(commands, at_a_time, folder)), target)

        yield from compared(
            "peers.verify",
            bench,
            ours,
            [
                by(f"{BASELINES} baselines, one process after the other", 1, 1, Target(">=", 1)),
                by(f"{BASELINES} baselines, {WORKERS} processes side by side", 1, WORKERS),
                by(f"{BASELINES} baselines, one process for all", BASELINES, 1),
            ],
        )


def _verify(cosign: Program, root: Path, images: Sequence[Image]) -> list[str]:
    return [
        cosign.path, "verify-attestation", "--trusted-root", str(root), "--allow-http-registry",
        "--type", "slsaprovenance1", "--certificate-oidc-issuer", ISSUER,
        "--certificate-identity", f"{WORKFLOW}@refs/heads/main",
        *(f"{image.repository}@{image.digest}" for image in images),
    ]  # fmt: skip
