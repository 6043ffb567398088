"""The admission policies of the rendered lane, case by case, by an implementation of CEL.

What an API server adds to it (which objects it asks about, bindings, the informer's lag) is not tried here.
"""

from __future__ import annotations

from typing import Any

import cel
import pytest

from reconciler.preview.manifests import Manifest, parse
from tests.fixtures.lane import variant_files

JANITOR = "system:serviceaccount:preview-system:preview-janitor"
ARGOCD = "system:serviceaccount:argocd:argocd-application-controller"
PREFIXES = {"pull-request": "pr-", "plugin": "pr-shop-"}


def policy(name: str, variant: str) -> Manifest:
    path = "preview-system/policies.yaml"
    (found,) = [
        m for m in parse(variant_files(variant)[path], path) if m.kind == "ValidatingAdmissionPolicy" and m.name == name
    ]
    return found


def allowed(m: Manifest, **given: Any) -> bool:
    """What the policy says: true where no condition matches, or every validation holds."""
    seen = {"object": None, "oldObject": None, "params": None, **given}
    for condition in m.at("spec", "matchConditions") or ():
        if not cel.evaluate(condition["expression"], seen):
            return True
    seen["variables"] = {}
    for variable in m.at("spec", "variables") or ():
        seen["variables"][variable["name"]] = cel.evaluate(variable["expression"], seen)
    return all(cel.evaluate(v["expression"], seen) for v in m.at("spec", "validations"))


def namespace(name: str, labels: dict[str, str] | None = None, version: str = "5") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "resourceVersion": version}
    if labels is not None:
        metadata["labels"] = labels
    return {"metadata": metadata}


def preview(prefix: str, number: str = "7", *, name: str | None = None) -> dict[str, Any]:
    own = {"ameide.io/managed-by": "preview", "ameide.io/preview-pr": number}
    return namespace(name or f"{prefix}{number}", own)


def request(user: str, *, version: str | None = "5", groups: tuple[str, ...] = ()) -> dict[str, Any]:
    options = {} if version is None else {"preconditions": {"resourceVersion": version}}
    return {"userInfo": {"username": user, "groups": list(groups)}, "options": options}


@pytest.fixture(params=PREFIXES)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_janitor_deletes_previews_that_it_looked_at_and_nothing_else(variant: str) -> None:
    scope, prefix = policy("preview-janitor-delete-scope", variant), PREFIXES[variant]
    own = preview(prefix)

    def may(found: dict[str, Any], said: dict[str, Any] | None = None) -> bool:
        return allowed(scope, oldObject=found, request=said or request(JANITOR))

    assert may(own)
    assert not may(own, request(JANITOR, version="4"))
    assert not may(own, request(JANITOR, version=None))
    assert not may(own, {"userInfo": {"username": JANITOR, "groups": []}, "options": None})
    assert not may(namespace(f"{prefix}7"))
    assert not may(namespace(f"{prefix}7", {}))
    assert not may(namespace(f"{prefix}7", {"ameide.io/managed-by": "gitops", "ameide.io/preview-pr": "7"}))
    assert not may(namespace(f"{prefix}7", {"ameide.io/managed-by": "preview"}))
    assert not may(preview(prefix, "8", name=f"{prefix}7"))
    for name in (
        "argocd",
        "kube-system",
        prefix,
        f"{prefix}0",
        f"{prefix}07",
        f"{prefix}7x",
        f"x{prefix}7",
        f"{prefix}7\n",
    ):
        assert not may(preview(prefix, "7", name=name)), name
    other = next(p for p in PREFIXES.values() if p != prefix)
    assert not may(preview(other))
    assert may(namespace("kube-system"), request("somebody", version=None)), "others are not this policy's"


def test_nobody_else_deletes_a_preview_s_namespace(variant: str) -> None:
    owner = policy("preview-namespace-delete-owner", variant)
    assert allowed(owner, oldObject=preview("pr-"), request=request(JANITOR))
    assert not allowed(owner, oldObject=preview("pr-"), request=request(ARGOCD))
    assert not allowed(owner, oldObject=preview("pr-"), request=request("alice", groups=("developers",)))
    assert allowed(owner, oldObject=preview("pr-"), request=request("alice", groups=("preview-break-glass",)))
    assert not allowed(owner, oldObject=preview("pr-"), request={"userInfo": {"username": "x"}})


def test_no_delete_while_an_application_targets_the_namespace(variant: str) -> None:
    targeted = policy("preview-namespace-not-targeted", variant)

    def may(spec: dict[str, Any]) -> bool:
        application = {"metadata": {"name": "a"}, "spec": spec}
        return allowed(targeted, oldObject=preview("pr-"), params=application, request=request(JANITOR))

    assert not may({"destination": {"namespace": "pr-7"}})
    assert may({"destination": {"namespace": "pr-8"}})
    assert may({"destination": {}})
    assert may({})


def test_the_label_is_set_at_creation_on_a_preview_alone_and_never_moved(variant: str) -> None:
    guard, prefix = policy("preview-namespace-label-guard", variant), PREFIXES[variant]
    own, bare = preview(prefix), namespace(f"{prefix}7")
    assert allowed(guard, object=own)
    assert allowed(guard, object=bare)
    assert not allowed(guard, object=preview(prefix, "7", name="shop-prod"))
    assert allowed(guard, object=own, oldObject=own)
    assert not allowed(guard, object=own, oldObject=bare)
    assert not allowed(guard, object=bare, oldObject=own)
    assert allowed(guard, object=namespace("x", {"a": "b"}), oldObject=namespace("x"))
