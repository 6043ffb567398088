"""The manifests of a preview's namespace, and of what every preview has in it (pure)."""

from __future__ import annotations

from typing import Any

from reconciler.preview.names import (
    ENVIRONMENT,
    MANAGED_BY,
    MANAGED_BY_PREVIEW,
    POD_SECURITY,
    SYNC_OPTIONS,
    manifest,
)
from reconciler.settings.lane import LaneSettings

_KUSTOMIZE = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def namespace_files(lane: LaneSettings) -> dict[str, list[dict[str, Any]]]:
    """The Namespace is renamed to `<prefix><number>` and labelled with the number by its Application's kustomize."""
    base = f"argocd/previews/baseline-{lane.base_environment}"
    made: dict[str, list[dict[str, Any]]] = {
        "argocd/previews/namespace/kustomization.yaml": [{**_KUSTOMIZE, "resources": ["namespace.yaml"]}],
        "argocd/previews/namespace/namespace.yaml": [_namespace(lane)],
        f"{base}/limits.yaml": [_quota(), _limits()],
        f"{base}/network.yaml": [_network(lane)],
    }
    if lane.base_services:
        made[f"{base}/services.yaml"] = [_alias(lane, name) for name in lane.base_services]
    files = sorted(path.rpartition("/")[2] for path in made if path.startswith(f"{base}/"))
    made[f"{base}/kustomization.yaml"] = [{**_KUSTOMIZE, "resources": files}]
    return made


def _namespace(lane: LaneSettings) -> dict[str, Any]:
    return manifest(
        "Namespace",
        "preview",
        metadata={
            "labels": {
                ENVIRONMENT: lane.base_environment,
                MANAGED_BY: MANAGED_BY_PREVIEW,
                "gateway-access": "allowed",
                POD_SECURITY: "baseline",
            },
            # A second lock beside preserveResourcesOnDeletion: exempt even from a cascade started by hand.
            "annotations": {SYNC_OPTIONS: "Prune=false,Delete=false"},
        },
    )


def _quota() -> dict[str, Any]:
    hard = {"limits.memory": "32Gi", "persistentvolumeclaims": "20", "pods": "100", "requests.cpu": "8"}
    return manifest("ResourceQuota", "preview", spec={"hard": hard})


def _limits() -> dict[str, Any]:
    limit = {
        "type": "Container",
        "default": {"memory": "512Mi"},
        "defaultRequest": {"cpu": "50m", "memory": "128Mi"},
    }
    return manifest("LimitRange", "preview", spec={"limits": [limit]})


def _network(lane: LaneSettings) -> dict[str, Any]:
    """In: the preview itself and its base environment. Out stays open; the cluster's own policies add to this."""
    same: dict[str, Any] = {"podSelector": {}}
    environment = {"namespaceSelector": {"matchLabels": {ENVIRONMENT: lane.base_environment}}}
    gateways = (
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": lane.webhook_route.gateway_namespace}}}]
        if lane.webhook_route is not None
        else []
    )
    return manifest(
        "NetworkPolicy",
        "preview",
        spec={"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [same, environment, *gateways]}]},
    )


def _alias(lane: LaneSettings, name: str) -> dict[str, Any]:
    target = f"{name}.{lane.base_namespace}.svc.cluster.local"
    return manifest("Service", name, spec={"type": "ExternalName", "externalName": target})
