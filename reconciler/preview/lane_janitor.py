"""The janitor of preview namespaces: its rights, and its CronJob or daemon (pure).

RBAC knows no patterns and no labels, so the right to delete namespaces is bound by the admission policies beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from reconciler.preview.lane_pods import CONFIG_FILE, account, in_pod, labels, pod, volume
from reconciler.preview.lane_reconciler import port_of
from reconciler.preview.names import JANITOR, manifest
from reconciler.settings.lane import LaneSettings
from reconciler.settings.model import RepositorySettings, Settings
from state.errors import ConfigError

_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_STORAGE: Final = "1Gi"
"""The log, and the tip that was seen last: a run after it refuses a remote that lost entries, and with them an undo."""
_RESOURCES = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}


def janitor_files(
    lane: LaneSettings, settings: Settings, repository: RepositorySettings
) -> dict[str, list[dict[str, Any]]]:
    """Raises ConfigError without a section `janitor`, or where its files are not where the pod has them."""
    janitor = repository.janitor
    if janitor is None:
        raise ConfigError(f"repositories: {repository.name} has no section janitor; the lane's janitor needs it")
    token, ca_file = f"{_ACCOUNT_DIR}/token", f"{_ACCOUNT_DIR}/ca.crt"
    for name, path, expected in (
        ("token_file", janitor.token_file, token),
        ("ca_file", janitor.ca_file, ca_file),
    ):
        if str(path) != expected:
            raise ConfigError(f"janitor.{name}: expected {expected}, where the pod has it, got {path}")
    keys = in_pod(r.janitor.key_file for r in settings.repositories if r.janitor is not None)
    daemon = lane.reconciler.janitor == "daemon"
    rights = [
        account(lane, JANITOR),
        manifest(
            "ClusterRole",
            JANITOR,
            rules=[{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["delete", "get", "list"]}],
        ),
        manifest("ClusterRoleBinding", JANITOR, roleRef=_role("ClusterRole", JANITOR), subjects=[_subject(lane)]),
    ]
    for namespace in lane.all_application_namespaces:
        rule = {"apiGroups": ["argoproj.io"], "resources": ["applications"], "verbs": ["get", "list"]}
        rights += _bound(lane, namespace, [rule])
    return {
        "preview-system/janitor-rights.yaml": rights,
        "preview-system/janitor.yaml": [
            volume(lane, JANITOR, _STORAGE),
            _daemon(lane, keys) if daemon else _cron_job(lane, keys),
            _network(lane, _ports(settings, janitor.server)),
        ],
    }


def _ports(settings: Settings, server: str) -> tuple[int, ...]:
    urls = (server, *(r.log.remote or "" for r in settings.repositories))
    return tuple(port for url in urls for port in port_of(url))


def _bound(lane: LaneSettings, namespace: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        manifest("Role", JANITOR, namespace, rules=rules),
        manifest("RoleBinding", JANITOR, namespace, roleRef=_role("Role", JANITOR), subjects=[_subject(lane)]),
    ]


def _role(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


def _subject(lane: LaneSettings) -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": JANITOR, "namespace": lane.system_namespace}


def _pod(lane: LaneSettings, keys: tuple[Path, ...], mode: list[str], extra: dict[str, Any]) -> dict[str, Any]:
    return pod(
        lane.reconciler,
        JANITOR,
        ["janitor", "run", *mode, "--config", CONFIG_FILE],
        state={"persistentVolumeClaim": {"claimName": JANITOR}},
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
                    "template": _pod(lane, keys, ["--once"], {"restartPolicy": "Never"}),
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
            "template": _pod(lane, keys, [], {"terminationGracePeriodSeconds": 60}),
        },
    )


def _network(lane: LaneSettings, outside: tuple[int, ...]) -> dict[str, Any]:
    """Nothing comes in; out go name look-ups, the API server (also behind its Service) and the log's remote."""
    tcp = sorted({53, 443, 6443, *outside})
    ports = [{"port": 53, "protocol": "UDP"}, *({"port": p, "protocol": "TCP"} for p in tcp)]
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
