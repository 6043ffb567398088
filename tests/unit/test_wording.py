"""The texts of a GitOps pull request fit where they go, and say nothing that a name could smuggle in."""

from __future__ import annotations

from reconciler.approval.evaluate import MARKERS_MAX
from reconciler.approval.policy import PRINCIPALS_MAX
from reconciler.publishing import wording
from state.git import CommitId, RefName
from state.oci import Digest, Repository
from state.pin_plan import Edit, PinPlan, Target, check

TARGET = Target("dev", 99, RefName.branch("main"), "dev")
DIGEST = Digest("sha256:" + "ab" * 32)
TAKEN_CHARS = 65_536
"""By GitHub, the least that any forge takes."""


def plan(*edits: Edit) -> PinPlan:
    made = PinPlan(77, 41, CommitId("a" * 40), DIGEST, TARGET, tuple(sorted(edits)))
    check(made)
    return made


def pin(file: str, key: str = "image.ref") -> Edit:
    return Edit(file, key, "orders", Repository("ghcr.io/acme/orders"), DIGEST)


def test_a_body_of_long_names_is_one_that_a_forge_takes_and_says_what_it_leaves_out() -> None:
    many = plan(*(pin(f"{'values/' * 40}{number:04}.yaml") for number in range(1000)))
    text = wording.body(many, ("0" * 32,) * MARKERS_MAX, ("a" * 63,) * PRINCIPALS_MAX, CommitId("b" * 40))
    shown = text.count(f"`ghcr.io/acme/orders@{DIGEST}`")
    assert 50 < shown < 200
    assert len(text) < TAKEN_CHARS
    assert f"and {1000 - shown} more edits" in text


def test_a_files_name_stays_within_its_cell() -> None:
    text = wording.body(plan(pin("a` | <b> [y](z.example) `.yaml")), ("0" * 32,), ("alice",), None)
    (row,) = [line for line in text.splitlines() if "image.ref" in line]
    assert row.count("`") == 6
    assert row.count("|") == 4
