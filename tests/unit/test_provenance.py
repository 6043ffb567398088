"""What a provenance predicate is read as: every source it names, and nothing that it does not have the form for."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.evidence.found import Refused
from reconciler.evidence.provenance import Material, read
from state.statement import SLSA_PROVENANCE_V02, SLSA_PROVENANCE_V1, Statement
from state.verdict import Refusal

REVISION = "1" * 40


def v1(*dependencies: Any) -> Statement:
    return Statement((), SLSA_PROVENANCE_V1, {"buildDefinition": {"resolvedDependencies": list(dependencies)}})


def test_a_user_before_the_host_is_no_ref() -> None:
    uri = "git+ssh://git@git.example/org/shop.git@refs/heads/main"
    (material,) = read(v1({"uri": uri, "digest": {"gitCommit": REVISION}})).materials
    assert material == Material(
        "provenance buildDefinition.resolvedDependencies[0]",
        "ssh://git@git.example/org/shop",
        "refs/heads/main",
        REVISION,
    )
    (without,) = read(v1({"uri": "git+ssh://git@git.example/org/shop"})).materials
    assert (without.repository, without.ref, without.revision) == ("ssh://git@git.example/org/shop", None, None)


def test_every_material_of_the_older_version_is_read_beside_what_the_build_was_started_from() -> None:
    started = {"uri": "git+https://git.example/shop@refs/heads/main", "digest": {"sha1": REVISION}}
    other = {"uri": "git+https://git.example/lib@refs/heads/main", "digest": {"sha1": "2" * 40}}
    predicate = {"invocation": {"configSource": started}, "materials": [started, other, {"uri": "pkg:docker/base"}]}
    source = read(Statement((), SLSA_PROVENANCE_V02, predicate))
    assert [(m.where, m.repository, m.revision) for m in source.materials] == [
        ("provenance invocation.configSource", "https://git.example/shop", REVISION),
        ("provenance materials[0]", "https://git.example/shop", REVISION),
        ("provenance materials[1]", "https://git.example/lib", "2" * 40),
    ]


@pytest.mark.parametrize(
    "dependencies", [["text"], [None], [{}] * 10_001, {"uri": "x"}], ids=["text", "null", "many", "object"]
)
def test_dependencies_that_are_no_list_of_so_many_objects_are_refused(dependencies: Any) -> None:
    said = Statement((), SLSA_PROVENANCE_V1, {"buildDefinition": {"resolvedDependencies": dependencies}})
    with pytest.raises(Refused, match="must be a list of at most 10000 objects") as refused:
        read(said)
    assert refused.value.refusal is Refusal.MALFORMED


def test_as_many_dependencies_as_may_be_are_read() -> None:
    assert read(v1(*[{}] * 10_000)).materials == ()
