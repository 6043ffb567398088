"""The rendered workloads: what each pod of ours may, and what keeps it running."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.preview.lane_reconciler import API_DIR, STANDBY
from reconciler.preview.manifests import parse
from reconciler.preview.names import JANITOR, RECONCILER
from state.errors import ConfigError
from tests.fixtures.lane import STANDBY as STANDBY_SETTINGS
from tests.fixtures.lane import VARIANTS, config, lane_files, settings, variant_files

PROFILE = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}


def objects(variant: str, *kinds: str) -> list[dict[str, Any]]:
    files = {p: c for p, c in variant_files(variant).items() if p.startswith("preview-system/")}
    found = [m.value for path, content in files.items() for m in parse(content, path)]
    return [dict(v) for v in found if not kinds or v["kind"] in kinds]


def pods(variant: str) -> list[dict[str, Any]]:
    made = [d["spec"]["template"]["spec"] for d in objects(variant, "Deployment")]
    return made + [c["spec"]["jobTemplate"]["spec"]["template"]["spec"] for c in objects(variant, "CronJob")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_keeps_the_restricted_profile_and_more(variant: str) -> None:
    (namespace,) = objects(variant, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(pods(variant)) >= 2
    for pod in pods(variant):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] >= 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert pod["enableServiceLinks"] is False
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == PROFILE
            assert "@sha256:" in container["image"]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
        for volume in pod["volumes"]:
            assert len(VOLUMES & set(volume)) == 1
            assert "emptyDir" not in volume or "sizeLimit" in volume["emptyDir"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_janitor_gets_its_accounts_token(variant: str) -> None:
    for account in objects(variant, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    mounted = {p["serviceAccountName"]: p["automountServiceAccountToken"] for p in pods(variant)}
    assert mounted == {RECONCILER: False, JANITOR: True}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_replica_is_probed_on_its_private_port_and_has_time_to_drain(variant: str) -> None:
    for deployment in objects(variant, "Deployment"):
        if deployment["metadata"]["name"] == JANITOR:
            continue
        spec = deployment["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        paths = {n: container[f"{n}Probe"]["httpGet"] for n in ("startup", "liveness", "readiness")}
        assert {p["port"] for p in paths.values()} == {"private"}
        assert [paths[n]["path"] for n in ("startup", "liveness", "readiness")] == ["/healthz", "/healthz", "/readyz"]
        assert pod["terminationGracePeriodSeconds"] == 150, "30 s more than one call of four tries of 30 s"
        (claim,) = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"] == "state"]
        assert claim in {c["metadata"]["name"] for c in objects(variant, "PersistentVolumeClaim")}


def test_a_longer_request_timeout_means_a_longer_drain() -> None:
    made = config()
    made["request_timeout_s"] = 60
    whole = type(settings()[0]).model_validate(made, strict=False)
    from reconciler.preview.render import render

    deployment = next(
        m.value
        for m in parse(dict(render(whole, whole.repositories[0]))["preview-system/reconciler.yaml"], "reconciler.yaml")
        if m.kind == "Deployment"
    )
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 270


# --- standing by


def test_two_replicas_share_an_account_a_service_and_a_policy_and_nothing_else() -> None:
    first, second = objects("standby", "Deployment")
    assert [d["metadata"]["name"] for d in (first, second)] == [RECONCILER, STANDBY]
    assert first["spec"]["selector"] != second["spec"]["selector"]
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in (first, second)]
    for selecting in (objects("standby", "Service")[0]["spec"]["selector"], _policy("standby")["matchLabels"]):
        assert all(selecting.items() <= of.items() for of in labels)
    for deployment, of in zip((first, second), labels, strict=True):
        assert deployment["spec"]["selector"]["matchLabels"].items() <= of.items()
    hosts = [d["spec"]["template"]["spec"]["hostname"] for d in (first, second)]
    assert hosts == [RECONCILER, STANDBY], "the log's writers are named after them"


def test_the_api_servers_token_is_for_the_reconciler_alone_and_may_only_do_the_lease() -> None:
    for deployment in objects("standby", "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (source,) = [v["projected"]["sources"] for v in pod["volumes"] if v["name"] == "api"]
        assert source[0] == {"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}}
        assert [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "api"] == [API_DIR]
        assert "api" not in {m["name"] for m in pod["initContainers"][0]["volumeMounts"]}
    (role,) = [r for r in objects("standby", "Role") if r["metadata"]["name"] == RECONCILER]
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["ameide"],
            "verbs": ["get", "update"],
        },
    ]


def test_one_replica_alone_has_no_right_at_the_api_server() -> None:
    assert RECONCILER not in {r["metadata"]["name"] for r in objects("plugin-daemon", "Role", "ClusterRole")}
    assert "api" not in {v["name"] for p in pods("plugin-daemon") for v in p["volumes"]}


def test_the_network_lets_replicas_reach_the_api_server() -> None:
    def ports(variant: str) -> set[int]:
        return {p["port"] for p in _network(variant)["egress"][0]["ports"]}

    assert ports("standby") - ports("plugin-daemon") == {6443}


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_file", "/var/run/elsewhere/token"), ("ca_file", "/etc/ca.crt"), ("namespace", "elsewhere")],
)
def test_what_the_pod_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setitem(STANDBY_SETTINGS, name, value)
    with pytest.raises(ConfigError, match=rf"standby\.{name}: expected"):
        lane_files(generator="plugin", standby=True)


def _network(variant: str) -> dict[str, Any]:
    (made,) = [n["spec"] for n in objects(variant, "NetworkPolicy") if n["metadata"]["name"] == RECONCILER]
    return dict(made)


def _policy(variant: str) -> dict[str, Any]:
    return dict(_network(variant)["podSelector"])
