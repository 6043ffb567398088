"""The reconciler's own Deployment and what belongs to it (pure)."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.preview.lane_pods import CONFIG_FILE, account, labels, pod, signing_keys, volume
from reconciler.preview.names import CONTROLLER, POD_SECURITY, RECONCILER, WEBHOOK_PORT, manifest
from reconciler.settings_lane import LaneSettings
from reconciler.settings_model import Settings
from reconciler.settings_types import is_loopback, split_address
from state.errors import ConfigError

_GRACE_S: Final = 150
"""As long as the longest batch: one hanging call ends within its own time limit."""


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
    return {
        "preview-system/namespace.yaml": [_namespace(lane)],
        "preview-system/reconciler.yaml": [
            account(lane, RECONCILER),
            volume(lane, RECONCILER, lane.reconciler.storage),
            _deployment(lane, settings, ports),
            _service(lane, ports),
            _network(lane, settings, ports),
        ],
    }


def _namespace(lane: LaneSettings) -> dict[str, Any]:
    return manifest("Namespace", lane.system_namespace, metadata={"labels": {POD_SECURITY: "restricted"}})


def _deployment(lane: LaneSettings, settings: Settings, ports: dict[str, int]) -> dict[str, Any]:
    own = lane.reconciler
    container = {
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "startupProbe": _probe("/healthz", periodSeconds=5, failureThreshold=60),
        "livenessProbe": _probe("/healthz", periodSeconds=20, failureThreshold=6),
        "readinessProbe": _probe("/readyz", periodSeconds=10, failureThreshold=3),
    }
    resources = {"requests": {"cpu": own.cpu, "memory": own.memory}, "limits": {"memory": own.memory}}
    return manifest(
        "Deployment",
        RECONCILER,
        lane.system_namespace,
        metadata={"labels": labels(RECONCILER)},
        spec={
            # One writer at a time: the volume is given from the old pod to the new one.
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels(RECONCILER)},
            "template": pod(
                own,
                RECONCILER,
                ["reconciler", "run", "--config", CONFIG_FILE],
                state={"persistentVolumeClaim": {"claimName": RECONCILER}},
                secrets="ameide-secrets",
                resources=resources,
                keys=signing_keys(settings),
                api_token=False,
                extra={"terminationGracePeriodSeconds": _GRACE_S},
                container=container,
            ),
        },
    )


def _probe(path: str, **more: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "private"}, "timeoutSeconds": 5, **more}


def _service(lane: LaneSettings, ports: dict[str, int]) -> dict[str, Any]:
    return manifest(
        "Service",
        RECONCILER,
        lane.system_namespace,
        metadata={"labels": labels(RECONCILER)},
        spec={
            "selector": labels(RECONCILER),
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
            "podSelector": {"matchLabels": labels(RECONCILER)},
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
        for url in (repository.forge.git_url, repository.gitops.url, repository.log.remote or ""):
            made.update(port_of(url))
    return tuple(sorted(made))


def port_of(url: str) -> tuple[int, ...]:
    """The TCP port of an address; none for a path."""
    if "://" not in url:
        return () if url.startswith("/") or not url else (22,)
    parts = urlsplit(url)
    known = {"https": 443, "http": 80, "ssh": 22}
    return (parts.port or known[parts.scheme],) if parts.scheme in known else ()
