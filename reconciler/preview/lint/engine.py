"""Reading a tree, applying every rule, and leaving out what was excused with a reason (pure)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Final, NamedTuple

from reconciler.preview.lint import check_a as a
from reconciler.preview.lint import check_b as b
from reconciler.preview.lint import check_c as c
from reconciler.preview.lint import check_d as d
from reconciler.preview.lint import check_e as e
from reconciler.preview.lint import check_f as f
from reconciler.preview.lint import check_g as g
from reconciler.preview.lint import check_projects as p
from reconciler.preview.lint import rules_content, rules_lifecycle
from reconciler.preview.lint.hit import Hit
from reconciler.preview.lint.lane import Lane
from reconciler.preview.lint.rule import Finding, Rule
from reconciler.preview.manifests import Manifest, parse
from state.errors import InvalidValue

RULES: Final[Mapping[str, Rule]] = {r.id: r for r in (*rules_lifecycle.RULES, *rules_content.RULES)}

Check = Callable[[Lane], Iterator[Hit]]


def y1(lane: Lane) -> Iterator[Hit]:
    return (Hit(file, line, message) for file, line, message in lane.unreadable)


CHECKS: Final[Mapping[str, Check]] = {
    "A1": a.a1, "A2": a.a2, "A3": a.a3, "A4": a.a4, "A5": a.a5, "A6": a.a6, "A7": a.a7, "A8": a.a8,
    "B1": b.b1, "B2": b.b2, "B3": b.b3, "B4": b.b4, "B5": b.b5, "B6": b.b6, "B7": b.b7, "B8": b.b8, "B9": b.b9,
    "B10": b.b10, "B11": b.b11, "B12": p.b12, "B13": p.b13, "B14": p.b14, "B15": p.b15, "B16": p.b16, "B17": p.b17,
    "C1": c.c1, "C2": c.c2, "C3": c.c3, "C4": c.c4, "C5": c.c5, "C6": c.c6, "C7": c.c7, "C8": c.c8, "C9": p.c9,
    "C10": p.c10,
    "D1": d.d1, "D2": d.d2, "D3": d.d3, "D4": d.d4, "D5": d.d5, "D6": d.d6,
    "E1": e.e1, "E2": e.e2, "E3": e.e3, "E4": e.e4, "E5": e.e5, "E6": e.e6, "E7": e.e7, "E8": e.e8, "E9": e.e9,
    "E10": e.e10, "E11": e.e11,
    "F1": f.f1, "F2": f.f2, "F3": f.f3, "F4": f.f4, "F5": f.f5,
    "G1": g.g1, "G2": f.g2, "G3": g.g3, "G4": g.g4,
    "Y1": y1,
}  # fmt: skip

_EXCUSE: Final = re.compile(
    r"#\s*ameide-lint:\s*ignore\s+(?P<rule>[A-GY][0-9]+)\s+until\s+(?P<until>[0-9]{4}-[0-9]{2}-[0-9]{2}):\s*(?P<why>\S.*)"
)
_OBJECT: Final = re.compile(rb'"(?:apiVersion|[^"]*\\u)')
"""A key that every object has, or one that may spell it."""
_CHART_TEMPLATE: Final = re.compile(r"(^|/)templates/")


class Report(NamedTuple):
    findings: tuple[Finding, ...]
    excused: tuple[tuple[Finding, str], ...]
    """Findings with the reason for which a comment excuses them."""
    unjudged: Mapping[str, str]
    """Rules that this tree alone cannot decide, and why."""

    @property
    def clean(self) -> bool:
        """Whether nothing was found but notes."""
        return all(x.level == "note" for x in self.findings)


def lane_of(files: Mapping[str, bytes], **more: object) -> Lane:
    """The tree as a lane. A chart's templates are texts, not YAML; everything else that is not YAML is told.

    JSON is judged where it may be an object of Kubernetes; a tree has other JSON, too.
    """
    charts = {path.rpartition("Chart.yaml")[0] for path in files if path.endswith("Chart.yaml")}
    manifests: list[Manifest] = []
    texts: dict[str, str] = {}

    def of_chart(path: str) -> bool:
        return any(path.startswith(chart) and _CHART_TEMPLATE.search(path[len(chart) :]) for chart in charts)

    unreadable: list[tuple[str, int, str]] = []
    for path, raw in files.items():
        is_json = path.endswith(".json") and _OBJECT.search(raw) is not None
        if not (is_json or path.endswith((".yaml", ".yml"))) or of_chart(path):
            texts[path] = raw.decode(errors="replace")
        else:
            try:
                # A text in JSON has no tab as it is, and YAML takes none between.
                manifests += parse(raw.replace(b"\t", b" ") if is_json else raw, path)
            except InvalidValue as error:
                found = re.match(re.escape(path) + r":(?:([0-9]+):)?\s*(?:not YAML: line ([0-9]+):)?", str(error))
                line = int(found[1] or found[2] or 1) if found else 1
                unreadable.append((path, line, str(error).removeprefix(f"{path}:").strip()))
    return Lane(tuple(manifests), texts, tuple(unreadable), **more)  # type: ignore[arg-type]


def lint(lane: Lane, files: Mapping[str, bytes], today: date) -> Report:
    """Apply every rule. Findings come by file, line and rule; each is told once."""
    found: set[Finding] = set()
    for rule, check in CHECKS.items():
        for h in check(lane):
            found.add(Finding(rule, h.level or RULES[rule].level, h.message, h.file, h.line))
    kept, excused = [], []
    excuses = {path: tuple(_excuses(raw, today)) for path, raw in files.items() if b"ameide-lint:" in raw}
    for finding in sorted(found, key=lambda x: (x.file, x.line, x.rule, x.message)):
        why = next((text for rule, text in excuses.get(finding.file, ()) if rule == finding.rule), None)
        if why is None:
            kept.append(finding)
        else:
            excused.append((finding, why))
    return Report(tuple(kept), tuple(excused), dict(sorted(lane.unjudged.items())))


def _excuses(raw: bytes, today: date) -> Iterator[tuple[str, str]]:
    """Comments of a file that excuse a rule in it. One that has run out, or gives no reason, excuses nothing."""
    for line in raw.decode(errors="replace").splitlines():
        said = _EXCUSE.search(line)
        if said is None:
            continue
        try:
            until = date.fromisoformat(said["until"])
        except ValueError:
            continue
        if today <= until:
            yield said["rule"], f"until {said['until']}: {said['why'].strip()}"
