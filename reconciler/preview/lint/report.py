"""A report as text, JSON or SARIF, and the explanation of a rule (pure)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from reconciler.preview.lint.engine import RULES, Report
from reconciler.preview.lint.rule import Rule
from reconciler.sarif import SarifFinding, sarif


def as_text(report: Report, root: str) -> Iterator[str]:
    """One block per finding, then what was excused and what could not be judged."""
    for x in report.findings:
        rule = RULES[x.rule]
        yield f"{root}{x.file}:{x.line}: {x.rule} {x.level}: {x.message}"
        yield f"    why: {rule.why}"
        yield f"    do: {rule.remedy}"
        yield f"    source: {rule.source}"
    for x, why in report.excused:
        yield f"{root}{x.file}:{x.line}: {x.rule} excused {why}"
    for rule_id, why in report.unjudged.items():
        yield f"not judged: {rule_id}: {why}"
    counted = {level: sum(x.level == level for x in report.findings) for level in ("error", "warning", "note")}
    yield ", ".join(f"{n} {level}s" for level, n in counted.items()) + f"; {len(RULES)} rules"


def as_json(report: Report, root: str) -> str:
    made = {
        "excused": [{**x._asdict(), "file": root + x.file, "reason": why} for x, why in report.excused],
        "findings": [
            {
                **x._asdict(),
                "file": root + x.file,
                "why": RULES[x.rule].why,
                "remedy": RULES[x.rule].remedy,
                "source": RULES[x.rule].source,
            }
            for x in report.findings
        ],
        "not_judged": dict(report.unjudged),
        "rules": sorted(RULES),
    }
    return json.dumps(made, indent=2, sort_keys=True)


def as_sarif(report: Report, root: str) -> str:
    found = (
        SarifFinding(x.rule, x.level, f"{x.message}. {RULES[x.rule].remedy}", root + x.file, x.line)
        for x in report.findings
    )
    return sarif(found, {r.id: r.holds for r in RULES.values()})


def explained(rule: Rule) -> Iterator[str]:
    yield f"{rule.id} ({rule.level}): {rule.holds}"
    yield f"  why       {rule.why}"
    yield f"  violated  {rule.violated}"
    yield f"  do        {rule.remedy}"
    yield f"  source    {rule.source}"
