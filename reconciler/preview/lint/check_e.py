"""Rules E: the lane is GitOps' alone, and takes two values from a pull request."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from reconciler.preview.gotemplate import blocks, parse
from reconciler.preview.lint.check_projects import kinds_of
from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import RESERVED, Lane
from reconciler.preview.lint.reference import CHANGING, KNOWN, Use, references
from reconciler.preview.manifests import Path_, listing, mapping
from state.errors import InvalidValue

_FREE: Final = RESERVED - {"number", "head_sha", "labels", "values", "path"}
_LEAVING: Final = frozenset({
    "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "APIService",
    "CertificateSigningRequest", "CSIDriver", "FlowSchema", "IngressClass", "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding", "Node", "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration",
    "RuntimeClass", "StorageClass", "VolumeAttachment",
})  # fmt: skip


def e1(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        project = lane.projects.get(str(next((v for _, v in s.given("spec", "project")), "")))
        allowed = [str(r) for r in listing(project.at("spec", "sourceRepos"))] if project is not None else []
        if project is not None and any("*" in r for r in allowed):
            yield hit(project, ("spec", "sourceRepos"), "a wildcard lets previews come from other repositories")
        own = {f"{mapping(g.body.get(g.provider)).get('owner')}/{mapping(g.body.get(g.provider)).get('repo')}".lower()
               for g in s.pulls if g.provider}  # fmt: skip
        for place, source in s.sources():
            url = str(source.get("repoURL", ""))
            where = (*place, "repoURL")
            name = "/".join(url.removesuffix(".git").replace(":", "/").split("/")[-2:]).lower()
            if "{{" in url:
                yield hit(s.manifest, where, f"the repository {url} is templated")
            elif name in own:
                yield hit(s.manifest, where, "the source is the repository of the pull requests themselves")
            elif lane.gitops_url is not None and url != lane.gitops_url and source.get("chart") is None:
                yield hit(s.manifest, where, f"{url} is not the GitOps repository {lane.gitops_url}")
            elif allowed and not any("*" in r for r in allowed) and url not in allowed:
                yield hit(s.manifest, where, f"{url} is not in the project's sourceRepos")


def e2(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, source in s.sources():
            revision = str(source.get("targetRevision", ""))
            if "{{" in revision:
                yield hit(
                    s.manifest, (*place, "targetRevision"), f"the revision {revision} is the pull request's choice"
                )


def e3(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, r in s.references:
            if r.use is Use.FIELD and (r.parameter in _FREE or r.parameter == "labels"):
                told = f".{r.name} is used, which somebody else chooses"
                if r.parameter == "labels":
                    told = '.labels is used other than as has "x" .labels'
                yield hit(s.manifest, place, told)


def e4(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, r in s.references:
            if r.use is Use.WHOLE:
                yield hit(s.manifest, place, f"{r.name} as a whole hides which parameters are used")
            elif r.use is Use.LOOP:
                yield hit(s.manifest, place, f"{r.name} hides which parameters are used")


def e5(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        patch = s.manifest.at("spec", "templatePatch")
        if not isinstance(patch, str):
            continue
        place: Path_ = ("spec", "templatePatch")
        for r in references(patch, go=s.go):
            if r.use in {Use.WHOLE, Use.UNKNOWN, Use.LOOP} or (
                r.use is Use.FIELD and r.parameter in _FREE | {"labels"}
            ):
                yield hit(s.manifest, place, f"templatePatch uses {r.name}, and is read as YAML afterwards")
        try:
            if any(blocks(parse(patch))):
                yield hit(s.manifest, place, "templatePatch has blocks: which keys it sets depends on the parameters")
        except InvalidValue as error:
            yield hit(s.manifest, place, f"templatePatch cannot be judged: {error}")


def e6(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, r in s.references:
            if r.use is Use.UNKNOWN:
                yield hit(s.manifest, place, f"cannot be judged: {r.name}")
            elif r.use is Use.FUNCTION and r.name in CHANGING:
                yield hit(s.manifest, place, f"{r.name} gives another result each time")
            elif r.use is Use.FUNCTION and r.name not in KNOWN:
                yield hit(s.manifest, place, f"the function {r.name} is not known")


def e7(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for g in s.pulls:
            first = g.place == 0
            if g.siblings and g.kind == "pullRequest" and not first:
                told = f"the first child is {g.siblings[0]}: it may override number, and events are matched with it"
                yield hit(s.manifest, g.path, told)
            if g.siblings and g.kind == "plugin" and first:
                yield hit(s.manifest, g.path, "a plugin as the first child is never refreshed by an event")
        for shape in s.shapes:
            for place, element in shape.elements:
                for key in sorted(element.keys() & RESERVED):
                    yield hit(s.manifest, (*place, key), f"{key} is a pull request's own parameter")


def e8(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, source in s.sources():
            if source.get("ref") and (source.get("path") or source.get("chart")):
                yield hit(s.manifest, place, "this source has ref and is rendered too")
        for place, sources in s.given("spec", "sources"):
            if len(listing(sources)) > 2:
                yield hit(s.manifest, place, f"{len(listing(sources))} sources: the last one wins in silence")
    seen: defaultdict[tuple[str, str, str, str, str], int] = defaultdict(int)
    for m in lane.rendered or ():
        identity = (m.file.partition("/")[0], m.group, m.kind, m.namespace, m.name)
        seen[identity] += 1
        if seen[identity] == 2 and "/" in m.file:
            yield hit(m, (), f"the Application {identity[0]} renders it twice, and the last source wins")


def e9(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, source in s.sources():
            helm = mapping(source.get("helm"))
            if source.get("plugin") is not None:
                yield hit(s.manifest, (*place, "plugin"), "a config management plugin runs code")
            if helm.get("fileParameters"):
                yield hit(
                    s.manifest, (*place, "helm", "fileParameters"), "fileParameters read files of the repo server"
                )
            for n, file in enumerate(listing(helm.get("valueFiles"))):
                if re.match(r"[a-z0-9+.-]+://", str(file)) or ".." in str(file).split("/"):
                    yield hit(s.manifest, (*place, "helm", "valueFiles", n), f"{file} is not of the GitOps repository")
            for n, part in enumerate(listing(mapping(source.get("kustomize")).get("components"))):
                if "://" in str(part) or "?ref=" in str(part) or str(part).startswith("/"):
                    yield hit(s.manifest, (*place, "kustomize", "components", n), f"{part} is from elsewhere")


def e10(lane: Lane) -> Iterator[Hit]:
    paths = lane.source_paths(lane.workload_sets)
    for m in (*(m for p in paths for m in lane.below(p)), *(lane.rendered or ())):
        if not m.kind or m.kind in {"Kustomization", "Component"} or not m.value.get("apiVersion"):
            continue
        if m.kind in _LEAVING:
            yield hit(m, (), f"{m.kind} is cluster-scoped")
        elif m.namespace and not re.fullmatch(re.escape(lane.prefix) + "[0-9]+", m.namespace):
            yield hit(m, ("metadata", "namespace"), f"the object goes to {m.namespace}, wherever its preview is")
    for file, text in (x for p in paths for x in lane.texts_below(p)):
        for n, line in enumerate(text.splitlines(), 1):
            found = re.fullmatch(r"\s*(?:- +)?kind:\s*[\"']?(\w+)[\"']?\s*(?:#.*)?", line)
            if found and found[1] in _LEAVING:
                yield Hit(file, n, f"a workload chart renders {found[1]}")
            if re.fullmatch(r"  namespace:\s*[\"']?[a-z0-9-]+[\"']?\s*", line):
                yield Hit(file, n, f"a chart pins its namespace: {line.strip()}")


def e11(lane: Lane) -> Iterator[Hit]:
    if lane.rendered is None:
        lane.unjudged["E11"] = "--kinds names no folder with rendered manifests"
        return
    for project in lane.projects_of(lane.workload_sets):
        allowed = kinds_of(project)
        plain = (m for path in lane.source_paths(lane.workload_sets) for m in lane.below(path))
        found = [m for m in (*lane.rendered, *plain) if m.kind and m.value.get("apiVersion") and m.name]
        made = {(m.group, m.kind): m for m in reversed(found)}
        for kind in sorted(made.keys() - allowed):
            yield hit(made[kind], (), f"{kind[0] or 'core'}/{kind[1]} is rendered and not allowed by {project.name}")
        for n, entry in enumerate(listing(project.at("spec", "namespaceResourceWhitelist"))):
            pair = (str(mapping(entry).get("group", "")), str(mapping(entry).get("kind", "")))
            if pair not in made and "*" not in "".join(pair):
                place = ("spec", "namespaceResourceWhitelist", n)
                yield hit(project, place, f"{pair[0] or 'core'}/{pair[1]} is allowed and never rendered")
