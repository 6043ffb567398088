"""What `ameide doctor` tests of the janitor and of `tags gc`: keys, the API server, and the account's rights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from reconciler.adapters.kubernetes_api import KubernetesApi
from reconciler.adapters.signer_ssh import SshSigner
from reconciler.doctor.findings import Finding, Status, attempt
from reconciler.janitor.cluster import Right
from reconciler.janitor.wiring import cluster
from reconciler.ports import Clock
from reconciler.settings import RepositorySettings, Settings
from reconciler.settings.lane import LaneSettings

_APPS: Final = "argoproj.io"
_NEEDED: Final = tuple(Right(verb, "", "namespaces") for verb in ("get", "list", "delete"))
_TOO_MUCH: Final = (
    *(Right(verb, "", "namespaces") for verb in ("create", "update", "patch", "deletecollection")),
    Right("update", "", "namespaces", subresource="finalize"),
    Right("list", "", "secrets"),
    Right("create", "", "pods"),
    Right("delete", _APPS, "applications"),
    Right("escalate", "rbac.authorization.k8s.io", "clusterroles"),
)
"""What a janitor never uses, and a stolen token of it would."""


def diagnose(settings: RepositorySettings, whole: Settings, clock: Clock) -> Iterator[Finding]:
    """Every check in turn; rights are asked for by SelfSubjectAccessReview, which changes nothing."""
    janitor = None if settings.janitor is None else settings.janitor.key_file
    for name, key in (("janitor", janitor), ("operator", settings.log.operator_key_file)):
        if key is not None:
            yield attempt(
                f"{settings.name}: {name} key",
                lambda key=key: f"{key}: {SshSigner.from_file(key).public_key()}",  # type: ignore[misc]
                f"make an Ed25519 key of its own and chmod 600 {key}",
            )
    if settings.janitor is None or settings.lane is None:
        return
    check, token = f"{settings.name}: janitor", settings.janitor.token_file
    if not token.exists():
        found = f"{token} is not there, so neither the API server nor rights were tested"
        yield Finding(check, Status.WARN, found, "run `ameide doctor` where the janitor runs, or name its token file")
        return
    with cluster(whole, settings, clock) as api:
        reached = attempt(
            f"{check}: API server",
            lambda: f"Kubernetes {api.version()}",
            "check janitor.server, janitor.ca_file and the network policy",
        )
        yield reached
        if reached.status is Status.OK:
            yield attempt(
                f"{check}: rights", partial(_missing, api, settings.lane), "apply preview-system/janitor-rights.yaml"
            )
            yield attempt(
                f"{check}: no more rights",
                partial(_too_many, api, settings.lane),
                "take them away: whoever gets the token could use them; see docs/janitor.md",
            )
            yield attempt(
                f"{check}: look", partial(_look, api), "see the reason; nothing is deleted until a look is complete"
            )


def _missing(api: KubernetesApi, lane: LaneSettings) -> str | Finding:
    needed = [*_NEEDED, *(Right("list", _APPS, "applications", n) for n in lane.all_application_namespaces)]
    missing = [str(right) for right in needed if not api.may(right)]
    if missing:
        return Finding("janitor: rights", Status.FAIL, f"missing: {', '.join(missing)}", _APPLY)
    return f"{len(needed)} of {len(needed)}"


def _too_many(api: KubernetesApi, lane: LaneSettings) -> str | Finding:
    asked = [r._replace(namespace=lane.argocd_namespace) if r.group == _APPS else r for r in _TOO_MUCH]
    if more := [str(right) for right in asked if api.may(right)]:
        return Finding("janitor: no more rights", Status.WARN, f"more than it uses: {', '.join(more)}", _APPLY)
    return "none of those that a janitor never uses"


_APPLY: Final = "apply preview-system/janitor-rights.yaml as it is rendered, and nothing beside it"


def _look(api: KubernetesApi) -> str | Finding:
    seen = api.look()
    if whys := [x.why for x in (seen.namespaces, seen.applications) if not x.complete]:
        return Finding("janitor: look", Status.FAIL, "; ".join(whys), "nothing is deleted until a look is complete")
    return f"{len(seen.namespaces.items)} namespaces, {len(seen.applications.items)} Applications"
