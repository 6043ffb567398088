"""The lane by its commands, and its kustomizations by kustomize itself."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from reconciler import cli
from reconciler.cli import root
from tests.fixtures.lane import HEAD, config


def ameide(*arguments: str | Path) -> Result:
    return CliRunner().invoke(root, [str(a) for a in arguments], standalone_mode=False)


@pytest.fixture
def ameide_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ameide.yaml"
    path.write_text(json.dumps(config()))
    return path


@pytest.fixture
def lane(ameide_yaml: Path, tmp_path: Path) -> Path:
    done = ameide("gitops", "render", "--config", ameide_yaml, "--out", tmp_path / "lane")
    assert (done.return_value, done.exception) == (0, None)
    return tmp_path / "lane"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def failed(code: int, *arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(a) for a in arguments])
    assert ended.value.code == code


def test_check_tells_what_was_edited_removed_and_left_over(ameide_yaml: Path, lane: Path) -> None:
    assert ameide("gitops", "render", "--config", ameide_yaml, "--check", lane).return_value == 0
    edit(lane / "argocd/projects/previews.yaml", "pr-*", "*")
    (lane / "preview-system/policies.yaml").unlink()
    stale = lane / "argocd/applicationsets/preview-old.yaml"
    stale.write_bytes((lane / "argocd/projects/previews-system.yaml").read_bytes())
    (lane / "theirs.yaml").write_text("a: 1\n")
    done = ameide("gitops", "render", "--config", ameide_yaml, "--check", lane, "--json")
    assert done.return_value == 1
    assert json.loads(done.output)["differences"] == [
        "argocd/applicationsets/preview-old.yaml: not rendered any more",
        "argocd/projects/previews.yaml: differs",
        "preview-system/policies.yaml: missing",
    ]
    again = ameide("gitops", "render", "--config", ameide_yaml, "--out", lane, "--json")
    assert json.loads(again.output)["written"] == ["argocd/projects/previews.yaml", "preview-system/policies.yaml"]
    assert (lane / "theirs.yaml").read_text() == "a: 1\n"


def test_nothing_is_written_through_a_symbolic_link(ameide_yaml: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "lane").mkdir()
    (tmp_path / "lane" / "argocd").symlink_to(outside)
    failed(2, "gitops", "render", "--config", ameide_yaml, "--out", tmp_path / "lane")
    assert list(outside.rglob("*.yaml")) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"listen": {"private": "127.0.0.1:8080", "public": "0.0.0.0:8081"}}, "listen.private"),
        ({"state_dir": "/srv/state"}, "state_dir"),
    ],
)
def test_a_configuration_that_no_pod_can_run_is_refused(
    changed: dict[str, Any], told: str, ameide_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ameide_yaml.write_text(json.dumps({**config(), **changed}))
    failed(2, "gitops", "render", "--config", ameide_yaml, "--out", tmp_path / "lane")
    assert told in capsys.readouterr().err


def test_lint_ends_with_0_for_clean_1_for_findings_and_2_for_bad_input(
    ameide_yaml: Path, lane: Path, tmp_path: Path
) -> None:
    assert ameide("gitops", "lint", "--config", ameide_yaml, lane).return_value == 0
    edit(lane / "argocd/applicationsets/preview-baseline.yaml", "prune: true", "prune: false")
    assert ameide("gitops", "lint", lane).return_value == 1
    failed(2, "gitops", "lint", lane / "nowhere")
    (tmp_path / "other").mkdir()
    failed(2, "gitops", "lint", tmp_path / "other")
    failed(2, "gitops", "lint", lane, "--argocd-version", "new")
    failed(2, "gitops", "lint", "--explain", "Z9")
    failed(2, "gitops", "lint")


def test_lint_tells_machines_the_same_as_people(ameide_yaml: Path, lane: Path) -> None:
    edit(lane / "argocd/applicationsets/preview-baseline.yaml", "prune: true", "prune: false")
    where = "lane/argocd/applicationsets/preview-baseline.yaml"
    text = ameide("gitops", "lint", "lane").output
    made = json.loads(ameide("gitops", "lint", "lane", "--format", "json").output)
    sarif = json.loads(ameide("gitops", "lint", "lane", "--format", "sarif").output)
    (found,) = [x for x in made["findings"] if x["level"] == "error"]
    assert f"{where}:{found['line']}: C2 error: {found['message']}" in text
    assert found["file"] == where
    assert found["why"] in text
    assert found["source"] in text
    run = sarif["runs"][0]
    (result,) = [r for r in run["results"] if r["level"] == "error"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == where
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == found["line"]
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "C2"
    assert sarif["version"] == "2.1.0"
    assert len(run["tool"]["driver"]["rules"]) == 62


def test_kinds_that_are_rendered_are_held_against_the_list_both_ways(
    ameide_yaml: Path, lane: Path, tmp_path: Path
) -> None:
    allowed = YAML(typ="safe").load(lane / "argocd/projects/previews.yaml")["spec"]["namespaceResourceWhitelist"]
    rendered = tmp_path / "rendered" / "orders"
    rendered.mkdir(parents=True)
    objects = [
        {"apiVersion": f"{k['group']}/v1".lstrip("/"), "kind": k["kind"], "metadata": {"name": "x"}} for k in allowed
    ]
    (rendered / "all.yaml").write_text("\n---\n".join(json.dumps(o) for o in objects))
    lint = ("gitops", "lint", "--config", ameide_yaml, "--kinds", tmp_path / "rendered", lane)
    assert ameide(*lint).return_value == 0
    (rendered / "more.yaml").write_text(
        '{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}}'
    )
    done = ameide(*lint)
    assert done.return_value == 1
    assert "policy/PodDisruptionBudget is rendered and not allowed by previews" in done.output
    (rendered / "more.yaml").unlink()
    (rendered / "all.yaml").write_text("\n---\n".join(json.dumps(o) for o in objects if o["kind"] != "GRPCRoute"))
    done = ameide(*lint)
    assert done.return_value == 1
    assert "gateway.networking.k8s.io/GRPCRoute is allowed and never rendered" in done.output


def test_preview_render_writes_what_the_controller_would_make(lane: Path) -> None:
    done = ameide("preview", "render", "--pr", "7", "--head", HEAD, lane, "--json")
    assert done.return_value == 0
    made = {a["metadata"]["name"]: a for a in json.loads(done.output)}
    assert sorted(made) == [
        "pr-7-baseline",
        "pr-7-billing",
        "pr-7-namespace",
        "pr-7-orders",
        "pr-7-secrets",
        "pr-7-web",
    ]
    assert "finalizers" not in made["pr-7-namespace"]["metadata"]
    parameters = made["pr-7-web"]["spec"]["sources"][0]["helm"]["parameters"]
    assert [p["value"] for p in parameters] == [f"ghcr.io/acme/web-shop:{HEAD}", "www-pr-7.dev.example.org"]
    assert {a["spec"]["destination"]["namespace"] for a in made.values()} == {"pr-7"}


def test_preview_render_shows_the_finalizer_that_the_controller_adds(lane: Path) -> None:
    edit(
        lane / "argocd/applicationsets/preview-namespaces.yaml",
        "preserveResourcesOnDeletion: true",
        "applicationsSync: sync",
    )
    made = json.loads(ameide("preview", "render", "--pr", "7", "--head", HEAD, lane, "--json").output)
    (namespace,) = [a for a in made if a["metadata"]["name"] == "pr-7-namespace"]
    assert namespace["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]


def test_preview_render_says_what_it_cannot_compute(lane: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render = ("preview", "render", "--pr", "7", "--head", HEAD, lane)
    assert ameide(*render, "--label", "preview").return_value == 1  # the other label is missing
    failed(2, "preview", "render", "--pr", "7", "--head", HEAD[:8], lane)
    failed(2, "preview", "render", "--pr", "7", "--head", HEAD, lane / "preview-system")
    apps = lane / "argocd/applicationsets/preview-apps.yaml"
    edit(apps, "- list:", "- git:")
    failed(2, *render)
    assert "ApplicationSet preview-apps: the generator git is not computed offline" in capsys.readouterr().err
    edit(apps, "- git:", "- list:")
    edit(apps, 'releaseName: "{{ .component }}"', 'releaseName: "{{ .component | upper }}"')
    failed(2, *render)
    assert "the function upper is not evaluated offline" in capsys.readouterr().err


@pytest.mark.kubectl
def test_kustomize_names_and_labels_the_namespace_as_its_application_says(lane: Path, tmp_path: Path) -> None:
    made = json.loads(ameide("preview", "render", "--pr", "7", "--head", HEAD, lane, "--json").output)
    (application,) = [a for a in made if a["metadata"]["name"] == "pr-7-namespace"]
    source = application["spec"]["source"]
    # What Argo CD does with a kustomize source: these settings go into its kustomization.
    own = lane / source["path"] / "kustomization.yaml"
    own.write_text(own.read_text() + json.dumps(source["kustomize"])[1:-1].replace(', "', '\n"') + "\n")
    (namespace,) = kustomized(lane / source["path"])
    assert namespace["metadata"]["name"] == application["spec"]["destination"]["namespace"] == "pr-7"
    assert namespace["metadata"]["labels"] == {
        "ameide.io/environment": "dev",
        "ameide.io/managed-by": "preview",
        "ameide.io/preview-pr": "7",
        "gateway-access": "allowed",
        "pod-security.kubernetes.io/enforce": "baseline",
    }
    assert namespace["metadata"]["annotations"] == {"argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}


@pytest.mark.kubectl
def test_kustomize_puts_our_settings_on_the_argo_cd_that_is_there(lane: Path, tmp_path: Path) -> None:
    base = lane / "base"
    base.mkdir()
    (base / "argocd.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cmd-params-cm, namespace: argocd}\n"
        "data: {theirs: kept}\n"
        "---\napiVersion: apps/v1\nkind: Deployment\n"
        "metadata: {name: argocd-applicationset-controller, namespace: argocd}\n"
        "spec: {template: {metadata: {annotations: {theirs: kept}}, spec: {containers: [{name: c, image: i}]}}}\n"
    )
    (base / "kustomization.yaml").write_text("resources: [argocd.yaml]\ncomponents: [../argocd/config]\n")
    made = {(o["kind"], o["metadata"]["name"]): o for o in kustomized(base)}
    switches = made["ConfigMap", "argocd-cmd-params-cm"]["data"]
    assert switches["theirs"] == "kept"
    assert switches["applicationsetcontroller.enable.tokenref.strict.mode"] == "true"
    pods = made["Deployment", "argocd-applicationset-controller"]["spec"]["template"]
    assert pods["metadata"]["annotations"] == {"ameide.io/secret-generation": "1", "theirs": "kept"}
    assert ("HTTPRoute", "applicationset-webhook") in made
    (baseline,) = (lane / "argocd/previews").glob("baseline-*")
    assert {o["kind"] for o in kustomized(baseline)} == {"LimitRange", "NetworkPolicy", "ResourceQuota", "Service"}


def kustomized(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, check=True, timeout=60)
    return [o for o in YAML(typ="safe").load_all(done.stdout.decode()) if o]
