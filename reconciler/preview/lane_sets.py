"""The four ApplicationSets (pure).

From a pull request they take its number and its head commit; the number is guarded where it names an Application, the
head where it names an image. A guard that fails makes the controller leave the whole set as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from reconciler.preview.names import (
    CUSTODY,
    FINALIZER,
    NUMBER_PATTERN,
    PR_LABEL,
    PROJECT,
    SERVER,
    SHA_PATTERN,
    SYSTEM_PROJECT,
    TOKEN_SECRET,
    manifest,
)
from reconciler.settings.forge import GitHubForgeSettings, GitLabForgeSettings
from reconciler.settings.lane import ComponentSettings, LaneSettings
from reconciler.settings.model import RepositorySettings
from reconciler.settings.types import Section
from state.errors import ConfigError

PLUGIN_CONFIG: Final = "preview-plugin"

_RETRY: Final = {"limit": 10, "backoff": {"duration": "10s", "factor": 2, "maxDuration": "3m"}, "refresh": True}
_WORKLOAD_SYNC: Final = {
    "automated": {"prune": True, "selfHeal": True},
    "retry": _RETRY,
    "syncOptions": ["FailOnSharedResource=true", "PruneLast=true", "PrunePropagationPolicy=background"],
}
# The namespace is never pruned; selfHeal makes it again when the label returns after the janitor took it.
_NAMESPACE_SYNC: Final = {"automated": {"prune": False, "selfHeal": True}, "retry": _RETRY}


def sets(lane: LaneSettings, repository: RepositorySettings) -> dict[str, list[dict[str, Any]]]:
    made = {
        "namespaces": _namespaces(lane, repository),
        "baseline": _baseline(lane, repository),
        "apps": _apps(lane, repository),
    }
    if lane.secrets_chart is not None:
        made["secrets"] = _secrets(lane, repository)
    return {f"argocd/applicationsets/preview-{name}.yaml": [made[name]] for name in made}


def _namespaces(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    source = {
        **_repository(lane),
        "path": "argocd/previews/namespace",
        "kustomize": {"namespace": _namespace(lane), "commonLabels": {PR_LABEL: "{{ .number }}"}},
    }
    return _set(
        lane,
        "preview-namespaces",
        [_listed(_generator(lane, repository), lane)],
        _template(lane, "namespace", SYSTEM_PROJECT, [source], _NAMESPACE_SYNC),
        # With this and without a finalizer nothing is deleted with the Application: the janitor deletes namespaces.
        {"syncPolicy": {"preserveResourcesOnDeletion": True}},
    )


def _baseline(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    source = {**_repository(lane), "path": f"argocd/previews/baseline-{lane.base_environment}"}
    return _set(
        lane,
        "preview-baseline",
        [_listed(_generator(lane, repository), lane)],
        _template(lane, "baseline", PROJECT, [source], _WORKLOAD_SYNC, finalizer=FINALIZER),
    )


def _secrets(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    chart = {
        **_repository(lane),
        "path": str(lane.secrets_chart),
        "helm": {
            "releaseName": "preview-secrets",
            "valueFiles": [f"$values/{path}" for path in lane.secrets_value_files],
            "parameters": [{"name": "namespaceOverride", "value": _namespace(lane), "forceString": True}],
        },
    }
    return _set(
        lane,
        "preview-secrets",
        [_listed(_generator(lane, repository), lane)],
        _template(lane, "secrets", PROJECT, [chart, _values(lane)], _WORKLOAD_SYNC, finalizer=FINALIZER),
    )


def _apps(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    plain = [c for c in lane.components if c.route is None]
    routed = [c for c in lane.components if c.route is not None]
    sources = [_chart(lane, routed=False), _values(lane)]
    whole = _template(lane, "{{ .component }}", PROJECT, sources, _WORKLOAD_SYNC, finalizer=FINALIZER)
    generators = []
    if plain:
        generators.append(_listed(_matrix(lane, repository, plain), lane))
    if routed:
        # What a generator's own template leaves empty is filled from the set's; a list in it stays whole.
        override = {
            "metadata": {},
            "spec": {
                "project": PROJECT,
                "destination": {},
                "sources": [_chart(lane, routed=True), _values(lane)],
            },
        }
        matrix = _matrix(lane, repository, routed)
        matrix["matrix"]["template"] = override
        generators.append(_listed(matrix, lane))
    return _set(lane, "preview-apps", generators, whole)


def _chart(lane: LaneSettings, *, routed: bool) -> dict[str, Any]:
    parameters = [{"name": "image.ref", "value": _image(lane), "forceString": True}]
    if routed:
        host = f"{{{{ .host }}}}-{_namespace(lane)}.{lane.domain}"
        parameters.append({"name": "{{ .host_key }}", "value": host, "forceString": True})
    files = [f"$values/{path.replace('COMPONENT', '{{ .component }}')}" for path in lane.value_files]
    return {
        **_repository(lane),
        "path": "{{ .chart }}",
        "helm": {"releaseName": "{{ .component }}", "valueFiles": files, "parameters": parameters},
    }


def _image(lane: LaneSettings) -> str:
    guard = _guard("head_sha", SHA_PATTERN)
    head = "{{ .image }}:{{ .head_sha }}"
    if lane.images == "head":
        return guard + head
    return f'{guard}{{{{ if has "{lane.images_label}" .labels }}}}{head}{{{{ else }}}}{{{{ .baseline }}}}{{{{ end }}}}'


def _guard(name: str, pattern: str) -> str:
    """Prints nothing, or fails the whole set: what is rendered then is not applied."""
    return f'{{{{ if not (regexMatch "{pattern}" .{name}) }}}}{{{{ fail "{name} is not as expected" }}}}{{{{ end }}}}'


def _matrix(
    lane: LaneSettings, repository: RepositorySettings, components: Sequence[ComponentSettings]
) -> dict[str, Any]:
    elements: dict[str, Any] = {"list": {"elements": [_element(lane, c) for c in components]}}
    pulls = _generator(lane, repository)
    # The first child decides which events refresh the set, and a plugin is looked at only as the second one.
    return {"matrix": {"generators": [elements, pulls] if "plugin" in pulls else [pulls, elements]}}


def _element(lane: LaneSettings, component: ComponentSettings) -> dict[str, str]:
    image = lane.image_of(component)
    made = {"component": component.name, "chart": component.chart, "image": image}
    if lane.images == "label":
        made["baseline"] = f"{image}@{component.baseline}"
    if component.route is not None:
        made |= {"host": component.route.host, "host_key": component.route.key}
    return made


def _generator(lane: LaneSettings, repository: RepositorySettings) -> dict[str, Any]:
    if lane.generator == "plugin":
        return {
            "plugin": {
                "configMapRef": {"name": PLUGIN_CONFIG},
                "input": {"parameters": {}},
                "requeueAfterSeconds": lane.requeue_s,
            }
        }
    return {
        "pullRequest": {
            **_forge(repository.forge, _labels(lane)),
            "filters": [{"targetBranchMatch": f"^{_escaped(b)}$"} for b in repository.admission.base_branches],
            "requeueAfterSeconds": lane.requeue_s,
        }
    }


def _labels(lane: LaneSettings) -> list[str]:
    return [lane.gate_label, lane.images_label] if lane.images == "head" else [lane.gate_label]


def _listed(generator: dict[str, Any], lane: LaneSettings) -> dict[str, Any]:
    """The generator with its author gate, which is a selector beside it."""
    if lane.generator == "plugin" or not lane.authors:
        return generator
    chosen = {"key": "author", "operator": "In", "values": sorted(lane.authors)}
    return {**generator, "selector": {"matchExpressions": [chosen]}}


def _forge(forge: Section, labels: list[str]) -> dict[str, Any]:
    token = {"secretName": TOKEN_SECRET, "key": "token"}
    match forge:
        case GitHubForgeSettings(repository=name):
            owner, _, repo = name.partition("/")
            return {"github": {"owner": owner, "repo": repo, **_github_api(forge), "tokenRef": token, "labels": labels}}
        case GitLabForgeSettings(repository_id=int() as number, url=url):
            # The number, since the controller compares an event's project id with this very text.
            gitlab = {"project": str(number), "api": f"{url.rstrip('/')}/", "tokenRef": token, "labels": labels}
            return {"gitlab": {**gitlab, "pullRequestState": "opened"}}
        case GitLabForgeSettings():
            raise ConfigError(
                "forge.repository_id is required for a lane at GitLab: events are matched by the project's number"
            )
        case _:
            raise ConfigError(
                "Argo CD lists pull requests of GitHub and GitLab; set lane.generator: plugin for this forge"
            )


def _github_api(forge: GitHubForgeSettings) -> dict[str, str]:
    """A bare origin: with a path in it, events would never match. Nothing for github.com."""
    scheme, _, host = forge.url.rstrip("/").partition("://")
    if host == "github.com":
        return {}
    return {"api": f"{scheme}://api.{host}" if host.endswith(".ghe.com") else f"{scheme}://{host}"}


def custom_api(repository: RepositorySettings) -> str | None:
    """The address of a forge that is not at its vendor, as `allowed.scm.providers` has to list it."""
    if repository.forge.kind in {"gitea", "local"}:
        return None
    made = next(iter(_forge(repository.forge, []).values()))
    return str(made["api"]) if "api" in made else None


def _escaped(branch: str) -> str:
    return re.escape(branch).replace("\\-", "-").replace("\\/", "/")


def _namespace(lane: LaneSettings) -> str:
    return f"{lane.namespace_prefix}{{{{ .number }}}}"


def _repository(lane: LaneSettings) -> dict[str, Any]:
    return {"repoURL": lane.gitops_url, "targetRevision": lane.gitops_branch}


def _values(lane: LaneSettings) -> dict[str, Any]:
    return {**_repository(lane), "ref": "values"}


def _template(
    lane: LaneSettings,
    part: str,
    project: str,
    sources: list[dict[str, Any]],
    sync: dict[str, Any],
    *,
    finalizer: str | None = None,
) -> dict[str, Any]:
    name = f"{_guard('number', NUMBER_PATTERN)}{_namespace(lane)}-{part}"
    metadata: dict[str, Any] = {"name": name, "labels": {PR_LABEL: "{{ .number }}"}}
    if finalizer is not None:
        metadata["finalizers"] = [finalizer]
    where = {"source": sources[0]} if len(sources) == 1 else {"sources": sources}
    return {
        "metadata": metadata,
        "spec": {
            "project": project,
            "destination": {"server": SERVER, "namespace": _namespace(lane)},
            **where,
            "syncPolicy": sync,
        },
    }


def _set(
    lane: LaneSettings,
    name: str,
    generators: list[dict[str, Any]],
    template: dict[str, Any],
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    custody = lane.generator == "pull-request" and lane.images == "head"
    return manifest(
        "ApplicationSet",
        name,
        lane.argocd_namespace,
        metadata={"annotations": {CUSTODY: lane.images_label}} if custody else {},
        spec={
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": generators,
            "template": template,
            **(more or {}),
        },
    )
