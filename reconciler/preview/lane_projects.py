"""The two AppProjects: one for what previews run, one for their namespaces alone (pure)."""

from __future__ import annotations

from typing import Any, Final

from reconciler.preview.names import FINALIZER, PROJECT, SERVER, SYSTEM_PROJECT, manifest
from reconciler.settings.lane import LaneSettings

OWN_KINDS: Final = (
    ("", "LimitRange"), ("", "ResourceQuota"), ("networking.k8s.io", "NetworkPolicy"),
)  # fmt: skip
"""What the baseline of every preview renders."""


def allowed_kinds(lane: LaneSettings) -> tuple[tuple[str, str], ...]:
    """(group, kind) that previews may hold, sorted."""
    configured = {(k.rpartition("/")[0], k.rpartition("/")[2]) for k in lane.kinds}
    services = {("", "Service")} if lane.base_services else set()
    return tuple(sorted({*configured, *OWN_KINDS, *services}))


def projects(lane: LaneSettings) -> dict[str, list[dict[str, Any]]]:
    return {
        "argocd/projects/previews.yaml": [_previews(lane)],
        "argocd/projects/previews-system.yaml": [_system(lane)],
    }


def _previews(lane: LaneSettings) -> dict[str, Any]:
    return _project(
        lane,
        PROJECT,
        "What the previews of pull requests run: namespaced kinds only, in preview namespaces only.",
        {
            "clusterResourceWhitelist": [],
            "namespaceResourceWhitelist": [{"group": group, "kind": kind} for group, kind in allowed_kinds(lane)],
        },
    )


def _system(lane: LaneSettings) -> dict[str, Any]:
    return _project(
        lane,
        SYSTEM_PROJECT,
        "The namespaces of previews, and nothing else.",
        {
            # A name here needs the CRD of Argo CD 3.3; an older one drops it and allows every Namespace.
            "clusterResourceWhitelist": [{"group": "", "kind": "Namespace", "name": f"{lane.namespace_prefix}*"}],
            # An empty whitelist would be lost in a round trip through Argo CD's own types, and then allow everything.
            "namespaceResourceBlacklist": [{"group": "*", "kind": "*"}],
        },
    )


def _project(lane: LaneSettings, name: str, description: str, lists: dict[str, Any]) -> dict[str, Any]:
    return manifest(
        "AppProject",
        name,
        lane.argocd_namespace,
        # Holds the project until no Application refers to it.
        metadata={"finalizers": [FINALIZER]},
        spec={
            "description": description,
            "sourceRepos": [lane.gitops_url],
            "destinations": [{"server": SERVER, "namespace": f"{lane.namespace_prefix}*"}],
            **lists,
        },
    )
