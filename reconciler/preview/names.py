"""The names that renderer, linter, janitor and policies share. Each is here once."""

from __future__ import annotations

import re
from typing import Any, Final

MANAGED_BY: Final = "ameide.io/managed-by"
MANAGED_BY_PREVIEW: Final = "preview"
PR_LABEL: Final = "ameide.io/preview-pr"
ENVIRONMENT: Final = "ameide.io/environment"
POD_SECURITY: Final = "pod-security.kubernetes.io/enforce"
CUSTODY: Final = "ameide.io/label-custody"
"""Annotation of an ApplicationSet: this label is set and taken away by the reconciler alone, after admission."""
GENERATION: Final = "ameide.io/secret-generation"

PROJECT: Final = "previews"
SYSTEM_PROJECT: Final = "previews-system"
SERVER: Final = "https://kubernetes.default.svc"
FINALIZER: Final = "resources-finalizer.argocd.argoproj.io"
SYNC_OPTIONS: Final = "argocd.argoproj.io/sync-options"
SCM_CREDS: Final = ("argocd.argoproj.io/secret-type", "scm-creds")
JANITOR: Final = "preview-janitor"
RECONCILER: Final = "ameide"
BREAK_GLASS: Final = "preview-break-glass"
CONTROLLER: Final = "argocd-applicationset-controller"
WEBHOOK_PORT: Final = 7000
WEBHOOK_PATH: Final = "/api/webhook"
TOKEN_SECRET: Final = "preview-generator-token"  # noqa: S105 - the name of a Secret
NUMBER_PATTERN: Final = "^[1-9][0-9]{0,8}$"
SHA_PATTERN: Final = "^[0-9a-f]{40}$"

API_VERSIONS: Final = {
    "AppProject": "argoproj.io/v1alpha1",
    "Application": "argoproj.io/v1alpha1",
    "ApplicationSet": "argoproj.io/v1alpha1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "ExternalSecret": "external-secrets.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
}


def namespace_pattern(prefix: str) -> str:
    """The regular expression that every preview namespace's name matches, and no other name."""
    return f"^{re.escape(prefix)}[1-9][0-9]{{0,8}}$".replace("\\-", "-")


def manifest(kind: str, name: str, namespace: str | None = None, **parts: Any) -> dict[str, Any]:
    """An object with its metadata; `metadata` adds to it, everything else follows it."""
    metadata: dict[str, Any] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    metadata |= parts.pop("metadata", {})
    return {"apiVersion": API_VERSIONS.get(kind, "v1"), "kind": kind, "metadata": metadata, **parts}
