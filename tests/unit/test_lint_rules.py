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
