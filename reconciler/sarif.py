"""Findings as SARIF 2.1.0, the format that code hosts show beside the lines of a change (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

from reconciler import __version__

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
Level = Literal["error", "warning", "note"]


class SarifFinding(NamedTuple):
    """One result. `path` is relative to the root of what was looked at; `line` counts from 1."""

    rule: str
    level: Level
    message: str
    path: str
    line: int


def sarif(findings: Iterable[SarifFinding], rules: Mapping[str, str]) -> str:
    """The document.

    Args:
        rules: rule id → what the rule says, for every rule that was applied.
    """
    ids = sorted(rules)
    index = {rule: n for n, rule in enumerate(ids)}
    results: list[dict[str, Any]] = [
        {
            "ruleId": f.rule,
            "ruleIndex": index[f.rule],
            "level": f.level,
            "message": {"text": f.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(f.path), "uriBaseId": "%SRCROOT%"},
                        "region": {"startLine": max(1, f.line)},
                    }
                }
            ],
        }
        for f in findings
    ]
    driver = {
        "name": "ameide",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": rules[rule]}} for rule in ids],
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(document, indent=2) + "\n"
