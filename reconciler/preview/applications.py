"""The Applications that Argo CD's controller would make of an ApplicationSet for one pull request, offline (pure).

Source: argo-cd, applicationset/generators/matrix.go, generator_spec_processor.go, utils/utils.go and
controllers/template/template.go. Supported: pullRequest, plugin, list, and a matrix of two of them; goTemplate with
missingkey=error. Everything else is refused by name: a half-right answer would be taken for the controller's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from reconciler.preview import gotemplate_eval
from reconciler.preview.gotemplate import is_template
from reconciler.preview.gotemplate_eval import Parameters
from reconciler.preview.names import FINALIZER
from state.canonical import Json
from state.errors import InvalidValue, Unsupported
from state.git import CommitId

APPLICATIONS_MAX: Final = 10_000

_SPEC_KEYS: Final = frozenset({
    "goTemplate", "goTemplateOptions", "generators", "template", "syncPolicy", "strategy", "preservedFields",
    "ignoreApplicationDifferences", "applyNestedSelectors",
})  # fmt: skip


class PullRequest(NamedTuple):
    """What the generators know of the one pull request. `author` is needed only where a set reads it."""

    number: int
    head: CommitId
    labels: tuple[str, ...] | None = None
    """None: exactly the labels that each generator asks for."""
    author: str | None = None


def generate(application_set: Mapping[str, Any], pull_request: PullRequest) -> list[dict[str, Any]]:
    """The Applications, in the controller's order; none if the pull request lacks a label that is asked for.

    Raises:
        Unsupported: the set uses something that is not computed here.
        InvalidValue: the controller would report an error and change nothing.
    """
    metadata = application_set.get("metadata")
    name = metadata.get("name", "without a name") if isinstance(metadata, Mapping) else "without metadata"
    try:
        return _applications(application_set, pull_request)
    except Unsupported as error:
        raise Unsupported(f"ApplicationSet {name}: {error}") from error
    except InvalidValue as error:
        raise InvalidValue(f"ApplicationSet {name}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise InvalidValue(f"ApplicationSet {name}: not as its schema says: {error!r}") from error


def _applications(application_set: Mapping[str, Any], pull_request: PullRequest) -> list[dict[str, Any]]:
    spec = application_set["spec"]
    if unknown := sorted(spec.keys() - _SPEC_KEYS):
        raise Unsupported(f"spec.{unknown[0]} is not computed offline")
    if spec.get("goTemplate") is not True or "missingkey=error" not in spec.get("goTemplateOptions", []):
        raise Unsupported("only goTemplate: true with goTemplateOptions: [missingkey=error] is computed offline")
    preserve = spec.get("syncPolicy", {}).get("preserveResourcesOnDeletion", False)
    made: list[dict[str, Any]] = []
    names: set[str] = set()
    for generator in spec["generators"]:
        kind = _kind(generator)
        template = filled(generator[kind].get("template") or {}, spec["template"])
        for parameters in _parameters(generator, pull_request, {}):
            application = _application(template, parameters, application_set, preserve=preserve)
            name = application["metadata"]["name"]
            if name in names:
                raise InvalidValue(f"two Applications would be called {name}")
            names.add(name)
            made.append(application)
            if len(made) > APPLICATIONS_MAX:
                raise InvalidValue(f"more than {APPLICATIONS_MAX} Applications")
    return made


def _application(
    template: Mapping[str, Any], parameters: Parameters, application_set: Mapping[str, Any], *, preserve: bool
) -> dict[str, Any]:
    rendered = deeply(template, parameters)
    metadata = {k: v for k, v in rendered["metadata"].items() if k in {"name", "labels", "annotations", "finalizers"}}
    if not metadata.get("finalizers") and not preserve:
        # The controller's own doing: a template without finalizers does not mean an Application without one.
        metadata["finalizers"] = [FINALIZER]
    metadata["namespace"] = application_set["metadata"].get("namespace", "argocd")
    metadata = {k: v for k, v in metadata.items() if v not in ({}, [])}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": dict(sorted(metadata.items())),
        "spec": rendered["spec"],
    }


def _kind(generator: Mapping[str, Any]) -> str:
    kinds = [k for k in generator if k != "selector"]
    if len(kinds) != 1:
        raise Unsupported(f"a generator with {len(kinds)} kinds is not computed offline")
    return kinds[0]


def _parameters(generator: Mapping[str, Any], pull_request: PullRequest, outer: Parameters) -> list[dict[str, Json]]:
    kind = _kind(generator)
    body = generator[kind]
    if outer:
        # As the second child of a matrix: its texts are templates over the first one's parameters.
        body = {k: (v if k == "template" else deeply(v, outer)) for k, v in body.items()}
    match kind:
        case "pullRequest":
            made = list(_of_pull_request(body, pull_request))
        case "plugin":
            made = [_of_plugin(body, pull_request)]
        case "list":
            made = _of_list(body)
        case "matrix":
            made = _of_matrix(body, pull_request)
        case _:
            raise Unsupported(f"the generator {kind} is not computed offline; pullRequest, plugin, list and matrix are")
    selector = generator.get("selector")
    return made if selector is None else [p for p in made if _selected(selector, p)]


def _of_pull_request(body: Mapping[str, Any], pull_request: PullRequest) -> Iterator[dict[str, Json]]:
    asked = next((tuple(p.get("labels", ())) for p in body.values() if isinstance(p, dict) and "labels" in p), ())
    labels = asked if pull_request.labels is None else pull_request.labels
    if body.get("values"):
        raise Unsupported("values of a generator are not computed offline")
    if not set(asked) <= set(labels):
        return
    sha = str(pull_request.head)
    made: dict[str, Json] = {
        "number": str(pull_request.number),
        "head_sha": sha,
        "head_short_sha": sha[:8],
        "head_short_sha_7": sha[:7],
        "labels": list(labels),
    }
    if pull_request.author is not None:
        made["author"] = pull_request.author
    yield made


def _of_plugin(body: Mapping[str, Any], pull_request: PullRequest) -> dict[str, Json]:
    if body.get("values"):
        raise Unsupported("values of a generator are not computed offline")
    # What our own endpoint answers, and what the controller adds.
    given = (body.get("input") or {}).get("parameters") or {}
    return {
        "number": str(pull_request.number),
        "head_sha": str(pull_request.head),
        "generator": {"input": {"parameters": given}},
    }


def _of_list(body: Mapping[str, Any]) -> list[dict[str, Json]]:
    if "elementsYaml" in body:
        raise Unsupported("list.elementsYaml is not computed offline")
    for element in body["elements"]:
        for key, value in element.items():
            if not isinstance(value, str) or is_template(value):
                raise Unsupported(f"list element {key}: only plain texts are computed offline")
    return [dict(element) for element in body["elements"]]


def _of_matrix(body: Mapping[str, Any], pull_request: PullRequest) -> list[dict[str, Json]]:
    children = body["generators"]
    if len(children) != 2:
        raise InvalidValue(f"a matrix takes two generators, got {len(children)}")
    for child in children:
        if _kind(child) == "matrix":
            raise Unsupported("a matrix in a matrix is not computed offline")
    made: list[dict[str, Json]] = []
    for first in _parameters(children[0], pull_request, {}):
        made += [_over(first, second) for second in _parameters(children[1], pull_request, first)]
    return made


def _over(first: Parameters, second: Parameters) -> dict[str, Json]:
    """The first child wins, also with an empty text."""
    return {**second, **first}


def _selected(selector: Mapping[str, Any], parameters: Parameters) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if _text(key, parameters) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        value = _text(expression["key"], parameters)
        match expression["operator"]:
            case "In":
                fits = value in expression["values"]
            case "NotIn":
                fits = value not in expression["values"]
            case other:
                raise Unsupported(f"a selector with the operator {other} is not computed offline")
        if not fits:
            return False
    return True


def _text(key: str, parameters: Parameters) -> str:
    value = parameters.get(key)
    if not isinstance(value, str):
        raise Unsupported(f"a selector asks for {key}, which is not known here; name it if it is the author")
    return value


def deeply(value: Any, parameters: Parameters) -> Any:
    """Every text in it rendered, keys of mappings too."""
    match value:
        case str():
            return gotemplate_eval.render(value, parameters) if is_template(value) else value
        case dict():
            return {deeply(k, parameters): deeply(v, parameters) for k, v in value.items()}
        case list():
            return [deeply(v, parameters) for v in value]
        case _:
            return value


def filled(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A generator's own template, filled from the set's where it is empty; lists stay whole."""
    made = {**copy.deepcopy(dict(base)), **{k: v for k, v in own.items() if v or k not in base}}
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            made[key] = filled(value, base[key])
    return made
