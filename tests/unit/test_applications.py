"""What the controller makes of generators, as its own code answered (argo-cd v3.5.1).

Each expectation is what `template.GenerateApplications` of that version returned for the same set and parameters.
"""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.preview.applications import PullRequest, generate
from state.errors import InvalidValue, Unsupported
from state.git import CommitId
from tests.fixtures.lane import HEAD

PULLS: dict[str, Any] = {"pullRequest": {"github": {"owner": "a", "repo": "b", "labels": ["preview"]}}}
PLUGIN: dict[str, Any] = {"plugin": {"configMapRef": {"name": "x"}, "input": {"parameters": {}}}}
FINALIZER = ["resources-finalizer.argocd.argoproj.io"]


def element(**more: str) -> dict[str, Any]:
    return {"list": {"elements": [{"c": "one", "x": "p", "number": "9", **more}]}}


def matrix(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"matrix": {"generators": list(children), **more}}


def by(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"selector": {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}}


def made(generator: dict[str, Any], **spec: Any) -> list[dict[str, Any]]:
    template = {
        "metadata": {"name": "a-{{ .number }}-{{ .c }}", "labels": {"{{ .c }}": "x"}},
        "spec": {
            "project": "p",
            "destination": {"server": "https://x"},
            "source": {"repoURL": "https://g", "path": "{{ .x }}"},
        },
    }
    options = {"goTemplate": True, "goTemplateOptions": ["missingkey=error"]}
    own = {"metadata": {"name": "s"}, "spec": {**options, "generators": [generator], "template": template, **spec}}
    return generate(own, PullRequest(7, CommitId(HEAD), ("preview",), "alice"))


@pytest.mark.parametrize(
    ("generator", "names"),
    [
        (matrix(PULLS, element()), ["a-7-one"]),
        (matrix(element(), PLUGIN), ["a-9-one"]),
        (matrix(element(number=""), PLUGIN), ["a--one"]),
        ({**matrix(PULLS, element()), **by("author", "In", "alice")}, ["a-7-one"]),
        ({**matrix(PULLS, element()), **by("author", "In", "bob")}, []),
        ({**matrix(PULLS, element()), **by("author", "NotIn", "bob")}, ["a-7-one"]),
        ({**matrix(PULLS, element()), "selector": {"matchLabels": {"author": "bob"}}}, []),
        (matrix({**PULLS, "selector": {"matchLabels": {"author": "bob"}}}, element()), []),
    ],
)
def test_generators_give_what_the_controller_s_give(generator: dict[str, Any], names: list[str]) -> None:
    applications = made(generator)
    assert [a["metadata"]["name"] for a in applications] == names
    for a in applications:
        assert a["metadata"]["labels"] == {"one": "x"}
        assert a["metadata"]["finalizers"] == FINALIZER


def test_a_generator_s_own_template_is_filled_from_the_set_s() -> None:
    own = {
        "metadata": {"labels": {"own": "{{ .c }}"}},
        "spec": {
            "project": "q",
            "destination": {"namespace": "n"},
            "source": {"repoURL": "", "path": "own/{{ .c }}"},
        },
    }
    (application,) = made(matrix(PULLS, element(), template=own))
    assert application["metadata"]["labels"] == {"one": "x", "own": "one"}
    assert application["spec"] == {
        "project": "q",
        "destination": {"server": "https://x", "namespace": "n"},
        "source": {"repoURL": "https://g", "path": "own/one"},
    }


def test_resources_are_preserved_only_with_the_flag_and_without_a_finalizer() -> None:
    (application,) = made(matrix(PULLS, element()), syncPolicy={"preserveResourcesOnDeletion": True})
    assert "finalizers" not in application["metadata"]


def test_the_second_child_s_elements_are_templates_over_the_first_one_s_parameters() -> None:
    (application,) = made(matrix(PULLS, element(x="{{ .number }}")))
    assert application["spec"]["source"]["path"] == "7"


def test_a_missing_key_fails_the_whole_set() -> None:
    with pytest.raises(InvalidValue, match='map has no entry for key "c"'):
        made(PULLS)


@pytest.mark.parametrize(
    ("generator", "spec", "told"),
    [
        ({"merge": {"generators": [PULLS, element()], "mergeKeys": ["number"]}}, {}, "the generator merge"),
        (matrix(matrix(PULLS, element()), element()), {}, "a matrix in a matrix"),
        (matrix(element(x="{{ .c }}"), PLUGIN), {}, "only plain texts"),
        (matrix(PULLS, element()), {"templatePatch": "a: b"}, "spec.templatePatch"),
        (matrix(PULLS, element()), {"goTemplate": False}, "only goTemplate: true"),
        ({**matrix(PULLS, element()), **by("author", "Exists")}, {}, "the operator Exists"),
        ({"pullRequest": {**PULLS["pullRequest"], "values": {"a": "b"}}}, {}, "values of a generator"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(generator: dict[str, Any], spec: dict[str, Any], told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        made(generator, **spec)
