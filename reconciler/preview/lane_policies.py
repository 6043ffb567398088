"""The admission policies that bound who deletes which namespace (pure).

They need `admissionregistration.k8s.io/v1`, that is Kubernetes 1.30. Whoever applies the binding of
`preview-namespace-not-targeted` has to be able to read Applications.
"""

from __future__ import annotations

from typing import Any

from reconciler.preview.names import (
    BREAK_GLASS,
    JANITOR,
    MANAGED_BY,
    MANAGED_BY_PREVIEW,
    PR_LABEL,
    manifest,
    namespace_pattern,
)
from reconciler.settings.lane import LaneSettings


def policy_files(lane: LaneSettings) -> dict[str, list[dict[str, Any]]]:
    made = []
    for policy in (_scope(lane), _owner(lane), _not_targeted(), _label_guard(lane)):
        made.append(policy)
        name = policy["metadata"]["name"]
        if "paramKind" not in policy["spec"]:
            made.append(_binding(name, name))
            continue
        # A binding takes its parameters from one namespace: one binding for each that has Applications.
        for namespace in lane.all_application_namespaces:
            suffix = "" if namespace == lane.argocd_namespace else f"-{namespace}"
            parameters = {"namespace": namespace, "selector": {}, "parameterNotFoundAction": "Allow"}
            made.append(_binding(f"{name}{suffix}", name, paramRef=parameters))
    return {"preview-system/policies.yaml": made}


def _binding(name: str, policy: str, **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"policyName": policy, "validationActions": ["Deny", "Audit"], **more}
    return manifest("ValidatingAdmissionPolicyBinding", name, spec=spec)


def _policy(name: str, operations: list[str], *, managed_only: bool, **spec: Any) -> dict[str, Any]:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": operations,
        "resources": ["namespaces"],
        "scope": "Cluster",
    }
    selector = {"objectSelector": {"matchLabels": {MANAGED_BY: MANAGED_BY_PREVIEW}}} if managed_only else {}
    before = {key: spec.pop(key) for key in ("paramKind",) if key in spec}
    return manifest(
        "ValidatingAdmissionPolicy",
        name,
        spec={"failurePolicy": "Fail", **before, "matchConstraints": {**selector, "resourceRules": [rule]}, **spec},
    )


def _user(lane: LaneSettings) -> str:
    return f"system:serviceaccount:{lane.system_namespace}:{JANITOR}"


def _scope(lane: LaneSettings) -> dict[str, Any]:
    prefix = lane.namespace_prefix
    return _policy(
        "preview-janitor-delete-scope",
        ["DELETE"],
        managed_only=False,
        matchConditions=[{"name": "janitor", "expression": f"request.userInfo.username == '{_user(lane)}'"}],
        variables=[
            {"name": "labels", "expression": "has(oldObject.metadata.labels) ? oldObject.metadata.labels : {}"},
        ],
        validations=[
            {
                "expression": f"oldObject.metadata.name.matches('{namespace_pattern(prefix)}')",
                "message": f"the janitor deletes only namespaces named {prefix}<number>",
            },
            {
                "expression": f"'{MANAGED_BY}' in variables.labels"
                f" && variables.labels['{MANAGED_BY}'] == '{MANAGED_BY_PREVIEW}'",
                "message": "this namespace is not labelled as a preview's",
            },
            {
                "expression": f"'{PR_LABEL}' in variables.labels"
                f" && oldObject.metadata.name == '{prefix}' + variables.labels['{PR_LABEL}']",
                "message": "the label with the pull request's number does not agree with the namespace's name",
            },
            {
                "expression": "has(request.options) && request.options != null"
                " && has(request.options.preconditions) && has(request.options.preconditions.resourceVersion)"
                " && request.options.preconditions.resourceVersion == oldObject.metadata.resourceVersion",
                "message": "a delete has to name the resourceVersion that was looked at",
            },
        ],
    )


def _owner(lane: LaneSettings) -> dict[str, Any]:
    return _policy(
        "preview-namespace-delete-owner",
        ["DELETE"],
        managed_only=True,
        validations=[
            {
                "expression": f"request.userInfo.username == '{_user(lane)}'"
                f" || (has(request.userInfo.groups) && request.userInfo.groups.exists(g, g == '{BREAK_GLASS}'))",
                "message": f"only the janitor deletes a preview's namespace, or a member of the group {BREAK_GLASS}",
            }
        ],
    )


def _not_targeted() -> dict[str, Any]:
    """Evaluated once for every Application of each bound namespace, and all have to agree."""
    return _policy(
        "preview-namespace-not-targeted",
        ["DELETE"],
        managed_only=True,
        paramKind={"apiVersion": "argoproj.io/v1alpha1", "kind": "Application"},
        validations=[
            {
                "expression": "!has(params.spec.destination) || !has(params.spec.destination.namespace)"
                " || params.spec.destination.namespace != oldObject.metadata.name",
                "messageExpression": "'Application ' + params.metadata.name + ' still targets '"
                " + oldObject.metadata.name",
            }
        ],
    )


def _label_guard(lane: LaneSettings) -> dict[str, Any]:
    prefix = lane.namespace_prefix
    label = "has({0}.metadata.labels) && '" + MANAGED_BY + "' in {0}.metadata.labels && {0}.metadata.labels['"
    label += MANAGED_BY + "'] == '" + MANAGED_BY_PREVIEW + "'"
    return _policy(
        "preview-namespace-label-guard",
        ["CREATE", "UPDATE"],
        managed_only=False,
        variables=[
            {"name": "after", "expression": label.format("object")},
            {"name": "before", "expression": "oldObject != null && " + label.format("oldObject")},
        ],
        validations=[
            {
                "expression": f"!variables.after || object.metadata.name.matches('{namespace_pattern(prefix)}')",
                "message": f"only namespaces named {prefix}<number> are labelled as a preview's",
            },
            {
                "expression": "oldObject == null || variables.after == variables.before",
                "message": "the label of a preview's namespace is set when it is created, and stays as it is",
            },
        ],
    )
