"""Rules C1–C8: nothing leaks, and nothing is deleted but by the janitor. C9 and C10 are with the projects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import Lane
from reconciler.preview.manifests import Manifest, Path_, listing, mapping, texts
from reconciler.preview.names import FINALIZER, JANITOR, SYNC_OPTIONS, namespace_pattern

_BOOLEANS: Final = {"true", "false"}
_OPTIONS: Final[dict[str, set[str]]] = {
    "ApplyOutOfSyncOnly": _BOOLEANS,
    "ClientSideApplyMigration": _BOOLEANS,
    "CreateNamespace": _BOOLEANS,
    "FailOnSharedResource": _BOOLEANS,
    "Prune": {"true", "false", "confirm"},
    "PruneLast": _BOOLEANS,
    "PrunePropagationPolicy": {"foreground", "background", "orphan"},
    "Replace": _BOOLEANS,
    "Force": _BOOLEANS,
    "RespectIgnoreDifferences": _BOOLEANS,
    "ServerSideApply": _BOOLEANS,
    "SkipDryRunOnMissingResource": _BOOLEANS,
    "Validate": _BOOLEANS,
}
_RULE: Final = ("apiGroups", "resources", "verbs")
_WANTED: Final = ("FailOnSharedResource=true", "PruneLast=true", "PrunePropagationPolicy=")
_DELETES: Final = re.compile(r"kubectl[^\n;&|]*\bdelete\s+(?:-[^\s]+\s+)*(?:ns|namespaces?)\b")
_JANITOR_VERBS: Final = {"get", "list", "delete"}


def c1(lane: Lane) -> Iterator[Hit]:
    for s in lane.workload_sets:
        for shape in s.shapes:
            own = listing(mapping(shape.template.get("metadata")).get("finalizers"))
            if not any(str(f).startswith(FINALIZER) for f in own):
                place = ("spec", "template", "metadata")
                yield hit(s.manifest, place, f"the template does not name the finalizer {FINALIZER}")


def c2(lane: Lane) -> Iterator[Hit]:
    for s in lane.workload_sets:
        for shape in s.shapes:
            automated = mapping(mapping(mapping(shape.template.get("spec")).get("syncPolicy")).get("automated"))
            for key in ("prune", "selfHeal"):
                if automated.get(key) is not True or automated.get("enabled") is False:
                    place = ("spec", "template", "spec", "syncPolicy", "automated")
                    yield hit(s.manifest, place, f"automated.{key} is not on")


def c3(lane: Lane) -> Iterator[Hit]:
    for s in lane.workload_sets:
        if s.manifest.at("spec", "syncPolicy", "preserveResourcesOnDeletion") is True:
            place: Path_ = ("spec", "syncPolicy", "preserveResourcesOnDeletion")
            yield hit(s.manifest, place, "what a closed pull request ran stays")
        policy = s.manifest.at("spec", "syncPolicy", "applicationsSync")
        if policy not in (None, "sync"):
            yield hit(s.manifest, ("spec", "syncPolicy", "applicationsSync"), f"applicationsSync is {policy}")
    if lane.switches is not None:
        policy = lane.switches.at("data", "applicationsetcontroller.policy")
        if policy not in (None, "", "sync"):
            place = ("data", "applicationsetcontroller.policy")
            yield hit(lane.switches, place, f"the controller's policy is {policy}, for every set")
        if str(lane.switches.at("data", "applicationsetcontroller.dryrun")).lower() == "true":
            yield hit(lane.switches, ("data", "applicationsetcontroller.dryrun"), "the controller only pretends")


def c4(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, options in s.given("spec", "syncPolicy", "syncOptions"):
            for n, option in enumerate(listing(options)):
                name, _, value = str(option).partition("=")
                if value not in _OPTIONS.get(name, set()):
                    yield hit(s.manifest, (*place, n), f"{option!r} is no sync option, and would be ignored")
    for s in lane.workload_sets:
        for shape in s.shapes:
            sync = mapping(mapping(shape.template.get("spec")).get("syncPolicy"))
            given = [str(o) for o in listing(sync.get("syncOptions"))]
            for wanted in _WANTED:
                if not any(o.startswith(wanted) for o in given):
                    told = f"{wanted.rstrip('=')} is not among the sync options"
                    yield hit(s.manifest, ("spec", "template", "spec", "syncPolicy"), told)


def c5(lane: Lane) -> Iterator[Hit]:
    for s in lane.namespace_sets:
        if s.manifest.at("spec", "syncPolicy", "preserveResourcesOnDeletion") is not True:
            told = "without preserveResourcesOnDeletion the controller adds a finalizer, which deletes the namespace"
            yield hit(s.manifest, ("spec", "syncPolicy"), told)
        for place, finalizers in s.given("metadata", "finalizers"):
            if any(FINALIZER in str(f) for f in listing(finalizers)):
                yield hit(s.manifest, place, "this finalizer deletes the namespace with its Application")
        patch = s.manifest.at("spec", "templatePatch")
        if isinstance(patch, str) and "finalizers" in patch:
            yield hit(s.manifest, ("spec", "templatePatch"), "the patch sets finalizers")


def c6(lane: Lane) -> Iterator[Hit]:
    for s in lane.namespace_sets:
        for place, prune in s.given("spec", "syncPolicy", "automated", "prune"):
            if prune is not False:
                yield hit(s.manifest, place, "a namespace that is no longer rendered would be pruned")
    for m in namespaces_of(lane):
        options = {o.strip() for o in str(m.at("metadata", "annotations", SYNC_OPTIONS) or "").split(",")}
        if missing := sorted({"Prune=false", "Delete=false"} - options):
            yield hit(m, ("metadata",), f"the annotation {SYNC_OPTIONS} lacks {' and '.join(missing)}")


def namespaces_of(lane: Lane) -> tuple[Manifest, ...]:
    """The Namespace manifests that the namespace sets read, as far as they are in the tree."""
    found = [m for path in lane.source_paths(lane.namespace_sets) for m in lane.below(path) if m.kind == "Namespace"]
    return tuple(found)


def janitors(lane: Lane) -> tuple[Manifest, ...]:
    return tuple(m for m, _, _ in lane.pods() if "janitor" in m.name)


def c7(lane: Lane) -> Iterator[Hit]:
    if not lane.sets:
        return
    found = janitors(lane)
    if not found:
        first = lane.sets[0].manifest
        yield hit(first, (), "no janitor in the tree: namespaces of closed pull requests stay for ever")
        return
    if len(found) > 1:
        yield hit(found[1], (), f"a second janitor beside {found[0].kind} {found[0].name}")
    roles = list(_roles_of(lane, _account(lane, found[0])))
    if not any(_deletes_namespaces(r) for r in roles):
        yield hit(found[0], (), "its account is bound to no ClusterRole that may delete namespaces")
    for role in roles:
        for n, rule in enumerate(listing(role.at("rules"))):
            verbs = set(map(str, listing(mapping(rule).get("verbs"))))
            if "namespaces" in listing(mapping(rule).get("resources")) and (more := sorted(verbs - _JANITOR_VERBS)):
                yield hit(role, ("rules", n), f"the janitor needs get, list and delete of namespaces, not {more[0]}")
    yield from _drift(lane, found[0])


def _drift(lane: Lane, janitor: Manifest) -> Iterator[Hit]:
    """Patterns and labels in the janitor's texts and in admission policies that are not the lane's."""
    right = {namespace_pattern(lane.prefix), f"^{lane.prefix}[0-9]+$", f"^{lane.prefix}[1-9][0-9]*$"}
    label = {
        f"{key}={value}"
        for m in namespaces_of(lane)
        for key, value in mapping(m.at("metadata", "labels")).items()
        if key.endswith("managed-by")
    }
    for m in (janitor, *lane.kind("ValidatingAdmissionPolicy")):
        for path, text in texts(m.value):
            for pattern in re.findall(r"\^[a-z][a-z0-9-]*(?:\[[^\]]*\](?:\{[0-9,]+\}|[+*])?)+\$", text):
                if pattern not in right:
                    yield hit(m, path, f"the pattern {pattern} is not {namespace_pattern(lane.prefix)}")
            for selector in re.findall(r"[a-z0-9.-]+/managed-by=[a-z0-9-]+", text):
                if label and selector not in label:
                    yield hit(m, path, f"the label {selector} is not the namespace's {', '.join(sorted(label))}")


def _account(lane: Lane, m: Manifest) -> str:
    return next((str(spec.get("serviceAccountName", "")) for own, _, spec in lane.pods() if own is m), "")


def _roles_of(lane: Lane, account: str) -> Iterator[Manifest]:
    for binding in lane.kind("ClusterRoleBinding", "RoleBinding"):
        subjects = [mapping(x) for x in listing(binding.at("subjects"))]
        if any(x.get("kind") == "ServiceAccount" and x.get("name") == account for x in subjects):
            name, kind = binding.at("roleRef", "name"), binding.at("roleRef", "kind")
            yield from (
                r
                for r in lane.kind(str(kind))
                if r.name == name and (kind == "ClusterRole" or r.namespace == binding.namespace)
            )


def roles_of(lane: Lane, account: str) -> tuple[Manifest, ...]:
    """The roles that are bound to an account of that name."""
    return tuple(_roles_of(lane, account)) if account else ()


def _deletes_namespaces(role: Manifest) -> bool:
    return role.kind == "ClusterRole" and any(_may_delete(rule) for rule in listing(role.at("rules")))


def _may_delete(rule: Any) -> bool:
    groups, resources, verbs = (set(map(str, listing(mapping(rule).get(k)))) for k in _RULE)
    return bool(groups & {"", "*"} and resources & {"namespaces", "*"} and verbs & {"delete", "deletecollection", "*"})


def c8(lane: Lane) -> Iterator[Hit]:
    allowed = {r.name for m in janitors(lane) for r in roles_of(lane, _account(lane, m))} | {JANITOR}
    bounded = _bounded(lane)
    for role in lane.kind("ClusterRole"):
        if role.name in allowed or bounded:
            continue
        for n, rule in enumerate(listing(role.at("rules"))):
            if _may_delete(rule):
                yield hit(role, ("rules", n), "this role may delete namespaces, without the janitor's checks")
    for m in lane.manifests:
        for path, text in texts(m.value):
            if _DELETES.search(text):
                yield hit(m, path, "this command deletes a namespace, without the janitor's checks")
        words = [t for p, t in texts(m.value) if "command" in p or "args" in p]
        if not any(" " in w for w in words) and _DELETES.search(" ".join(words)):
            yield hit(m, (), "this command deletes a namespace, without the janitor's checks")


def _bounded(lane: Lane) -> bool:
    """Whether an admission policy says who deletes a preview's namespace, whatever roles say."""
    for m in lane.kind("ValidatingAdmissionPolicy"):
        rules = [mapping(r) for r in listing(m.at("spec", "matchConstraints", "resourceRules"))]
        deletes = any(
            "namespaces" in listing(r.get("resources")) and "DELETE" in listing(r.get("operations")) for r in rules
        )
        said = [str(mapping(v).get("expression")) for v in listing(m.at("spec", "validations"))]
        if deletes and any("request.userInfo.username ==" in e for e in said):
            return True
    return False
