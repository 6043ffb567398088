"""The reconciler's own Deployment and what belongs to it (pure)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.preview.lane_pods import CONFIG_FILE, account, labels, pod, signing_keys, volume
from reconciler.preview.names import CONTROLLER, POD_SECURITY, RECONCILER, WEBHOOK_PORT, manifest
from reconciler.settings.lane import LaneSettings
from reconciler.settings.model import CALL_TIMEOUT_FACTOR, Settings
from reconciler.settings.types import is_loopback, split_address
from state.errors import ConfigError

_GRACE_MARGIN_S: Final = 30
STANDBY: Final = f"{RECONCILER}-standby"
API_DIR: Final = "/var/run/ameide-api"
_COMPONENT: Final = {"app.kubernetes.io/component": "reconciler", "app.kubernetes.io/part-of": RECONCILER}
_API_SERVER_PORTS: Final = (443, 6443)
"""Of the Service, and of what stands behind it: which of them a policy sees depends on the network plugin."""


def reconciler_files(lane: LaneSettings, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    private = settings.listen.private
    if private is None or is_loopback(split_address(private)[0]):
        raise ConfigError("listen.private: expected an address that the pod's probes reach, such as 0.0.0.0:8080")
    for name, path in (("state_dir", settings.state_dir), *(("log.path", r.log.path) for r in settings.repositories)):
        if not path.is_relative_to(lane.reconciler.data_dir):
            raise ConfigError(
                f"{name}: expected a path below {lane.reconciler.data_dir}, where the volume is mounted, got {path}"
            )
    ports = {"private": split_address(private)[1]}
    if settings.listen.public is not None:
        ports["public"] = split_address(settings.listen.public)[1]
    replicas = (RECONCILER,) if settings.standby is None else (RECONCILER, STANDBY)
    return {
        "preview-system/namespace.yaml": [_namespace(lane)],
        "preview-system/reconciler.yaml": [
            account(lane, RECONCILER),
            *_lease_rights(lane, settings),
            *(volume(lane, name, lane.reconciler.storage) for name in replicas),
            *(_deployment(lane, settings, ports, name) for name in replicas),
            _service(lane, settings, ports),
            _network(lane, settings, ports),
        ],
    }


def _lease_rights(lane: LaneSettings, settings: Settings) -> list[dict[str, Any]]:
    """Making a Lease cannot be bound to a name, the rest is. Raises ConfigError for files elsewhere."""
    standby = settings.standby
    if standby is None:
        return []
    for name, got, expected in (
        ("token_file", str(standby.token_file), f"{API_DIR}/token"),
        ("ca_file", str(standby.ca_file), f"{API_DIR}/ca.crt"),
        ("namespace", standby.namespace, lane.system_namespace),
    ):
        if got != expected:
            raise ConfigError(f"standby.{name}: expected {expected}, where the pod has it, got {got}")
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    group = "rbac.authorization.k8s.io"
    return [
        manifest(
            "Role",
            RECONCILER,
            lane.system_namespace,
            rules=[
                {**leases, "verbs": ["create"]},
                {**leases, "resourceNames": [standby.lease], "verbs": ["get", "update"]},
            ],
        ),
        manifest(
            "RoleBinding",
            RECONCILER,
            lane.system_namespace,
            roleRef={"apiGroup": group, "kind": "Role", "name": RECONCILER},
            subjects=[{"kind": "ServiceAccount", "name": RECONCILER, "namespace": lane.system_namespace}],
        ),
    ]


def _selected(settings: Settings) -> dict[str, str]:
    """The labels that all pods of the reconciler have. One pod alone is selected as it always was."""
    return labels(RECONCILER) if settings.standby is None else _COMPONENT


def _namespace(lane: LaneSettings) -> dict[str, Any]:
    return manifest("Namespace", lane.system_namespace, metadata={"labels": {POD_SECURITY: "restricted"}})


def _deployment(lane: LaneSettings, settings: Settings, ports: dict[str, int], name: str) -> dict[str, Any]:
    """One replica, with a volume of its own."""
    own = lane.reconciler
    container = {
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "startupProbe": _probe("/healthz", periodSeconds=5, failureThreshold=60),
        "livenessProbe": _probe("/healthz", periodSeconds=20, failureThreshold=6),
        "readinessProbe": _probe("/readyz", periodSeconds=10, failureThreshold=3),
    }
    resources = {"requests": {"cpu": own.cpu, "memory": own.memory}, "limits": {"memory": own.memory}}
    template = pod(
        own,
        RECONCILER,
        ["reconciler", "run", "--config", CONFIG_FILE],
        state={"persistentVolumeClaim": {"claimName": name}},
        secrets="ameide-secrets",
        resources=resources,
        keys=signing_keys(settings),
        api_token=False,
        # As long as the longest batch: one hanging call ends within its own time limit.
        extra={"terminationGracePeriodSeconds": _GRACE_MARGIN_S + CALL_TIMEOUT_FACTOR * settings.request_timeout_s},
        container=container,
    )
    if settings.standby is not None:
        _stand_by(template, name)
    return manifest(
        "Deployment",
        name,
        lane.system_namespace,
        metadata={"labels": labels(name)},
        spec={
            # One writer at a time: the volume is given from the old pod to the new one.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels(name)},
            "template": template,
        },
    )


def _stand_by(template: dict[str, Any], name: str) -> None:
    """What a pod needs that stands by: the API server's token, a name of its own, and another machine."""
    template["metadata"]["labels"] = {**labels(name), **_COMPONENT}
    spec = template["spec"]
    spec["hostname"] = name
    spec["affinity"] = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": _COMPONENT},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        }
    }
    # Not the account's own token: that one would be in the container that copies keys, too.
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources = [{"serviceAccountToken": {"expirationSeconds": 3600, "path": "token"}}, {"configMap": authority}]
    spec["volumes"].append({"name": "api", "projected": {"sources": sources}})
    spec["containers"][0]["volumeMounts"].append({"name": "api", "mountPath": API_DIR, "readOnly": True})


