"""Rules B12–B17 and C9, C10: what the preview projects allow."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import Lane
from reconciler.preview.manifests import Manifest, listing, mapping, parse
from reconciler.preview.names import FINALIZER, SCM_CREDS
from state.errors import InvalidValue

_EVERYTHING = [{"group": "*", "kind": "*"}]


def b12(lane: Lane) -> Iterator[Hit]:
    for m in lane.projects_of(lane.sets):
        destinations = listing(m.at("spec", "destinations"))
        if not destinations:
            yield hit(m, ("spec",), "no destination is named")
        for n, d in enumerate(destinations):
            place = ("spec", "destinations", n)
            namespace = str(mapping(d).get("namespace", ""))
            where = str(mapping(d).get("server") or mapping(d).get("name") or "")
            if namespace != f"{lane.prefix}*":
                yield hit(m, (*place, "namespace"), f"expected namespace {lane.prefix}*, got {namespace or 'none'}")
            if not where or "*" in where or where.startswith("!"):
                yield hit(m, place, f"expected one literal server, got {where or 'none'}")


def b13(lane: Lane) -> Iterator[Hit]:
    for m in lane.projects_of(lane.workload_sets):
        if listing(m.at("spec", "clusterResourceWhitelist")):
            yield hit(m, ("spec", "clusterResourceWhitelist"), "previews may make cluster-scoped objects")
        kinds = m.at("spec", "namespaceResourceWhitelist")
        if not listing(kinds):
            told = "is absent, which allows every kind" if kinds is None else "is empty, and lost in a round trip"
            yield hit(m, ("spec", "namespaceResourceWhitelist"), f"namespaceResourceWhitelist {told}")
        for n, kind in enumerate(listing(kinds)):
            if "*" in str(mapping(kind).get("kind")) or "*" in str(mapping(kind).get("group")):
                yield hit(m, ("spec", "namespaceResourceWhitelist", n), "a wildcard allows kinds that nobody named")


def b14(lane: Lane) -> Iterator[Hit]:
    pattern = f"{lane.prefix}*"
    for m in lane.projects_of(lane.namespace_sets):
        place = ("spec", "clusterResourceWhitelist")
        allowed = [dict(mapping(a)) for a in listing(m.at(*place))]
        bare, named = [{"group": "", "kind": "Namespace"}], [{"group": "", "kind": "Namespace", "name": pattern}]
        if lane.version >= (3, 3):
            if allowed != named:
                yield hit(m, place, f"expected exactly Namespace with name {pattern}, got {allowed}")
        elif allowed not in (bare, named):
            yield hit(m, place, f"expected exactly Namespace, got {allowed}")
        elif not guards_labels(lane):
            old = f"Argo CD {lane.version[0]}.{lane.version[1]} knows no name here: every Namespace is allowed"
            yield hit(m, place, f"{old}; an admission policy has to guard the label", "warning")


def guards_labels(lane: Lane) -> bool:
    """Whether an admission policy looks at the creation of namespaces."""
    for m in lane.kind("ValidatingAdmissionPolicy"):
        for rule in listing(m.at("spec", "matchConstraints", "resourceRules")):
            if "namespaces" in listing(mapping(rule).get("resources")) and "CREATE" in listing(
                mapping(rule).get("operations")
            ):
                return True
    return False


def b15(lane: Lane) -> Iterator[Hit]:
    for m in lane.projects_of(lane.namespace_sets):
        forbidden = [dict(mapping(x)) for x in listing(m.at("spec", "namespaceResourceBlacklist"))]
        if forbidden != _EVERYTHING:
            yield hit(m, ("spec", "namespaceResourceBlacklist"), f"expected {_EVERYTHING}, got {forbidden or 'none'}")


def b16(lane: Lane) -> Iterator[Hit]:
    projects = lane.projects_of(lane.sets)
    for m in lane.kind("ConfigMap"):
        text = m.at("data", "globalProjects") if m.name == "argocd-cm" else None
        if not isinstance(text, str):
            continue
        for one in _parsed(text):
            for p in projects:
                if _selects(mapping(mapping(one).get("labelSelector")), mapping(p.at("metadata", "labels"))):
                    yield hit(m, ("data", "globalProjects"), f"{mapping(one).get('projectName')} is added to {p.name}")
    names = {p.name for p in projects}
    for m in lane.kind("Secret"):
        if m.at("metadata", "labels", "argocd.argoproj.io/secret-type") == "cluster":
            project, namespaces = _secret(m, "project"), _secret(m, "namespaces")
            if project in names and not namespaces:
                yield hit(m, (), f"this cluster belongs to {project} and opens every namespace of it")


def _parsed(text: str) -> list[Any]:
    try:
        found = parse(f"x:\n{_indented(text)}".encode(), "globalProjects")
    except InvalidValue:
        return [{}]  # What cannot be read is taken for a selector of everything.
    return listing(found[0].value.get("x")) if found else []


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    if any(labels.get(k) != v for k, v in mapping(selector.get("matchLabels")).items()):
        return False
    for e in listing(selector.get("matchExpressions")):
        value, values = labels.get(str(mapping(e).get("key"))), listing(mapping(e).get("values"))
        fits = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not fits.get(str(mapping(e).get("operator")), True):
            return False
    return True


def _secret(m: Manifest, key: str) -> str:
    plain, encoded = m.at("stringData", key), m.at("data", key)
    if isinstance(plain, str):
        return plain
    try:
        return base64.b64decode(str(encoded or "")).decode(errors="replace")
    except binascii.Error:
        return ""


def b17(lane: Lane) -> Iterator[Hit]:
    label, value = SCM_CREDS
    for s in lane.sets:
        for g in s.pulls:
            own = mapping(g.body.get(g.provider)) if g.provider else {}
            if not own or own.get("appSecretName") or own.get("bearerToken") or own.get("basicAuth"):
                continue
            name = mapping(own.get("tokenRef")).get("secretName")
            place = (*g.path, g.provider, "tokenRef")
            if not name:
                yield hit(s.manifest, place, "no tokenRef: what the generator may read is not written down")
            elif name == "argocd-secret":
                yield hit(s.manifest, place, "argocd-secret holds Argo CD's own secrets")
            else:
                yield from _labelled(lane, str(name), label, value)
    if lane.switches is None:
        lane.unjudged["B17"] = "argocd-cmd-params-cm is not in the tree: whether strict mode is on"
    elif lane.switches.at("data", "applicationsetcontroller.enable.tokenref.strict.mode") not in ("true", True):
        yield hit(lane.switches, ("data",), "applicationsetcontroller.enable.tokenref.strict.mode is not true")


def _labelled(lane: Lane, name: str, label: str, value: str) -> Iterator[Hit]:
    for m in lane.kind("Secret", "ExternalSecret", "SealedSecret"):
        template = m.at("spec", "target", "template") or m.at("spec", "template")
        target = m.at("spec", "target", "name") or m.name
        made = mapping(mapping(mapping(template).get("metadata")).get("labels"))
        labels = {**made, **mapping(m.at("metadata", "labels"))}
        if target == name and labels.get(label) != value:
            yield hit(m, ("metadata",), f"the Secret of tokenRef lacks the label {label}: {value}")


def c9(lane: Lane) -> Iterator[Hit]:
    for m in lane.projects_of(lane.sets):
        if FINALIZER not in listing(m.at("metadata", "finalizers")):
            yield hit(m, ("metadata",), f"the project lacks the finalizer {FINALIZER}")
    for s in lane.sets:
        own = [f for f in listing(s.manifest.at("metadata", "finalizers")) if str(f).startswith(FINALIZER)]
        if own and s.manifest.at("spec", "strategy", "deletionOrder") != "Reverse":
            place = ("metadata", "finalizers")
            yield hit(s.manifest, place, "a finalizer on the set without deletionOrder: Reverse is never taken off")


def c10(lane: Lane) -> Iterator[Hit]:
    if lane.before is None:
        lane.unjudged["C10"] = "--before names no tree to compare the whitelist with"
        return
    for old in lane.before.projects_of(lane.before.workload_sets):
        new = lane.projects.get(old.name)
        if new is None:
            continue
        for group, kind in sorted(kinds_of(old) - kinds_of(new)):
            why = f"{group or 'core'}/{kind} leaves the list: live objects of it are skipped when previews are deleted"
            yield hit(new, ("spec", "namespaceResourceWhitelist"), why)


def kinds_of(project: Manifest) -> set[tuple[str, str]]:
    found = [mapping(k) for k in listing(project.at("spec", "namespaceResourceWhitelist"))]
    return {(str(k.get("group", "")), str(k.get("kind", ""))) for k in found}
