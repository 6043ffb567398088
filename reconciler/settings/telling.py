"""Notifications and traces in the config file: who is told what happens. Both are off where they are left out."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from reconciler.notifying.notices import NoticeType
from reconciler.settings.types import AbsolutePath, Section


class NotificationsSettings(Section):
    """A receiver of state changes: CloudEvents 1.0 in structured mode, by HTTP POST (docs/notifications.md)."""

    url: str = Field(pattern=r"^https?://[^\s@?#]{1,500}$")
    """Where they are posted to; redirects are not followed."""
    signing_secret_file: AbsolutePath | None = None
    """File with the secret that signs each request as Standard Webhooks says (whsec_ and base64), read anew when it
    changes; while it is being rotated one a line. Exactly one of this and `bearer_token_file` is set."""
    bearer_token_file: AbsolutePath | None = None
    """File with the token that is sent as `Authorization: Bearer`, read anew when it changes; only for https."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for the receiver; null for the built-in list."""
    types: tuple[NoticeType, ...] | None = Field(default=None, min_length=1, max_length=len(NoticeType))
    """The types that are told, such as head.completed; null for all."""
    max_age_s: int = Field(default=24 * 3600, ge=60, le=7 * 24 * 3600)
    """Seconds after which a state change is not told any more, whatever the receiver does."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.signing_secret_file is None) == (self.bearer_token_file is None):
            raise ValueError("expected exactly one of signing_secret_file and bearer_token_file")
        if self.bearer_token_file is not None and not self.url.startswith("https://"):
            raise ValueError("bearer_token_file is only for https, since others would read the token; sign instead")
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise ValueError("ca_file has no meaning without https; take it out")
        return self


class TracingSettings(Section):
    """A collector of traces: OTLP over HTTP in its JSON encoding (docs/operator-manual.md)."""

    endpoint: str = Field(pattern=r"^https?://[^\s@?#]{1,500}$")
    """Where spans are posted to, in full, such as http://otel-collector.monitoring:4318/v1/traces."""
    bearer_token_file: AbsolutePath | None = None
    """File with the token that is sent as `Authorization: Bearer`, read anew when it changes; only for https. Null
    where it needs none."""
    ca_file: AbsolutePath | None = None
    """PEM file with the only authorities that may vouch for the collector; null for the built-in list."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.bearer_token_file is not None and not self.endpoint.startswith("https://"):
            raise ValueError("bearer_token_file is only for https, since others would read the token")
        if self.ca_file is not None and not self.endpoint.startswith("https://"):
            raise ValueError("ca_file has no meaning without https; take it out")
        return self
