"""What `ameide doctor` tests of standing by: the API server, the account's rights, and the lease."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.adapters.kubernetes_lease import KubernetesLease
from reconciler.doctor.findings import Finding, Status, attempt
from reconciler.janitor.cluster import Right
from reconciler.ports import Clock
from reconciler.settings.standby import StandbySettings
from reconciler.standby import lease_of

_GROUP: Final = "coordination.k8s.io"
_CALL_S: Final = 10.0


def diagnose(settings: StandbySettings | None, clock: Clock) -> Iterator[Finding]:
    """Every check in turn; nothing is written."""
    if settings is None:
        return
    if not settings.token_file.exists():
        found = f"{settings.token_file} is not there, so neither the API server nor rights were tested"
        yield Finding("standby", Status.WARN, found, "run `ameide doctor` in the pod, or name its token file")
        return
    lease = lease_of(settings, clock, _CALL_S)
    try:
        remedy = "apply preview-system/reconciler.yaml; check standby.server, ca_file and the network policy"
        yield attempt("standby: rights", lambda: _rights(lease, settings.namespace), remedy)
        yield attempt("standby: lease", lambda: _held(lease), remedy)
    finally:
        lease.close()


def _rights(lease: KubernetesLease, namespace: str) -> str | Finding:
    needed = [Right(verb, _GROUP, "leases", namespace, name=lease.lease) for verb in ("get", "update")]
    needed.append(Right("create", _GROUP, "leases", namespace))
    if missing := [str(right) for right in needed if not lease.may(right)]:
        return Finding(
            "standby: rights",
            Status.FAIL,
            f"missing: {', '.join(missing)}",
            "apply the Role and RoleBinding of preview-system/reconciler.yaml",
        )
    return f"{len(needed)} of {len(needed)}"


def _held(lease: KubernetesLease) -> str:
    found = lease.read()
    if found is None:
        return f"{lease.name}: not there yet; the first replica makes it"
    return f"{lease.name}: held by {found.lease.holder or 'nobody'}, taken over {found.lease.transitions} times"
