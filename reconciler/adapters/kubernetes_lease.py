"""A Lease of coordination.k8s.io/v1: read, and written by compare-and-swap on its resourceVersion.

What others wrote into the object (labels, annotations, fields that are not known here) is sent back as it was read.
Source: Kubernetes API reference, Lease v1; API conventions, "Concurrency Control and Consistency".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.adapters.kubernetes_client import ClusterLimits, KubernetesClient, body_of
from reconciler.election import DURATION_MAX_S, Lease
from reconciler.leadership import Found
from reconciler.ports import Clock
from state.errors import Unavailable

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
_OBJECT_MAX_BYTES: Final = 256 * 1024
_HOLDER_MAX_CHARS: Final = 300
_TRANSITIONS_MAX: Final = 2**31 - 1
_TIME: Final = re.compile(r"[0-9TZ:.+-]{0,40}")


class KubernetesLease(KubernetesClient):
    """Implements `leadership.Leases`.

    Args:
        namespace, lease: where it is, both checked as DNS labels by the settings.
        call_timeout_s: for each call; nothing is tried again here.
    """

    def __init__(
        self,
        server: str,
        namespace: str,
        lease: str,
        *,
        token_file: Path,
        ca_file: Path | None,
        clock: Clock,
        call_timeout_s: float,
    ) -> None:
        limits = ClusterLimits(
            connect_timeout_s=call_timeout_s,
            read_timeout_s=call_timeout_s,
            call_timeout_s=call_timeout_s,
            page_max_bytes=_OBJECT_MAX_BYTES,
            attempts=1,
        )
        super().__init__(server, "standby", token_file=token_file, ca_file=ca_file, clock=clock, limits=limits)
        self.name = f"{namespace}/{lease}"
        self.lease = lease
        self._path = LEASES.format(namespace)

    def read(self) -> Found | None:
        """See Leases."""
        path = f"{self._path}/{self.lease}"
        response = self._read(path)
        if response.status_code == 404:
            return None
        found = body_of(response, path)
        if not isinstance(found, dict) or found.get("kind") != "Lease" or not isinstance(found.get("metadata"), dict):
            raise Unavailable(f"{path}: the answer is no Lease; check `standby.server`")
        return Found(_lease(found.get("spec") or {}, path), found)

    def write(self, lease: Lease, before: Found | None) -> bool:
        """See Leases. A 404 of an update says that somebody deleted it meanwhile."""
        spec = {
            "acquireTime": lease.acquired_at or None,
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.duration_s,
            "leaseTransitions": lease.transitions,
            "renewTime": lease.renewed_at or None,
        }
        if before is None:
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            method, path = "POST", self._path
            body = {**kind, "metadata": {"name": self.lease}, "spec": spec}
        else:
            held: Any = before.version
            method, path = "PUT", f"{self._path}/{self.lease}"
            body = {**held, "spec": {**(held.get("spec") or {}), **spec}}
        response = self._send(method, path, body)
        if response.status_code in {200, 201}:
            return True
        if response.status_code in {404, 409} and not (method == "POST" and response.status_code == 404):
            return False
        raise self._refusal(response, f"{method} {path}")


def _lease(spec: object, where: str) -> Lease:
    """Its checked content. Raises Unavailable for what no client of leases writes."""
    if not isinstance(spec, Mapping):
        raise Unavailable(f"{where}: the Lease's spec is no object")
    holder, acquired, renewed = (spec.get(k) or "" for k in ("holderIdentity", "acquireTime", "renewTime"))
    duration, transitions = (spec.get(k) or 0 for k in ("leaseDurationSeconds", "leaseTransitions"))
    texts = isinstance(holder, str) and all(isinstance(t, str) and _TIME.fullmatch(t) for t in (acquired, renewed))
    numbers = all(type(n) is int and 0 <= n <= _TRANSITIONS_MAX for n in (duration, transitions))
    if not texts or not numbers or len(holder) > _HOLDER_MAX_CHARS or not holder.isprintable():
        raise Unavailable(f"{where}: the Lease's spec is not what clients of leases write; delete it if nobody uses it")
    return Lease(holder, min(duration, DURATION_MAX_S), acquired, renewed, min(transitions, _TRANSITIONS_MAX - 1))
