"""The status page of a process: settings and what runs → sites, the process's own facts, and who may read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler.adapters.metrics_prometheus import PrometheusMetrics
from reconciler.loop import Standing
from reconciler.opening import OpenedLate
from reconciler.settings import Loaded, split_address
from reconciler.web.apps import HealthSource
from reconciler.web.status.access import Access, IdentityProxy
from reconciler.web.status.pages import StatusPages
from reconciler.web.status.site import Condition, Quota, Site
from state.oci import Digest


class Standings(Protocol):
    """Where each repository stands (`loop.Loop`)."""

    def standing(self) -> Mapping[str, Standing]: ...


class _Process:
    """Implements `web.status.site.Process`."""

    def __init__(
        self, health: HealthSource, standings: Standings, metrics: PrometheusMetrics, configured: Digest
    ) -> None:
        self._health = health
        self._standings = standings
        self._metrics = metrics
        self._configured = configured

    def live(self) -> bool:
        return self._health.live()

    def ready(self) -> tuple[bool, str]:
        return self._health.ready()

    def config_digest(self) -> Digest:
        return self._configured

    def condition(self, name: str) -> Condition:
        standing = self._standings.standing()[name]
        return Condition(standing.condition.value, standing.why, standing.unread)

    def quota(self, name: str) -> Quota | None:
        left = self._metrics.value("forge_quota_remaining", repository=name)
        limit = self._metrics.value("forge_quota_limit", repository=name)
        return None if left is None or limit is None else Quota(int(left), int(limit))


def status_pages(
    loaded: Loaded,
    made: Mapping[str, OpenedLate],
    health: HealthSource,
    standings: Standings,
    metrics: PrometheusMetrics,
) -> StatusPages | None:
    """The pages for the private listener; None where there is none. `made` by configured name."""
    listen = loaded.settings.listen
    if listen.private is None:
        return None
    sites = [
        Site(
            repository.name,
            repository.log.path,
            made[repository.name].repository_id,
            made[repository.name].shown,
            repository.forge.pull_request_url,
            {target.name: target.forge.pull_request_url for target in repository.targets},
        )
        for repository in loaded.settings.repositories
    ]
    proxy = listen.identity_proxy
    access = Access(
        split_address(listen.private)[0],
        None if proxy is None else IdentityProxy.make(proxy.user_header, proxy.addresses),
    )
    return StatusPages(sites, _Process(health, standings, metrics, loaded.digest), access)
