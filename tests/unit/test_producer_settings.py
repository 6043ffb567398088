"""`producer.yaml`: docs/publish.md is a valid one, and every problem is told at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reconciler.evidence import provenance, sbom
from reconciler.evidence.slsa import Build
from reconciler.evidence.slsa import provenance as stated
from reconciler.producing.sbom_of_sources import document
from reconciler.producing.settings import BuildahSettings, ProducerSettings, load_producer
from state import canonical
from state.errors import ConfigError
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.statement import SPDX, parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "publish.md").read_text()
(EXAMPLE,) = (block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "builder:" in block)
REPOSITORY = Repository("ghcr.io/acme/orders")
BUILD = Build(
    "https://github.com/acme/shop",
    RefName("refs/heads/main"),
    CommitId("c" * 40),
    ".github/workflows/publish.yml",
    "https://ci.example/builder",
    "https://ameide.io/publish/v1",
    (("context", "src"),),
    7,
    Digest.of(b"inputs"),
    (("docker.io/library/alpine@sha256:" + "a" * 64, Digest("sha256:" + "a" * 64)),),
)


def problems(tmp_path: Path, text: str, **environ: str) -> tuple[str, ...]:
    file = tmp_path / "producer.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_producer(file, environ)
    return caught.value.problems


def changed(old: str, new: str) -> str:
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new)


def test_the_pages_example_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "producer.yaml"
    file.write_text(EXAMPLE)
    made = load_producer(file, {}).settings
    assert made.builder.network == "none"
    assert made.main_ref in made.verification.baseline_refs


def test_every_setting_of_this_file_is_on_the_page() -> None:
    names = {*ProducerSettings.model_fields, *BuildahSettings.model_fields}
    assert {name for name in names if not re.search(rf"\b{name}\b", PAGE)} == set()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("isolation: oci", "isolation: chroot", "cannot keep steps from the network"),
        ("pull_request: provenance", "pull_request: none", "always proven"),
        ("  builder: https://", "  #builder: https://", "builder is required"),
        ("sbom: syft", "sbom: files", "syft is required for sbom: syft"),
        ("sbom: syft", "sbom: sources", "syft is required for sbom: syft"),
        ("workflow: .github", "workflow: /.github", "path inside the repository"),
        ("version: 1", "version: 1\nmain_ref: refs/heads/next", "none of verification.baseline_refs"),
        ("version: 1", "version: 1\nsbom_dir: /x", "sbom_dir is required for sbom: files"),
        ("version: 1", "version: 1\npassword: x", "unknown key"),
    ],
)
def test_what_cannot_be_is_told_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    found = problems(tmp_path, changed(old, new))
    assert any(expected in text and "(line " in text for text in found), found


def test_no_setting_comes_from_the_environment(tmp_path: Path) -> None:
    assert "AMEIDE_JOBS" in problems(tmp_path, EXAMPLE, AMEIDE_JOBS="9")[0]


@pytest.mark.parametrize("text", ["", "[]", "3", "a: &x 1\nb: *x", "x" * (64 * 1024 + 1)])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "producer.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        load_producer(file, {})


def test_the_example_workflow_builds_pushed_commits_with_the_least_rights() -> None:
    file = ROOT / "examples" / "github" / "publish.yml"
    assert "examples/github/publish.yml" in PAGE
    workflow = YAML(typ="safe").load(file)
    assert set(workflow["on"]) == {"push"}  # a pull request's own event is of a merge commit
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[a-z/]+@[0-9a-f]{40}", one) for one in used)
    # What somebody chose (a branch, a secret) reaches the shell by the environment alone.
    assert not any("${{" in step.get("run", "") for step in job["steps"])


def test_provenance_says_what_it_was_made_of_and_is_read_by_the_reconciler() -> None:
    digest = Digest.of(b"image")
    said = parse(stated(REPOSITORY, digest, BUILD))
    assert said.subjects == (digest,)
    definition = said.predicate["buildDefinition"]
    assert definition["externalParameters"]["context"] == "src"
    assert definition["internalParameters"] == {
        "github": {"repository_id": "7"},
        "inputFingerprint": Digest.of(b"inputs"),
    }
    assert definition["resolvedDependencies"][1]["digest"] == {"sha256": "a" * 64}
    source = provenance.read(said)
    assert [(m.repository, m.ref, m.revision) for m in source.materials] == [
        ("https://github.com/acme/shop", "refs/heads/main", "c" * 40)
    ]
    assert source.repository_id is not None
    assert source.repository_id.value == "7"


def test_provenance_of_a_pull_request_names_no_branch() -> None:
    said = parse(stated(REPOSITORY, Digest.of(b"image"), BUILD._replace(ref=None)))
    source = provenance.read(said)
    assert source.refs == ()
    assert [(m.ref, m.revision) for m in source.materials] == [(None, "c" * 40)]


def test_the_sbom_of_sources_is_valid_says_what_it_lacks_and_is_a_function_of_its_facts() -> None:
    made = document(REPOSITORY, Digest.of(b"image"), BUILD)
    assert sbom.check(SPDX, made) == SPDX
    assert "not listed" in str(made["comment"])
    assert canonical.dumps(made) == canonical.dumps(document(REPOSITORY, Digest.of(b"image"), BUILD))
    assert made != document(REPOSITORY, Digest.of(b"image"), BUILD._replace(bases=()))
