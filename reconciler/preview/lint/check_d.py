"""Rules D: the namespace has one owner, the right labels and the right name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from reconciler.preview.lint.check_c import namespaces_of
from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import RESERVED, Lane
from reconciler.preview.lint.reference import GUARD, references
from reconciler.preview.manifests import listing, mapping
from reconciler.preview.names import POD_SECURITY
from reconciler.settings.lane import NAME_MAX_CHARS, NUMBER_MAX_CHARS

_OWN_LABELS: Final = ("managed-by", "environment")


def d1(lane: Lane) -> Iterator[Hit]:
    if lane.workload_sets and not lane.namespace_sets:
        yield hit(lane.workload_sets[0].manifest, (), "no set makes the namespace that this one deploys into")
    for s in lane.namespace_sets[1:]:
        yield hit(s.manifest, (), f"a second set makes namespaces, beside {lane.namespace_sets[0].name}")
    for path in lane.source_paths(lane.workload_sets):
        for m in lane.below(path):
            if m.kind == "Namespace":
                yield hit(m, (), "a workload source renders a Namespace")
        for file, text in lane.texts_below(path):
            for n, line in enumerate(text.splitlines(), 1):
                if re.fullmatch(r"\s*kind:\s*[\"']?Namespace[\"']?\s*", line):
                    yield Hit(file, n, "a workload chart renders a Namespace")
    for m in lane.rendered or ():
        if m.kind == "Namespace" and not re.fullmatch(re.escape(lane.prefix) + "[0-9]*", m.name):
            yield hit(m, (), "a component renders a Namespace")


def d2(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, options in s.given("spec", "syncPolicy", "syncOptions"):
            for n, option in enumerate(listing(options)):
                if str(option).replace(" ", "").lower() == "createnamespace=true":
                    yield hit(s.manifest, (*place, n), "CreateNamespace makes a namespace that nobody owns")
        for place, _ in s.given("spec", "syncPolicy", "managedNamespaceMetadata"):
            yield hit(s.manifest, place, "managedNamespaceMetadata makes Argo CD the namespace's owner")
        patch = s.manifest.at("spec", "templatePatch")
        if isinstance(patch, str) and ("CreateNamespace" in patch or "managedNamespaceMetadata" in patch):
            yield hit(s.manifest, ("spec", "templatePatch"), "the patch makes the namespace")


def d3(lane: Lane) -> Iterator[Hit]:
    for s in lane.namespace_sets:
        numbered = False
        for place, source in s.sources():
            for key in ("commonLabels", "commonAnnotations"):
                for label, value in mapping(mapping(source.get("kustomize")).get(key)).items():
                    where = (*place, "kustomize", key, label)
                    numbered |= bool(re.fullmatch(r"\{\{\s*\.?number\s*\}\}", str(value))) and key == "commonLabels"
                    for r in references(str(value), go=s.go):
                        if r.parameter in RESERVED - {"number", "head_sha"}:
                            yield hit(s.manifest, where, f"the label comes from {r.name}, which somebody else chooses")
            for parameter in listing(mapping(source.get("helm")).get("parameters")):
                numbered |= bool(re.fullmatch(r"\{\{\s*\.?number\s*\}\}", str(mapping(parameter).get("value"))))
        if not numbered:
            yield hit(s.manifest, ("spec", "template"), "the namespace gets no label with the pull request's number")
    found = namespaces_of(lane)
    if not found and lane.namespace_sets:
        lane.unjudged["D3"] = "the Namespace manifest is not in the tree as plain YAML"
    for m in found:
        labels = mapping(m.at("metadata", "labels"))
        missing = [n for n in _OWN_LABELS if not any(k.rpartition("/")[2] == n for k in labels)]
        if POD_SECURITY not in labels:
            missing.append(POD_SECURITY)
        if missing:
            yield hit(m, ("metadata",), f"the namespace lacks the label {', '.join(missing)}")


def d4(lane: Lane) -> Iterator[Hit]:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", lane.prefix):
        first = lane.sets[0].manifest if lane.sets else None
        if first is not None:
            yield hit(first, (), f"the prefix {lane.prefix!r} does not begin a namespace's name")
    for s in lane.sets:
        for shape in s.shapes:
            name = str(mapping(shape.template.get("metadata")).get("name", ""))
            place = ("spec", "template", "metadata", "name")
            chosen = [r.name for r in references(name, go=s.go) if r.parameter in RESERVED - {"number"}]
            if chosen:
                yield hit(s.manifest, place, f"the name has {chosen[0]} in it")
            if "number" not in {r.name for r in references(name, go=s.go)}:
                yield hit(s.manifest, place, "the name has no pull request's number in it: two would share it")
            plain = GUARD.sub("", name)
            for _, element in shape.elements or (((), {}),):
                told = re.sub(r"\{\{\s*\.?number\s*\}\}", "9" * NUMBER_MAX_CHARS, plain)
                for key, value in element.items():
                    told = re.sub(r"\{\{\s*\." + re.escape(key) + r"\s*\}\}", str(value), told)
                if "{{" not in told and len(told) > NAME_MAX_CHARS:
                    yield hit(s.manifest, place, f"{told} has {len(told)} characters, at most {NAME_MAX_CHARS} are")


def d5(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for shape in s.shapes:
            sync = mapping(mapping(shape.template.get("spec")).get("syncPolicy"))
            place = ("spec", "template", "spec", "syncPolicy")
            if s.is_namespaces and mapping(sync.get("automated")).get("selfHeal") is not True:
                yield hit(s.manifest, place, "without selfHeal a namespace that the janitor took does not come back")
            retry = mapping(sync.get("retry"))
            if not retry or retry.get("limit") == 0:
                yield hit(s.manifest, place, "no retry: a sync that met a terminating namespace is not tried again")
            elif lane.version >= (3, 2) and retry.get("refresh") is not True:
                yield hit(s.manifest, (*place, "retry"), "retry.refresh is not on: old revisions are tried again")


def d6(lane: Lane) -> Iterator[Hit]:
    if not lane.workload_sets:
        return
    kinds = {m.kind for path in lane.source_paths(lane.workload_sets) for m in lane.below(path)}
    kinds |= {m.kind for m in lane.rendered or ()}
    if missing := sorted({"LimitRange", "NetworkPolicy", "ResourceQuota"} - kinds):
        told = f"no source of the lane in this tree has a {', '.join(missing)}"
        yield hit(lane.workload_sets[0].manifest, (), told)
