"""Every rule by an example that breaks it as it is broken in practice, and one that keeps it (tests/data/lint)."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.preview.lint.engine import RULES, lane_of, lint
from reconciler.preview.lint.observed import Observed
from reconciler.preview.lint.report import explained

_DATA = Path(__file__).parents[1] / "data" / "lint"
EXAMPLES: dict[str, Any] = {
    rule: example for file in sorted(_DATA.glob("*.yaml")) for rule, example in YAML(typ="safe").load(file).items()
}
_NAMES = {
    "set": ("ApplicationSet", "previews"),
    "namespaces": ("ApplicationSet", "preview-namespaces"),
    "project": ("AppProject", "previews"),
    "system": ("AppProject", "previews-system"),
}


def files(example: dict[str, Any]) -> dict[str, bytes]:
    """The files of an example; the parts of a lane are in lane.yaml."""
    parts = [
        {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": example[part]}
        for part, (kind, name) in _NAMES.items()
        if part in example
    ]
    made = {path: text.encode() for path, text in example.get("files", {}).items()}
    if parts:
        made["lane.yaml"] = "\n---\n".join(json.dumps(p) for p in parts).encode()
    return made


def found(rule: str, example: dict[str, Any]) -> list[str]:
    own = files(example)
    more: dict[str, Any] = {}
    if "before" in example:
        more["before"] = lane_of(files(example["before"]))
    if "rendered" in example:
        more["rendered"] = lane_of({p: t.encode() for p, t in example["rendered"].items()}).manifests
    if "observed" in example:
        more["observed"] = Observed.model_validate(example["observed"], strict=False)
    report = lint(lane_of(own, **more), own, date(2026, 6, 1))
    return [x.message for x in report.findings if x.rule == rule and x.level != "note"]


def test_there_is_an_example_of_every_rule() -> None:
    assert set(EXAMPLES) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_example_that_breaks_the_rule_is_found(rule: str) -> None:
    assert found(rule, EXAMPLES[rule]["fail"])


@pytest.mark.parametrize("rule", RULES)
def test_the_example_that_keeps_the_rule_is_not(rule: str) -> None:
    assert found(rule, EXAMPLES[rule]["pass"]) == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_says_why_what_to_do_and_where_that_is_from(rule: Any) -> None:
    text = "\n".join(explained(rule))
    for part in (rule.id, rule.holds, rule.why, rule.violated, rule.remedy, rule.source):
        assert part
        assert part in text


_SET: dict[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "ApplicationSet",
    "metadata": {"name": "previews"},
    "spec": EXAMPLES["E2"]["fail"]["set"],
}
_LIST = {"apiVersion": "v1", "kind": "List", "items": [_SET]}


def told(**more: str) -> list[tuple[str, str, int]]:
    """(rule, file, line) of what is found in these files, beside a workload set with its sources in k8s/."""
    tree = {"set.json": json.dumps(_SET | {"spec": EXAMPLES["E2"]["pass"]["set"]})}
    tree |= {name.replace("_", "."): text for name, text in more.items()}
    own = {f"k8s/{name}": text.encode() for name, text in tree.items()}
    return [(x.rule, x.file, x.line) for x in lint(lane_of(own), own, date(2026, 6, 1)).findings]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x_json", json.dumps(_SET)),
        ("x_json", json.dumps(_SET, indent="\t")),
        ("x_json", json.dumps(_SET).replace("apiVersion", "\\u0061piVersion")),
        ("x_yaml", json.dumps(_LIST)),
        ("x_yaml", json.dumps({**_LIST, "items": [_LIST]})),
        ("x_yaml", json.dumps({**_LIST, "kind": "ApplicationSetList"}, indent=1)),
    ],
)
def test_an_object_is_judged_in_every_form_that_argo_cd_takes(name: str, text: str) -> None:
    line = text[: text.index("targetRevision")].count("\n") + 1
    assert ("E2", f"k8s/{name.replace('_', '.')}", line) in told(**{name: text})


def test_json_that_is_no_object_of_kubernetes_is_let_be() -> None:
    assert told(package_json='{"kind": "none", // a comment\n') == told()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n\ufeffkind: ClusterRole\n", ("Y1", 2)),
        ("a: 1\n!!binary a2luZA==: ClusterRole\n", ("Y1", 2)),
        ("apiVersion: v1\nkind: PersistentVolume\n", ("E10", 1)),
        (
            "apiVersion: v1\nkind: Pod\nspec:\n  volumes:\n  - name: m\n    image:\n      reference: q.io/m:latest\n",
            ("F2", 6),
        ),
    ],
)
def test_what_hides_from_one_reader_is_told(text: str, expected: tuple[str, int]) -> None:
    assert (expected[0], "k8s/x.yaml", expected[1]) in told(x_yaml=text)


def test_a_cluster_scoped_kind_in_a_chart_is_told_with_a_comment_behind_it() -> None:
    own = files(EXAMPLES["E10"]["pass"]) | {
        "charts/web/templates/role.yaml": b"apiVersion: v1\nkind: ClusterRole # {{ .Values.x }}\n"
    }
    rules = {(x.rule, x.file) for x in lint(lane_of(own), own, date(2026, 6, 1)).findings}
    assert ("E10", "charts/web/templates/role.yaml") in rules