def _probe(path: str, **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "private"}, "timeoutSeconds": 5, **more}


def _service(lane: LaneSettings, settings: Settings, ports: dict[str, int]) -> dict[str, Any]:
    return manifest(
        "Service",
        RECONCILER,
        lane.system_namespace,
        metadata={"labels": labels(RECONCILER)},
        spec={
            # A replica that stands by is not ready, so the one that works gets everything.
            "selector": _selected(settings),
            "ports": [{"name": name, "port": port, "targetPort": name} for name, port in ports.items()],
        },
    )


def _network(lane: LaneSettings, settings: Settings, ports: dict[str, int]) -> dict[str, Any]:
    """In: Argo CD and the gateway on the public port, anybody on the private one. Out: what the configuration names."""
    callers = [lane.argocd_namespace]
    if lane.webhook_route is not None:
        callers.append(lane.webhook_route.gateway_namespace)
    ingress: list[dict[str, Any]] = [{"ports": [{"port": ports["private"], "protocol": "TCP"}]}]
    if "public" in ports:
        ingress.append({"from": [_from(n) for n in callers], "ports": [{"port": ports["public"], "protocol": "TCP"}]})
    out = [{"port": 53, "protocol": "UDP"}, *({"port": p, "protocol": "TCP"} for p in (53, *outside_ports(settings)))]
    controller = {
        **_from(lane.argocd_namespace),
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": CONTROLLER}},
    }
    return manifest(
        "NetworkPolicy",
        RECONCILER,
        lane.system_namespace,
        spec={
            "podSelector": {"matchLabels": _selected(settings)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [{"ports": out}, {"to": [controller], "ports": [{"port": WEBHOOK_PORT, "protocol": "TCP"}]}],
        },
    )


def _from(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}


def outside_ports(settings: Settings) -> tuple[int, ...]:
    """TCP ports of everything outside that the configuration names."""
    made = {443}
    for registry in settings.registries:
        tail = registry.host.rpartition(":")[2]
        made.add(int(tail) if tail.isdecimal() else 443)
    for repository in settings.repositories:
        targets = (target.forge.git_url for target in repository.targets)
        for url in (repository.forge.git_url, repository.gitops.url, repository.log.remote or "", *targets):
            made.update(port_of(url))
    if settings.standby is not None:
        made.update((*_API_SERVER_PORTS, *port_of(settings.standby.server)))
    return tuple(sorted(made))


def port_of(url: str) -> tuple[int, ...]:
    """The TCP port of an address; none for a path."""
    if "://" not in url:
        return () if url.startswith("/") or not url else (22,)
    parts = urlsplit(url)
    known = {"https": 443, "http": 80, "ssh": 22}
    return (parts.port or known[parts.scheme],) if parts.scheme in known else ()
