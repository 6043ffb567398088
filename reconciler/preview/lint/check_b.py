"""Rules B1–B11: who may have a preview, and where it goes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Final

from reconciler.preview.lint.hit import Hit, hit
from reconciler.preview.lint.lane import Generator, Lane, Set
from reconciler.preview.manifests import listing, mapping
from reconciler.preview.names import CUSTODY

_OWNERS: Final = ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS", ".gitea/CODEOWNERS")


def b1(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        for place, project in s.given("spec", "project"):
            if "{{" in str(project):
                yield hit(s.manifest, place, f"the project {project} is templated")


def b2(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        names = [(p, str(v)) for p, v in s.given("spec", "project")]
        if not names:
            yield hit(s.manifest, ("spec", "template", "spec"), "no project is named")
        for place, name in names:
            if name == "default" or (name not in lane.projects and "{{" not in name):
                known = ", ".join(sorted(lane.projects)) or "none"
                yield hit(s.manifest, place, f"the project {name} is not an AppProject of the tree; there is {known}")


def b3(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        if s.manifest.namespace not in {"", lane.control_namespace}:
            where = f"it lives in {s.manifest.namespace}, not in {lane.control_namespace}"
            yield hit(s.manifest, ("metadata", "namespace"), where)
    for m in lane.projects_of(lane.sets):
        if listing(m.at("spec", "sourceNamespaces")):
            yield hit(m, ("spec", "sourceNamespaces"), "Applications of other namespaces may use this project")
    owners = next((lane.texts[f] for f in _OWNERS if f in lane.texts), None)
    if owners is None:
        lane.unjudged["B3"] = "CODEOWNERS is not in the tree: whether the sets' paths have owners"
        return
    for s in lane.sets:
        if not _owned(owners, s.manifest.file):
            yield hit(s.manifest, (), f"CODEOWNERS gives {s.manifest.file} to nobody")


def _owned(owners: str, file: str) -> bool:
    """Whether the last line of CODEOWNERS that matches the file names somebody."""
    owned = False
    for line in owners.splitlines():
        pattern, *names = line.partition("#")[0].split() or [""]
        if not pattern or pattern.startswith("["):
            continue
        anchored = pattern.lstrip("/") if "/" in pattern.rstrip("/") else f"**/{pattern}"
        forms = [anchored.rstrip("/"), f"{anchored.rstrip('/')}/*", anchored.replace("**/", "")]
        if any(fnmatch(file, f) for f in forms) or pattern == "*":
            owned = bool(names)
    return owned


def b4(lane: Lane) -> Iterator[Hit]:
    expected = re.compile(re.escape(lane.prefix) + r"\{\{-?\s*\.?number\s*-?\}\}")
    for s in lane.sets:
        found = list(s.given("spec", "destination", "namespace"))
        if not found:
            yield hit(s.manifest, ("spec", "template", "spec", "destination"), "no namespace is named")
        for place, namespace in found:
            if not expected.fullmatch(str(namespace)):
                yield hit(s.manifest, place, f"expected {lane.prefix}{{{{ .number }}}}, got {namespace}")


def b5(lane: Lane) -> Iterator[Hit]:
    for s in lane.sets:
        servers = [*s.given("spec", "destination", "server"), *s.given("spec", "destination", "name")]
        if not servers:
            yield hit(s.manifest, ("spec", "template", "spec", "destination"), "neither server nor name is given")
        for place, server in servers:
            if "{{" in str(server):
                yield hit(s.manifest, place, f"the cluster {server} is templated")


def labels_of(g: Generator) -> list[str]:
    return [str(x) for x in listing(mapping(g.body.get(g.provider)).get("labels"))]


def authors_chosen(g: Generator) -> bool:
    if "author" in mapping(g.selector.get("matchLabels")):
        return True
    chosen = [mapping(e) for e in listing(g.selector.get("matchExpressions"))]
    return any(e.get("key") == "author" and e.get("operator") == "In" and listing(e.get("values")) for e in chosen)


def b6(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        if g.provider in {"bitbucket", "bitbucketServer"}:
            yield hit(s.manifest, g.path, f"{g.provider} knows no labels: every pull request gets a preview")
        elif not labels_of(g):
            yield hit(s.manifest, (*g.path, g.provider), "no label is asked for: every pull request gets a preview")


def b7(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        kept = s.manifest.at("metadata", "annotations", CUSTODY)
        if (kept is None or kept not in labels_of(g)) and not authors_chosen(g):
            yield hit(s.manifest, g.path, "a label is the only gate, and it outlives every later push")
        elif any(r.name == "head_sha" for _, r in s.references):
            told = "label mode: after a push the new head is deployed at once, before its images are all there"
            yield hit(s.manifest, g.path, told, "note")


def b8(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        filters = listing(g.body.get("filters"))
        if not filters:
            yield hit(s.manifest, g.path, "no targetBranchMatch: pull requests into every branch get a preview")
        for n, one in enumerate(filters):
            target = mapping(one).get("targetBranchMatch")
            place = (*g.path, "filters", n)
            if not isinstance(target, str):
                yield hit(s.manifest, place, "this filter has no targetBranchMatch, and one filter is enough to pass")
            elif not re.fullmatch(r"\^(\([^()]*\)|[^|()])*\$", target):
                yield hit(s.manifest, (*place, "targetBranchMatch"), f"{target} is not anchored as a whole")


def b9(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        if labels_of(g) or authors_chosen(g):
            continue
        for n, one in enumerate(listing(g.body.get("filters"))):
            chosen = sorted({"titleMatch", "branchMatch"} & mapping(one).keys())
            if chosen:
                yield hit(
                    s.manifest, (*g.path, "filters", n), f"{chosen[0]}, which the author chooses, is the only gate"
                )


def b10(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        state = mapping(g.body.get("gitlab")).get("pullRequestState")
        if g.provider == "gitlab" and state != "opened":
            yield hit(
                s.manifest, (*g.path, "gitlab"), f"pullRequestState is {state or 'not set'}: closed ones count too"
            )


def b11(lane: Lane) -> Iterator[Hit]:
    for s, g in _listed(lane):
        if g.body.get("continueOnRepoNotFoundError"):
            place = (*g.path, "continueOnRepoNotFoundError")
            yield hit(s.manifest, place, "a 404 means no pull requests here, so that every preview is deleted")


def _listed(lane: Lane) -> Iterator[tuple[Set, Generator]]:
    """Generators that list pull requests themselves; a plugin answers for its gates."""
    return ((s, g) for s in lane.sets for g in s.pulls if g.kind == "pullRequest")
