"""Rules G: what is deployed is proven, and what deploys it is bounded. G2 is with the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from reconciler.preview.lint.check_c import janitors, namespaces_of, roles_of
from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import Lane
from reconciler.preview.manifests import Manifest, Path_, listing, mapping, texts

_VERIFIERS: Final = frozenset({"ClusterPolicy", "Policy", "ImageValidatingPolicy", "ClusterImagePolicy"})
_OPT_IN: Final = "policy.sigstore.dev/include"


def g1(lane: Lane) -> Iterator[Hit]:
    preview = f"{lane.prefix}7"
    for m in lane.manifests:
        if m.kind not in _VERIFIERS:
            continue
        if m.kind == "ClusterImagePolicy":
            for namespace in namespaces_of(lane):
                if str(namespace.at("metadata", "labels", _OPT_IN)) not in {"true", "True"}:
                    yield hit(namespace, ("metadata",), f"{m.name} counts only where {_OPT_IN} is true")
            continue
        for n, rule in enumerate(listing(m.at("spec", "rules"))):
            if not listing(mapping(rule).get("verifyImages")):
                continue
            place = ("spec", "rules", n)
            chosen = _namespaces(mapping(rule).get("match"))
            if chosen and not any(fnmatchcase(preview, c) for c in chosen):
                yield hit(m, place, f"images are verified in {', '.join(chosen)} only, not in {preview}")
            for left in _namespaces(mapping(rule).get("exclude")):
                if fnmatchcase(preview, left):
                    yield hit(m, place, f"{left} is excluded, and previews with it")


def _namespaces(block: object) -> list[str]:
    return [t for path, t in texts(block) if "namespaces" in path and isinstance(path[-1], int)]


def g3(lane: Lane) -> Iterator[Hit]:
    for m in lane.manifests:
        if not isinstance(m.value.get("jobs"), dict) or "on" not in m.value:
            continue
        on = m.value["on"]
        if on != "pull_request_target" and "pull_request_target" not in (on if isinstance(on, list | dict) else ()):
            continue
        for path, text in texts(m.value):
            if path and path[-1] in {"ref", "run", "repository"} and "github.event.pull_request.head" in text:
                yield hit(m, path, "pull_request_target has the secrets, and this takes the head's code")
            if path and path[-1] in {"ref", "run"} and "github.head_ref" in text:
                yield hit(m, path, "pull_request_target has the secrets, and this takes the head's code")


def g4(lane: Lane) -> Iterator[Hit]:
    own = {m.namespace for m in janitors(lane)} - {lane.control_namespace, ""}
    for m, place, spec in lane.pods():
        if "janitor" not in m.name and m.namespace not in own:
            continue
        yield from _restricted(m, place, spec)
        account = str(spec.get("serviceAccountName", ""))
        if account in {"", "default"}:
            yield hit(m, place, "runs as the namespace's default account")
        for role in roles_of(lane, account):
            for n, rule in enumerate(listing(role.at("rules"))):
                wild = [k for k in ("apiGroups", "resources", "verbs") if "*" in listing(mapping(rule).get(k))]
                if wild:
                    yield hit(role, ("rules", n), f"a wildcard in {wild[0]}")
        for binding in lane.kind("ClusterRoleBinding"):
            bound = any(mapping(x).get("name") == account for x in listing(binding.at("subjects")))
            if bound and binding.at("roleRef", "name") == "cluster-admin":
                yield hit(binding, ("roleRef",), f"{account} is cluster-admin")


def _restricted(m: Manifest, place: Path_, spec: Mapping[str, Any]) -> Iterator[Hit]:
    pod = mapping(spec.get("securityContext"))
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield hit(m, (*place, key), f"{key} is on")
    for n, volume in enumerate(listing(spec.get("volumes"))):
        if "hostPath" in mapping(volume):
            yield hit(m, (*place, "volumes", n), "a hostPath volume")
    for group in ("initContainers", "containers"):
        for n, container in enumerate(listing(spec.get(group))):
            security = mapping(mapping(container).get("securityContext"))
            at = (*place, group, n)
            if security.get("allowPrivilegeEscalation") is not False:
                yield hit(m, at, "allowPrivilegeEscalation is not false")
            if "ALL" not in listing(mapping(security.get("capabilities")).get("drop")):
                yield hit(m, at, "capabilities are not dropped")
            if not (security.get("runAsNonRoot") is True or pod.get("runAsNonRoot") is True):
                yield hit(m, at, "runAsNonRoot is not true")
            seccomp = mapping(security.get("seccompProfile") or pod.get("seccompProfile")).get("type")
            if seccomp not in ("RuntimeDefault", "Localhost"):
                yield hit(m, at, "seccompProfile is not RuntimeDefault")
