"""A lane as a linter sees it: every manifest of a tree, and the ApplicationSets of pull requests taken apart (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from reconciler.preview.applications import filled
from reconciler.preview.lint.observed import Observed
from reconciler.preview.lint.reference import Reference, references
from reconciler.preview.manifests import Manifest, Path_, listing, mapping, texts

PROVIDERS: Final = ("github", "gitlab", "gitea", "azuredevops", "bitbucket", "bitbucketServer")
PULLS: Final = frozenset({"pullRequest", "plugin"})
RESERVED: Final = frozenset({
    "number", "title", "branch", "branch_slug", "target_branch", "target_branch_slug", "head_sha", "head_short_sha",
    "head_short_sha_7", "author", "labels", "values", "path",
})  # fmt: skip
PODS: Final[Mapping[str, Path_]] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(("DaemonSet", "Deployment", "Job", "StatefulSet"), ("spec", "template", "spec")),
}


class Generator(NamedTuple):
    """One generator, wherever it is nested."""

    kind: str
    body: Mapping[str, Any]
    path: Path_
    """Where its body is in the manifest."""
    selector: Mapping[str, Any]
    """Its own selector and that of every generator around it, as one list of expressions and labels."""
    siblings: tuple[str, ...]
    """Kinds of the matrix or merge it is in, in order; empty for one that stands alone."""
    place: int
    """Its place among the siblings."""

    @property
    def provider(self) -> str:
        return next((p for p in PROVIDERS if p in self.body), "")


class Shape(NamedTuple):
    """What Applications one top-level generator makes: its template as it is in force, and its list's elements."""

    template: Mapping[str, Any]
    generators: tuple[Generator, ...]
    elements: tuple[tuple[Path_, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Set:
    """An ApplicationSet that makes Applications of pull requests."""

    manifest: Manifest
    is_namespaces: bool

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def go(self) -> bool:
        return self.manifest.at("spec", "goTemplate") is True

    @cached_property
    def generators(self) -> tuple[Generator, ...]:
        return tuple(_generators(listing(self.manifest.at("spec", "generators")), ("spec", "generators"), {}))

    @cached_property
    def pulls(self) -> tuple[Generator, ...]:
        return tuple(g for g in self.generators if g.kind in PULLS)

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        base = mapping(self.manifest.at("spec", "template"))
        made = []
        for n, top in enumerate(listing(self.manifest.at("spec", "generators"))):
            own = next((mapping(mapping(v).get("template")) for v in mapping(top).values()), {})
            inside = tuple(g for g in self.generators if g.path[:3] == ("spec", "generators", n))
            elements = tuple(
                ((*g.path, "elements", i), mapping(element))
                for g in inside
                if g.kind == "list"
                for i, element in enumerate(listing(g.body.get("elements")))
            )
            made.append(Shape(filled(own, base), inside, elements))
        return tuple(made) or (Shape(base, (), ()),)

    @cached_property
    def templates(self) -> tuple[tuple[Path_, Mapping[str, Any]], ...]:
        """The template and every generator's own, each with its place."""
        places: list[Path_] = [("spec", "template")]
        places += [(*g.path, "template") for g in (*self.generators, *self._groups) if mapping(g.body.get("template"))]
        return tuple((p, mapping(self.manifest.at(*p))) for p in places)

    @cached_property
    def _groups(self) -> tuple[Generator, ...]:
        return tuple(
            Generator(kind, body, ("spec", "generators", n, kind), {}, (), 0)
            for n, top in enumerate(listing(self.manifest.at("spec", "generators")))
            for kind in ("matrix", "merge")
            if (body := mapping(mapping(top).get(kind)))
        )

    def given(self, *path: str) -> Iterator[tuple[Path_, Any]]:
        """The value at that path of every template that has one."""
        for place, _ in self.templates:
            value = self.manifest.at(*place, *path)
            if value not in (None, "", {}, []):
                yield (*place, *path), value

    def sources(self) -> Iterator[tuple[Path_, Mapping[str, Any]]]:
        """Every source of every template."""
        for place, _ in self.templates:
            one = self.manifest.at(*place, "spec", "source")
            if mapping(one):
                yield (*place, "spec", "source"), mapping(one)
            for n, source in enumerate(listing(self.manifest.at(*place, "spec", "sources"))):
                yield (*place, "spec", "sources", n), mapping(source)

    @cached_property
    def references(self) -> tuple[tuple[Path_, Reference], ...]:
        """What every template text of the set uses: templates, values, children of a matrix, templatePatch."""
        found: list[tuple[Path_, str]] = []
        for place, template in self.templates:
            found += [((*place, *path), text) for path, text in texts(template)]
        for g in self.generators:
            own = {k: v for k, v in g.body.items() if k != "template"}
            found += [((*g.path, *path), text) for path, text in texts(own)]
        patch = self.manifest.at("spec", "templatePatch")
        if isinstance(patch, str):
            found.append((("spec", "templatePatch"), patch))
        return tuple((place, r) for place, text in found for r in references(text, go=self.go))


@dataclass(frozen=True)
class Lane:
    """All that is judged, and what it is judged against."""

    manifests: tuple[Manifest, ...]
    texts: Mapping[str, str]
    """Files that are no manifests: charts' templates, CODEOWNERS."""
    unreadable: tuple[tuple[str, int, str], ...] = ()
    version: tuple[int, int] = (3, 5)
    prefix_given: str | None = None
    rendered: tuple[Manifest, ...] | None = None
    """Objects that the components render, if they were given."""
    before: Lane | None = None
    """The same tree before a change, if it was given."""
    observed: Observed | None = None
    gitops_url: str | None = None
    unjudged: dict[str, str] = field(default_factory=dict)
    """Rule → why it could not be judged; filled by the checks."""

    def kind(self, *kinds: str) -> Iterator[Manifest]:
        return (m for m in self.manifests if m.kind in kinds)

    @cached_property
    def sets(self) -> tuple[Set, ...]:
        return tuple(
            Set(m, is_namespaces=self._makes_namespaces(m))
            for m in self.kind("ApplicationSet")
            if any(g.kind in PULLS for g in Set(m, is_namespaces=False).generators)
        )

    @property
    def workload_sets(self) -> tuple[Set, ...]:
        return tuple(s for s in self.sets if not s.is_namespaces)

    @property
    def namespace_sets(self) -> tuple[Set, ...]:
        return tuple(s for s in self.sets if s.is_namespaces)

    @cached_property
    def projects(self) -> Mapping[str, Manifest]:
        return {m.name: m for m in self.kind("AppProject")}

    def projects_of(self, sets: tuple[Set, ...]) -> tuple[Manifest, ...]:
        names = {str(value) for s in sets for _, value in s.given("spec", "project")}
        return tuple(self.projects[n] for n in sorted(names) if n in self.projects)

    @cached_property
    def control_namespace(self) -> str:
        counted = Counter(m.namespace for m in (*self.kind("AppProject"), *self.kind("ApplicationSet")) if m.namespace)
        return "argocd" if "argocd" in counted or not counted else counted.most_common(1)[0][0]

    @cached_property
    def prefix(self) -> str:
        """The configured prefix, or what most sets write before the number."""
        if self.prefix_given is not None:
            return self.prefix_given
        written = [
            found[1]
            for s in self.sets
            for _, value in s.given("spec", "destination", "namespace")
            if isinstance(value, str) and (found := re.fullmatch(r"([a-z0-9-]*)\{\{-?\s*\.?number\s*-?\}\}", value))
        ]
        return Counter(written).most_common(1)[0][0] if written else "pr-"

    @cached_property
    def switches(self) -> Manifest | None:
        return next((m for m in self.kind("ConfigMap") if m.name == "argocd-cmd-params-cm"), None)

    def below(self, path: str) -> Iterator[Manifest]:
        """The manifests of a source's folder."""
        inside = path.strip("/") + "/"
        return (m for m in self.manifests if m.file.startswith(inside))

    def texts_below(self, path: str) -> Iterator[tuple[str, str]]:
        inside = path.strip("/") + "/"
        return ((f, t) for f, t in self.texts.items() if f.startswith(inside))

    def source_paths(self, sets: tuple[Set, ...]) -> tuple[str, ...]:
        """Literal source folders, and those that list elements name."""
        made = set()
        for s in sets:
            for shape in s.shapes:
                sources = [mapping(shape.template.get("spec")).get("source")]
                sources += listing(mapping(shape.template.get("spec")).get("sources"))
                for source in sources:
                    path = mapping(source).get("path")
                    if not isinstance(path, str):
                        continue
                    if "{{" not in path:
                        made.add(path)
                    made.update(_filled_in(path, element) for _, element in shape.elements)
        return tuple(sorted(made))

    def pods(self) -> Iterator[tuple[Manifest, Path_, Mapping[str, Any]]]:
        """Every pod template of the tree."""
        for m in self.manifests:
            if m.kind in PODS and (spec := mapping(m.at(*PODS[m.kind]))):
                yield m, PODS[m.kind], spec

    def _makes_namespaces(self, m: Manifest) -> bool:
        project = self.projects.get(str(m.at("spec", "template", "spec", "project")))
        allowed = listing(project.at("spec", "clusterResourceWhitelist")) if project is not None else []
        kinds = {str(mapping(a).get("kind")) for a in allowed}
        if "Namespace" in kinds:
            return True
        path = m.at("spec", "template", "spec", "source", "path")
        if isinstance(path, str) and "{{" not in path and path.strip("/"):
            own = {x.kind for x in self.below(path)} - {"Kustomization", ""}
            if own == {"Namespace"}:
                return True
        return bool(re.search(r"namespaces?$", m.name))


def _filled_in(path: str, element: Mapping[str, Any]) -> str:
    return re.sub(r"\{\{\s*\.?(\w+)\s*\}\}", lambda m: str(element.get(m[1], "?")), path)


def _generators(found: list[Any], at: Path_, around: Mapping[str, Any]) -> Iterator[Generator]:
    kinds = tuple(next((k for k in mapping(g) if k != "selector"), "") for g in found)
    nested = at != ("spec", "generators")
    for n, one in enumerate(found):
        own = mapping(mapping(one).get("selector"))
        selector = {
            "matchExpressions": [*listing(around.get("matchExpressions")), *listing(own.get("matchExpressions"))],
            "matchLabels": {**mapping(around.get("matchLabels")), **mapping(own.get("matchLabels"))},
        }
        body = mapping(mapping(one).get(kinds[n]))
        if kinds[n] in {"matrix", "merge"}:
            inner = (*at, n, kinds[n], "generators")
            yield from _generators(listing(body.get("generators")), inner, selector)
        elif kinds[n]:
            yield Generator(kinds[n], body, (*at, n, kinds[n]), selector, kinds if nested else (), n)
