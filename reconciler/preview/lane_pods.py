"""Pods of our own under the restricted Pod Security profile (pure). Source: Kubernetes, Pod Security Standards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from reconciler.preview.names import RECONCILER, manifest
from reconciler.settings.lane import LaneSettings, ReconcilerSettings
from reconciler.settings.model import Settings
from state.errors import ConfigError

CONFIG_FILE: Final = "/etc/ameide/ameide.yaml"
SECRETS_DIR: Final = "/etc/ameide-secrets"
KEYS_DIR: Final = "/var/run/ameide-keys"
TOKEN_DIR: Final = "/var/run/ameide-token"  # noqa: S105 - a directory
_USER: Final = 65532


def signing_keys(settings: Settings) -> tuple[Path, ...]:
    """The files that sign logs, each once; they have to be where the pod puts them."""
    return in_pod(r.log.key_file for r in settings.repositories)


def in_pod(files: Iterable[Path]) -> tuple[Path, ...]:
    """These key files, each once. Raises ConfigError for one that is not where a pod puts it."""
    made = sorted(set(files))
    if stray := [k for k in made if str(k.parent) != KEYS_DIR]:
        raise ConfigError(f"key_file: expected a file in {KEYS_DIR}, where the pod puts it, got {stray[0]}")
    return tuple(made)


def labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": RECONCILER}


def account(lane: LaneSettings, name: str) -> dict[str, Any]:
    made = manifest("ServiceAccount", name, lane.system_namespace, metadata={"labels": labels(name)})
    # The one pod that talks to the API server asks for its token itself.
    made["automountServiceAccountToken"] = False
    return made


def volume(lane: LaneSettings, name: str, storage: str) -> dict[str, Any]:
    """What outlives the pods of one workload; one pod at a time has it."""
    return manifest(
        "PersistentVolumeClaim",
        name,
        lane.system_namespace,
        metadata={"labels": labels(name)},
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}},
    )


def pod(
    own: ReconcilerSettings,
    name: str,
    arguments: list[str],
    *,
    state: dict[str, Any],
    secrets: str,
    resources: dict[str, Any],
    keys: tuple[Path, ...],
    api_token: bool,
    extra: dict[str, Any],
    container: dict[str, Any],
) -> dict[str, Any]:
    """A pod template. `state` is the volume source of the state directory, `secrets` the Secret with the files.

    A group may read what a Secret's volume holds, which signing keys do not allow: `keys` are copied before the start.
    """
    hardened = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    copied = {"name": "keys", "mountPath": KEYS_DIR}
    mounts = [
        {"name": "config", "mountPath": "/etc/ameide", "readOnly": True},
        {"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True},
        {**copied, "readOnly": True},
        {"name": "state", "mountPath": str(own.data_dir)},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
    ]
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": "ameide-config"}},
        {"name": "secrets", "secret": {"secretName": secrets, "defaultMode": 0o440}},
        {"name": "keys", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "state", **state},
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
    if own.token_audience is not None and not api_token:
        token = {"serviceAccountToken": {"audience": own.token_audience, "expirationSeconds": 3600, "path": "token"}}
        mounts.append({"name": "token", "mountPath": TOKEN_DIR, "readOnly": True})
        volumes.append({"name": "token", "projected": {"sources": [token]}})
    return {
        "metadata": {"labels": labels(name)},
        "spec": {
            "serviceAccountName": name,
            "automountServiceAccountToken": api_token,
            # Service links would be variables that the configuration refuses.
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [
                {
                    "name": "keys",
                    "image": own.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/usr/bin/install", "-m", "0600", *(f"{SECRETS_DIR}/{k.name}" for k in keys), KEYS_DIR],
                    "resources": resources,
                    "securityContext": hardened,
                    "volumeMounts": [mounts[1], copied],
                }
            ],
            "containers": [
                {
                    "name": name,
                    "image": own.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": arguments,
                    "env": [
                        {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a volume of the pod's own
                        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
                        {"name": "PYTHONUNBUFFERED", "value": "1"},
                    ],
                    "resources": resources,
                    "securityContext": hardened,
                    "volumeMounts": mounts,
                    **container,
                }
            ],
            "volumes": volumes,
            **extra,
        },
    }
