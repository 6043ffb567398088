"""What Argo CD itself needs: the way to its webhook, its secrets, its switches, the plugin's address (pure)."""

from __future__ import annotations

from typing import Any, Final

from reconciler.preview.lane_sets import PLUGIN_CONFIG, custom_api
from reconciler.preview.names import (
    CONTROLLER,
    GENERATION,
    RECONCILER,
    SCM_CREDS,
    TOKEN_SECRET,
    WEBHOOK_PATH,
    WEBHOOK_PORT,
    manifest,
)
from reconciler.settings.lane import ExternalSecretsSettings, LaneSettings, WebhookRouteSettings
from reconciler.settings.model import RepositorySettings, Settings
from reconciler.settings.types import split_address
from state.errors import ConfigError

PUBLIC_PATH: Final = "/api/applicationset-webhook"
_PART_OF: Final = {"app.kubernetes.io/part-of": "argocd"}


def argocd_files(
    lane: LaneSettings, repository: RepositorySettings, settings: Settings
) -> dict[str, list[dict[str, Any]]]:
    made = {"argocd/config/argocd-cmd-params-cm.yaml": [_switches(lane, repository)]}
    patches = ["argocd-cmd-params-cm.yaml"]
    resources = []
    if lane.webhook_route is not None:
        made["argocd/config/webhook-route.yaml"] = [_route(lane, lane.webhook_route)]
        resources.append("webhook-route.yaml")
    if lane.external_secrets is not None:
        made["argocd/config/secrets.yaml"] = [*_secrets(lane, repository, lane.external_secrets)]
        made["argocd/config/applicationset-controller.yaml"] = [_restart(lane, lane.external_secrets)]
        resources.append("secrets.yaml")
        patches.append("applicationset-controller.yaml")
    if lane.generator == "plugin":
        made["argocd/config/plugin.yaml"] = [_plugin(lane, repository, settings)]
        resources.append("plugin.yaml")
    # A component, so that the patches apply to the Argo CD that the including kustomization installs.
    made["argocd/config/kustomization.yaml"] = [
        {
            "apiVersion": "kustomize.config.k8s.io/v1alpha1",
            "kind": "Component",
            "resources": sorted(resources),
            "patches": [{"path": path} for path in sorted(patches)],
        }
    ]
    return made


def _switches(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    data = {
        "applicationsetcontroller.enable.tokenref.strict.mode": "true",
        "applicationsetcontroller.policy": "sync",
    }
    api = custom_api(repository) if lane.generator == "pull-request" else None
    if api is not None:
        data["applicationsetcontroller.allowed.scm.providers"] = api
    return manifest("ConfigMap", "argocd-cmd-params-cm", lane.argocd_namespace, data=dict(sorted(data.items())))


def _route(lane: LaneSettings, route: WebhookRouteSettings) -> dict[str, Any]:
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": WEBHOOK_PATH}},
    }
    return manifest(
        "HTTPRoute",
        "applicationset-webhook",
        lane.argocd_namespace,
        spec={
            "parentRefs": [{"name": route.gateway, "namespace": route.gateway_namespace}],
            "hostnames": [route.hostname],
            "rules": [
                {
                    "matches": [{"path": {"type": "Exact", "value": PUBLIC_PATH}, "method": "POST"}],
                    "filters": [rewrite],
                    "backendRefs": [{"name": CONTROLLER, "port": WEBHOOK_PORT}],
                }
            ],
        },
    )


def webhook_key(lane: LaneSettings, repository: RepositorySettings) -> str:
    """Key in argocd-secret of whoever delivers: the forge, or with the plugin our own refresh (as GitHub)."""
    gitlab = repository.forge.kind == "gitlab" and lane.generator == "pull-request"
    return "webhook.gitlab.secret" if gitlab else "webhook.github.secret"


def _secrets(
    lane: LaneSettings, repository: RepositorySettings, source: ExternalSecretsSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    label, value = SCM_CREDS
    return (
        _external(
            lane,
            source,
            {"name": "argocd-secret", "creationPolicy": "Merge"},
            webhook_key(lane, repository),
            source.webhook_key,
        ),
        _external(
            lane,
            source,
            {"name": TOKEN_SECRET, "template": {"metadata": {"labels": {**_PART_OF, label: value}}}},
            "token",
            source.token_key,
        ),
    )


def _external(
    lane: LaneSettings, source: ExternalSecretsSettings, target: dict[str, Any], key: str, remote: str
) -> dict[str, Any]:
    return manifest(
        "ExternalSecret",
        target["name"],
        lane.argocd_namespace,
        metadata={"annotations": {GENERATION: str(source.generation)}},
        spec={
            "refreshInterval": "0s",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": source.store},
            "target": target,
            "data": [{"secretKey": key, "remoteRef": {"key": remote}}],
        },
    )


def _restart(lane: LaneSettings, source: ExternalSecretsSettings) -> dict[str, Any]:
    """A patch: the controller reads its webhook secret once, so a new one has to restart it."""
    annotations = {GENERATION: str(source.generation)}
    return manifest(
        "Deployment",
        CONTROLLER,
        lane.argocd_namespace,
        spec={"template": {"metadata": {"annotations": annotations}}},
    )


def _plugin(lane: LaneSettings, repository: RepositorySettings, settings: Settings) -> dict[str, Any]:
    if settings.listen.public is None:
        raise ConfigError("listen.public is required with lane.generator: plugin, such as 0.0.0.0:8081")
    port = split_address(settings.listen.public)[1]
    return manifest(
        "ConfigMap",
        PLUGIN_CONFIG,
        lane.argocd_namespace,
        metadata={"labels": dict(_PART_OF)},
        data={
            "baseUrl": f"http://{RECONCILER}.{lane.system_namespace}.svc:{port}/plugins/{repository.name}",
            "requestTimeout": "30",
            "token": f"${TOKEN_SECRET}:token",
        },
    )
