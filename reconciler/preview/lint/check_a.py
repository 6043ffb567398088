"""Rules A: a push is seen soon, and what is missing is never deployed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import RESERVED, Lane
from reconciler.preview.lint.reference import Use, references
from reconciler.preview.manifests import Manifest, Path_, listing, mapping, texts
from reconciler.preview.names import CONTROLLER, WEBHOOK_PATH, WEBHOOK_PORT

_EVENTS: Final = {
    "github": "webhook.github.secret",
    "gitlab": "webhook.gitlab.secret",
    "azuredevops": "webhook.azuredevops.username",
}
"""Forges whose events the controller knows, and the key of their secret. Source: applicationset/webhook/webhook.go."""
_POLLING: Final = frozenset({"git", "scmProvider", "pullRequest", "plugin", "clusterDecisionResource"})
_REWRITE: Final = "nginx.ingress.kubernetes.io/rewrite-target"
_SECRET_KINDS: Final = ("Secret", "ExternalSecret", "SealedSecret")


def a1(lane: Lane) -> Iterator[Hit]:
    reached = False
    for m in lane.kind("HTTPRoute"):
        for n, rule in enumerate(listing(m.at("spec", "rules"))):
            place: Path_ = ("spec", "rules", n)
            for backend in listing(mapping(rule).get("backendRefs")):
                name, port = str(mapping(backend).get("name")), mapping(backend).get("port")
                if name == CONTROLLER:
                    reached = True
                    if port != WEBHOOK_PORT:
                        yield hit(m, place, f"expected port {WEBHOOK_PORT} of {CONTROLLER}, got {port}")
                    if (path := _arrives_at(mapping(rule))) != WEBHOOK_PATH:
                        yield hit(m, place, f"a delivery arrives at {path}, expected exactly {WEBHOOK_PATH}")
                elif "argocd-server" in name and _hook_path(mapping(rule)):
                    yield hit(m, place, f"a webhook of ApplicationSets goes to {name}, which cannot read it")
    for m in lane.kind("Ingress"):
        for where, path_ in _ingress_paths(m):
            service = mapping(mapping(path_.get("backend")).get("service"))
            if service.get("name") == CONTROLLER:
                reached = True
                port = mapping(service.get("port"))
                if port.get("number") != WEBHOOK_PORT and port.get("name") not in ("webhook", "http-webhook"):
                    yield hit(m, where, f"expected port {WEBHOOK_PORT} of {CONTROLLER}, got {dict(port)}")
                arrives = m.at("metadata", "annotations", _REWRITE) or path_.get("path")
                if arrives != WEBHOOK_PATH:
                    yield hit(m, where, f"a delivery arrives at {arrives}, expected exactly {WEBHOOK_PATH}")
            elif "argocd-server" in str(service.get("name")) and "applicationset" in str(path_.get("path")):
                yield hit(m, where, f"a webhook of ApplicationSets goes to {service.get('name')}, which cannot read it")
    if reached:
        return
    for s in lane.sets:
        for g in s.pulls:
            if g.kind == "pullRequest" and g.provider in _EVENTS:
                yield hit(s.manifest, g.path, f"no route of the tree reaches {CONTROLLER}:{WEBHOOK_PORT}")
                return


def _ingress_paths(m: Manifest) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
    for n, rule in enumerate(listing(m.at("spec", "rules"))):
        for k, path in enumerate(listing(mapping(mapping(rule).get("http")).get("paths"))):
            yield ("spec", "rules", n, "http", "paths", k), mapping(path)


def _hook_path(rule: Mapping[str, Any]) -> bool:
    paths = [str(mapping(mapping(m).get("path")).get("value")) for m in listing(rule.get("matches"))]
    return any("applicationset" in p for p in paths)


def _arrives_at(rule: Mapping[str, Any]) -> str:
    for f in listing(rule.get("filters")):
        path = mapping(mapping(mapping(f).get("urlRewrite")).get("path"))
        for key in ("replaceFullPath", "replacePrefixMatch"):
            if key in path:
                return str(path[key])
    paths = [mapping(mapping(m).get("path")) for m in listing(rule.get("matches"))]
    return str(paths[0].get("value", "/")) if paths else "/"


def a2(lane: Lane) -> Iterator[Hit]:
    wanted: dict[str, Hit] = {}
    for s in lane.sets:
        for g in s.pulls:
            key = "webhook.github.secret" if g.kind == "plugin" else _EVENTS.get(g.provider)
            if key is not None:
                wanted.setdefault(key, hit(s.manifest, g.path, f"nothing in the tree provides {key} of argocd-secret"))
    sources = [m for m in lane.kind(*_SECRET_KINDS) if _target(m) == "argocd-secret"]
    for key, found in wanted.items():
        if not any(key in text for m in sources for path, text in texts(m.value) if path):
            yield found
    if wanted and sources and not any(_restarts(m) for m in lane.kind("Deployment") if m.name == CONTROLLER):
        why = f"no checksum or generation annotation on the pods of {CONTROLLER}: a new secret is not read"
        yield hit(sources[0], (), why)


def _target(m: Manifest) -> str:
    target = m.at("spec", "target", "name") or m.at("spec", "template", "metadata", "name")
    return str(target or m.name)


def _restarts(m: Manifest) -> bool:
    own = [*mapping(m.at("metadata", "annotations"))]
    own += [*mapping(m.at("spec", "template", "metadata", "annotations"))]
    return any(re.search(r"checksum|generation|reload", key) for key in own)


def a3(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for g in s.pulls:
            seconds = g.body.get("requeueAfterSeconds")
            if not isinstance(seconds, int) or not 60 <= seconds <= 300:
                yield hit(s.manifest, (*g.path, "requeueAfterSeconds"), f"requeueAfterSeconds is {_or_none(seconds)}")


def a4(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for g in s.pulls:
            own = g.body.get("requeueAfterSeconds")
            for other in s.generators:
                if not g.siblings or other.path[:-2] != g.path[:-2] or other is g or other.kind not in _POLLING:
                    continue
                seconds = other.body.get("requeueAfterSeconds")
                place = (*other.path, "requeueAfterSeconds")
                if not isinstance(seconds, int):
                    yield hit(s.manifest, place, f"the {other.kind} child polls at its default, and so does the matrix")
                elif isinstance(own, int) and seconds < own:
                    yield hit(
                        s.manifest, place, f"the {other.kind} child polls every {seconds} s, the set's is {own} s"
                    )


def a5(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        if not s.go:
            yield hit(
                s.manifest, ("spec", "goTemplate"), "goTemplate is not true: an unknown {{x}} is deployed as it is"
            )
        elif "missingkey=error" not in listing(s.manifest.at("spec", "goTemplateOptions")):
            yield hit(s.manifest, ("spec", "goTemplateOptions"), "goTemplateOptions lacks missingkey=error")


def a6(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for g in s.pulls:
            api = mapping(g.body.get(g.provider)).get("api") if g.provider else None
            if not isinstance(api, str):
                continue
            place = (*g.path, g.provider, "api")
            parts = urlsplit(api)
            if parts.scheme != "https" or parts.path.strip("/") or parts.query or parts.username:
                yield hit(s.manifest, place, f"{api} is not a bare https origin")
            if lane.switches is None:
                lane.unjudged.setdefault("A6", "argocd-cmd-params-cm is not in the tree: whether the api is allowed")
                continue
            allowed = str(lane.switches.at("data", "applicationsetcontroller.allowed.scm.providers") or "")
            if api not in [a.strip() for a in allowed.split(",")]:
                yield hit(s.manifest, place, f"{api} is not in applicationsetcontroller.allowed.scm.providers")


def a7(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for g in s.pulls:
            if g.provider in {"gitea", "bitbucket", "bitbucketServer"}:
                page = ", and only the first page of pull requests is listed" if g.provider == "gitea" else ""
                yield hit(s.manifest, g.path, f"events of {g.provider} refresh nothing{page}")
            project = mapping(g.body.get("gitlab")).get("project")
            if g.provider == "gitlab" and not str(project).isdecimal():
                yield hit(
                    s.manifest, (*g.path, "gitlab", "project"), f"events name the project by its number, not {project}"
                )


def a8(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for shape in s.shapes:
            used = {
                r.parameter
                for _, text in texts(shape.template)
                for r in references(text, go=s.go)
                if r.use in {Use.FIELD, Use.HAS} and r.parameter not in RESERVED
            }
            for place, element in shape.elements:
                for key in sorted(k for k, v in element.items() if v is None):
                    yield hit(s.manifest, (*place, key), f"{key} is null, and would be printed as <no value>")
                if missing := sorted(used - element.keys()):
                    yield hit(s.manifest, place, f"the element lacks {', '.join(missing)}, which the template uses")
        yield from _inventory_files(lane, s.manifest, [g.body for g in s.generators if g.kind == "git"])


def _inventory_files(lane: Lane, m: Manifest, git: list[Mapping[str, Any]]) -> Iterator[Hit]:
    """Nulls in the files that a git generator reads, as far as they are in the tree."""
    for body in git:
        for found in listing(body.get("files")):
            pattern = (
                re.escape(str(mapping(found).get("path", ""))).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            )
            for inventory in lane.manifests:
                if not re.fullmatch(pattern, inventory.file):
                    continue
                for key, value in inventory.value.items():
                    if value is None:
                        yield hit(inventory, (key,), f"{key} is null; {m.name} would print it as <no value>")


def _or_none(value: object) -> str:
    return "not set" if value is None else str(value)
