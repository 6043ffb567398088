"""What is deleted: the sections `janitor` (preview namespaces) and `tag_gc` (tags of closed pull requests).

The janitor has a key and a branch of the log of its own, since it is a writer of its own (design invariant 8). What
`tags gc` does is recorded as an operator's command, with `log.operator_key_file`.
"""

from __future__ import annotations

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from reconciler.settings.types import AbsolutePath, Section, is_loopback


def _server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.path not in {"", "/"}:
        raise ValueError("expected the API server's address such as https://kubernetes.default.svc")
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        raise ValueError("http is only for a loopback host; expected https://…")
    return text


ApiServer = Annotated[str, Field(max_length=300), AfterValidator(_server)]


class JanitorSettings(Section):
    """The janitor of preview namespaces (docs/janitor.md)."""

    server: ApiServer
    """Address of the cluster's API server; in the cluster https://kubernetes.default.svc."""
    token_file: AbsolutePath
    """File with the service account's token, read anew when it changes; in a pod
    /var/run/secrets/kubernetes.io/serviceaccount/token."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for the server, in a pod
    /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; null only for http on a loopback host."""
    key_file: AbsolutePath
    """The OpenSSH private key that signs the janitor's own log, log/<repository id>/janitor; mode 0600."""
    min_age_s: int = Field(default=300, ge=60, le=30 * 24 * 3600)
    """Seconds since its creation before a namespace can be found unreferenced."""
    grace_s: int = Field(default=900, ge=60, le=30 * 24 * 3600)
    """Seconds between the look that finds it unreferenced and the one that deletes it; until then an Application that
    refers to it again undoes that."""
    max_deletes: int = Field(default=5, ge=1, le=100)
    """Namespaces that one run deletes, at most."""
    max_share_percent: int = Field(default=20, ge=1, le=100)
    """Share of all preview namespaces that one run deletes, at most; one is always allowed."""
    stuck_after_s: int = Field(default=600, ge=60, le=7 * 24 * 3600)
    """Seconds after which a namespace that is still being deleted is reported with what blocks it."""
    require_applications: bool = True
    """False where Argo CD may have no Application at all; otherwise such an answer is not believed, and nothing is
    done."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.server.startswith("https") and self.ca_file is None:
            raise ValueError("ca_file is required with https: the cluster's own authority vouches for its API server")
        if self.server.startswith("http:") and self.ca_file is not None:
            raise ValueError("ca_file has no meaning with http; take it out")
        return self


class TagGcSettings(Section):
    """Removing tags of closed pull requests: `ameide tags gc` (docs/janitor.md)."""

    grace_s: int = Field(default=7 * 24 * 3600, ge=3600, le=365 * 24 * 3600)
    """Seconds between the run that marks a tag and the one that removes it."""
    max_deletes: int = Field(default=100, ge=1, le=10_000)
    """Tags that one run removes, at most."""
