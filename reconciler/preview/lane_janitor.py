"""The janitor of preview namespaces: its rights, and its CronJob or daemon (pure).

RBAC knows no patterns and no labels, so the right to delete namespaces is bound by the admission policies beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.preview.lane_pods import CONFIG_FILE, account, labels, pod, signing_keys
from reconciler.preview.names import JANITOR, manifest
from reconciler.settings_lane import LaneSettings
from reconciler.settings_model import Settings

_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}


def janitor_files(lane: LaneSettings, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    keys = signing_keys(settings)
    daemon = lane.reconciler.janitor == "daemon"
    rights = [
        account(lane, JANITOR),
        manifest(
            "ClusterRole",
            JANITOR,
            rules=[{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["delete", "get", "list"]}],
        ),
        manifest("ClusterRoleBinding", JANITOR, roleRef=_role("ClusterRole", JANITOR), subjects=[_subject(lane)]),
        *_bound(
            lane,
            lane.argocd_namespace,
            [{"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "list"]}],
        ),
    ]
    if daemon:
        lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
        rights += _bound(
            lane,
            lane.system_namespace,
            [{**lease, "verbs": ["create"]}, {**lease, "resourceNames": [JANITOR], "verbs": ["get", "update"]}],
        )
    return {
        "preview-system/janitor-rights.yaml": rights,
        "preview-system/janitor.yaml": [_daemon(lane, keys) if daemon else _cron_job(lane, keys), _network(lane)],
    }


def _bound(lane: LaneSettings, namespace: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        manifest("Role", JANITOR, namespace, rules=rules),
        manifest("RoleBinding", JANITOR, namespace, roleRef=_role("Role", JANITOR), subjects=[_subject(lane)]),
    ]


def _role(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


def _subject(lane: LaneSettings) -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": JANITOR, "namespace": lane.system_namespace}


def _pod(lane: LaneSettings, keys: tuple[Path, ...], verb: str, extra: dict[str, Any]) -> dict[str, Any]:
    return pod(
        lane.reconciler,
        JANITOR,
        ["janitor", verb, "--config", CONFIG_FILE],
        state={"emptyDir": {"sizeLimit": "1Gi"}},
        secrets="ameide-janitor-secrets",
        resources=_RESOURCES,
        keys=keys,
        api_token=True,
        extra=extra,
        container={},
    )


def _cron_job(lane: LaneSettings, keys: tuple[Path, ...]) -> dict[str, Any]:
    minutes = lane.reconciler.janitor_interval_min
    return manifest(
        "CronJob",
        JANITOR,
        lane.system_namespace,
        metadata={"labels": labels(JANITOR)},
        spec={
            "schedule": f"*/{minutes} * * * *" if minutes < 60 else "0 * * * *",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 120,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": minutes * 60 - 30,
                    "template": _pod(lane, keys, "once", {"restartPolicy": "Never"}),
                }
            },
        },
    )


def _daemon(lane: LaneSettings, keys: tuple[Path, ...]) -> dict[str, Any]:
    return manifest(
        "Deployment",
        JANITOR,
        lane.system_namespace,
        metadata={"labels": labels(JANITOR)},
        spec={
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels(JANITOR)},
            "template": _pod(lane, keys, "run", {"terminationGracePeriodSeconds": 60}),
        },
    )


def _network(lane: LaneSettings) -> dict[str, Any]:
    """Nothing comes in; out go name look-ups, the API server and the log's remote."""
    ports = [{"port": 53, "protocol": "UDP"}, *({"port": p, "protocol": "TCP"} for p in (53, 443, 6443))]
    return manifest(
        "NetworkPolicy",
        JANITOR,
        lane.system_namespace,
        spec={
            "podSelector": {"matchLabels": labels(JANITOR)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [{"ports": ports}],
        },
    )
