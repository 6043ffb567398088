"""A second replica that stands by: the section `standby`."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from reconciler.settings.janitor import ApiServer
from reconciler.settings.types import AbsolutePath, Section

_JITTER: Final = 1.2
_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


class StandbySettings(Section):
    """Several replicas of which one works and the others stand by, decided by a Kubernetes Lease (docs/operations.md).
    All of them read this one file."""

    server: ApiServer
    """Address of the cluster's API server; in the cluster https://kubernetes.default.svc."""
    token_file: AbsolutePath
    """File with the service account's token, read anew when it changes; where `gitops render` mounts it:
    /var/run/ameide-api/token."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for the server, /var/run/ameide-api/ca.crt; null only for http
    on a loopback host."""
    namespace: Annotated[str, Field(pattern=_NAME)]
    """Namespace of the Lease."""
    lease: Annotated[str, Field(pattern=_NAME)] = "ameide"
    """Name of the Lease. It is made if it does not exist."""
    lease_duration_s: int = Field(default=15, ge=2, le=600)
    """Seconds without a renewal after which another replica takes over."""
    renew_deadline_s: int = Field(default=10, ge=1, le=600)
    """Seconds after the last renewal after which a replica writes nothing more; what is left of `lease_duration_s` is
    for a request on its way and for clocks that differ in speed."""
    retry_period_s: int = Field(default=2, ge=1, le=600)
    """Seconds between two renewals, or two looks."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.server.startswith("https") and self.ca_file is None:
            raise ValueError("ca_file is required with https: the cluster's own authority vouches for its API server")
        if self.server.startswith("http:") and self.ca_file is not None:
            raise ValueError("ca_file has no meaning with http; take it out")
        if not self.lease_duration_s > self.renew_deadline_s > _JITTER * self.retry_period_s:
            raise ValueError(
                "expected lease_duration_s above renew_deadline_s, and that above 1.2 times retry_period_s, got "
                f"{self.lease_duration_s}, {self.renew_deadline_s} and {self.retry_period_s}"
            )
        return self
