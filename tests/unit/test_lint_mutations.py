"""Each rule's violation planted in a rendered lane, one by one: the linter finds it, and nothing in the lane itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from reconciler.preview.lint import engine
from reconciler.preview.lint.engine import CHECKS, RULES, Report, lane_of, lint
from tests.fixtures.lane import VARIANTS, lane_files, variant_files
from tests.fixtures.lane_plants import BASELINE, PLANTS, POLICIES, Files, drop, swap

TODAY = date(2026, 6, 1)


@pytest.fixture(autouse=True, scope="module")
def _read_once() -> Iterator[None]:
    """Most files of most lanes here are the same: each content is read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "parse", functools.cache(engine.parse))
        yield


def judged(files: Files, **more: Any) -> Report:
    return lint(lane_of(files, **{"version": (3, 5), **more}), files, TODAY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_rendered_lane_passes_its_own_linter(variant: str) -> None:
    report = judged(lane_files(**VARIANTS[variant]))
    assert [x for x in report.findings if x.level != "note"] == []


def test_every_rule_has_a_check_and_a_planted_violation() -> None:
    assert set(CHECKS) == set(RULES)
    assert {p.rule for p in PLANTS} == set(RULES)
    assert len(RULES) == 62, "61 rules of the lane, and that every file can be read"
    assert f"by {len(RULES)} numbered rules" in (Path(__file__).parents[2] / "docs" / "lane.md").read_text()


@pytest.mark.parametrize("n", range(len(PLANTS)), ids=lambda n: f"{PLANTS[n].rule}-{n}")
def test_a_planted_violation_is_found(n: int) -> None:
    plant = PLANTS[n]
    files = dict(variant_files(plant.variant))
    if plant.rule == "C8" and "ClusterRole" in plant.change(files).get("ci/rbac.yaml", b"").decode():
        files = drop(POLICIES)(files)
    changed = plant.change(files)
    found = [x for x in judged(changed, **plant.more).findings if x.rule == plant.rule and x.level != "note"]
    assert found, f"{plant.rule} was not found"
    for x in found:
        assert x.line >= 1
        assert x.message


def test_where_label_mode_has_its_limit_a_note_says_so_and_nowhere_else() -> None:
    """After a push the new head is deployed before its images are there; behind the plugin there is no such gap."""
    noted = {
        variant: {x.rule for x in judged(dict(variant_files(variant))).findings if "label mode" in x.message}
        for variant in VARIANTS
    }
    by_label = {name for name, lane in VARIANTS.items() if "generator" not in lane}
    assert {variant for variant, rules in noted.items() if rules} == by_label
    assert {rule for rules in noted.values() for rule in rules} == {"B7"}


def test_a_finding_names_the_line_of_what_is_wrong() -> None:
    files = swap(BASELINE, "prune: true", "prune: false")(lane_files())
    (found,) = [x for x in judged(files).findings if x.rule == "C2"]
    assert "automated" in files[BASELINE].decode().splitlines()[found.line - 1]


@pytest.mark.parametrize(
    ("comment", "excused"),
    [
        ("# ameide-lint: ignore C2 until 2026-12-31: tried by hand for a week", True),
        ("# ameide-lint: ignore C2 until 2026-06-01: the last day", True),
        ("# ameide-lint: ignore C2 until 2026-05-31: run out", False),
        ("# ameide-lint: ignore C3 until 2026-12-31: another rule", False),
        ("# ameide-lint: ignore C2 until 2026-12-31:", False),
        ("# ameide-lint: ignore C2", False),
        ("# ameide-lint: ignore C2 until 2026-13-01: no such day", False),
    ],
)
def test_a_comment_excuses_a_rule_in_its_file_with_a_reason_until_a_day(comment: str, *, excused: bool) -> None:
    files = swap(BASELINE, "prune: true", "prune: false")(lane_files())
    files[BASELINE] = f"{comment}\n".encode() + files[BASELINE]
    report = judged(files)
    assert report.clean is excused
    assert bool(report.excused) is excused
