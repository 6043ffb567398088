"""The rendered lane, byte for byte, and every object of it against the vendors' schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from reconciler.preview.applications import PullRequest, generate
from reconciler.preview.manifests import Manifest, parse
from reconciler.preview.yaml_out import documents
from reconciler.settings.lane import SUPPORTED
from state.git import CommitId
from tests.fixtures import argocd_schemas
from tests.fixtures.lane import HEAD, VARIANTS, lane_files
from tools import argocd_crds

Compare = Callable[[str, bytes], None]

HERE = Path(__file__).parent / "lane"
KUBERNETES = ("1.30", "1.36")
PULL = PullRequest(7, CommitId(HEAD), author="alice")
# Patches are parts of objects, and these groups' schemas come with neither Kubernetes nor Argo CD.
PATCHES = ("argocd/config/applicationset-controller.yaml",)
UNCHECKED_GROUPS = ("external-secrets.io", "gateway.networking.k8s.io", "kustomize.config.k8s.io")


def objects(variant: str) -> Iterator[Manifest]:
    for path, content in lane_files(**VARIANTS[variant]).items():
        yield from parse(content, path)


@pytest.fixture(params=argocd_crds.VERSIONS)
def argocd(request: pytest.FixtureRequest) -> dict[str, jsonschema.Draft202012Validator]:
    return dict(argocd_schemas.schemas(argocd_crds.folder() / request.param))


def test_there_are_definitions_of_every_series_that_the_lane_is_rendered_for() -> None:
    assert tuple(v.removeprefix("v").rpartition(".")[0] for v in argocd_crds.VERSIONS) == SUPPORTED


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_lane_is_rendered_as_it_always_was(variant: str, golden: Compare, request: pytest.FixtureRequest) -> None:
    files = lane_files(**VARIANTS[variant])
    folder = HERE / variant
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*.yaml")}
    if request.config.getoption("--bless"):
        for stale in there - files.keys():
            (folder / stale).unlink()
        there = set(files)
    for path, content in files.items():
        golden(f"lane/{variant}/{path}", content)
    assert there == set(files)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_applications_of_a_pull_request_are_made_as_they_always_were(variant: str, golden: Compare) -> None:
    made = [a for m in objects(variant) if m.kind == "ApplicationSet" for a in generate(m.value, PULL)]
    golden(f"applications/{variant}.yaml", documents(made, f"The Applications of pull request {PULL.number}."))


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_renderings_are_the_same_bytes(variant: str) -> None:
    assert lane_files(**VARIANTS[variant]) == lane_files(**VARIANTS[variant])


@pytest.mark.argocd_crds
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_of_argo_cd_fits_its_crd(variant: str, argocd: dict[str, jsonschema.Draft202012Validator]) -> None:
    seen = set()
    for manifest in objects(variant):
        if manifest.group != "argoproj.io":
            continue
        seen.add(manifest.kind)
        argocd[manifest.kind].validate(manifest.value)
        if manifest.kind == "ApplicationSet":
            for application in generate(manifest.value, PULL):
                argocd["Application"].validate(application)
    assert seen == {"AppProject", "ApplicationSet"}


@pytest.mark.argocd_crds
@pytest.mark.parametrize(
    "right", ["labels:\n", "requeueAfterSeconds:", "project:", "preserveResourcesOnDeletion: true"]
)
def test_the_crd_check_sees_a_misspelt_field(right: str, argocd: dict[str, jsonschema.Draft202012Validator]) -> None:
    text = lane_files()["argocd/applicationsets/preview-namespaces.yaml"].decode()
    wrong = right.replace("e", "ee", 1).replace("true", "'true'")
    assert right in text
    with pytest.raises(jsonschema.ValidationError):
        argocd["ApplicationSet"].validate(parse(text.replace(right, wrong).encode(), "x")[0].value)


@pytest.mark.parametrize(
    "version", [KUBERNETES[-1], *(pytest.param(v, marks=pytest.mark.thorough) for v in KUBERNETES[:-1])]
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_object_of_kubernetes_fits_its_schema(variant: str, version: str) -> None:
    checked = 0
    for manifest in objects(variant):
        if manifest.file in PATCHES or manifest.group in {*UNCHECKED_GROUPS, "argoproj.io"}:
            continue
        kubernetes_validate.validate(_plain(manifest.value), version, strict=True)
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_janitor_remembers_the_log_over_its_pods(variant: str) -> None:
    """What it saw of the log last is on a volume of its own, below which `state_dir` and `log.path` are."""
    (workload,) = [m for m in objects(variant) if m.kind in {"CronJob", "Deployment"} and m.name == "preview-janitor"]
    (claim,) = [m for m in objects(variant) if m.kind == "PersistentVolumeClaim" and m.name == "preview-janitor"]
    job = ("spec", "jobTemplate") if workload.kind == "CronJob" else ()
    pod = workload.at(*job, "spec", "template", "spec")
    assert {"name": "state", "persistentVolumeClaim": {"claimName": claim.name}} in pod["volumes"]
    assert {"name": "state", "mountPath": "/var/lib/ameide"} in pod["containers"][0]["volumeMounts"]
    assert claim.at("spec", "accessModes") == ["ReadWriteOnce"]
    assert (workload.at("spec", "concurrencyPolicy") or workload.at("spec", "strategy", "type")) in {
        "Forbid",
        "Recreate",
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
