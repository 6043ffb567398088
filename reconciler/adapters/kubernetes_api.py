"""The Kubernetes API as the janitor needs it: two lists, one read, one delete.

A list is read in chunks of one resourceVersion. A chunk that is gone (410) makes the list begin anew, a few times;
after that it is not complete. resourceVersion is never given, so that each list is the newest state, not a cache's.
Source: Kubernetes API concepts ("Retrieving large results sets in chunks", "Preconditions"); API conventions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import requests

from reconciler.adapters import kubernetes_objects as objects
from reconciler.adapters.kubernetes_client import ClusterLimits, KubernetesClient, body_of, told
from reconciler.janitor.cluster import Answered, Application, Deleted, Listing, Namespace, Sight
from reconciler.ports import Clock
from state.errors import Terminal, Unavailable

__all__ = ["ClusterLimits", "KubernetesApi"]

NAMESPACES: Final = "/api/v1/namespaces"
APPLICATIONS: Final = "/apis/argoproj.io/v1alpha1/namespaces/{}/applications"


class _Expired(Exception):
    """The chunks of a list do not go together: 410, or another resourceVersion."""


class _Listed(NamedTuple):
    items: tuple[Mapping[str, Any], ...]
    complete: bool
    why: str
    at: datetime


class KubernetesApi(KubernetesClient):
    """One API server. Implements `ClusterReader`, `ClusterWriter` and `ClusterRights`.

    Args:
        server: such as https://kubernetes.default.svc; nothing else ever gets the token.
        token_file: the projected token of a service account, read anew whenever it changed.
        ca_file: the only authorities that may vouch for the server; None for plain HTTP on a loopback host.
        application_namespaces: where Argo CD looks for Applications.
        require_applications: False to believe a cluster that has no Application at all.
    """

    def __init__(
        self,
        server: str,
        *,
        token_file: Path,
        ca_file: Path | None,
        application_namespaces: tuple[str, ...],
        require_applications: bool = True,
        clock: Clock,
        limits: ClusterLimits | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits = limits or ClusterLimits()
        super().__init__(
            server, "janitor", token_file=token_file, ca_file=ca_file, clock=clock, limits=self._limits, sleep=sleep
        )
        self._application_namespaces = application_namespaces
        self._require_applications = require_applications

    # --- ClusterReader

    def look(self) -> Sight:
        """See ClusterReader. Namespaces first: an Application made meanwhile is seen, and spares its namespace."""
        listed = self._list(NAMESPACES)
        applications = self.applications()
        found = tuple(objects.namespace(item, NAMESPACES) for item in listed.items)
        return Sight(Listing(found, listed.complete, listed.why), applications, listed.at)

    def namespace(self, name: str) -> Namespace | None:
        """See ClusterReader."""
        path = f"{NAMESPACES}/{quote(name, safe='')}"
        response = self._read(path)
        return None if response.status_code == 404 else objects.namespace(body_of(response, path), path)

    def applications(self) -> Listing[Application]:
        """See ClusterReader. None at all is no complete answer, unless that was allowed."""
        found: list[Application] = []
        whys = []
        for namespace in self._application_namespaces:
            path = APPLICATIONS.format(quote(namespace, safe=""))
            listed = self._list(path)
            found += (objects.application(item, path) for item in listed.items)
            if not listed.complete:
                whys.append(listed.why)
        if not whys and not found and self._require_applications:
            whys.append(
                f"no Application in {', '.join(self._application_namespaces)}: is this where Argo CD's are? If there "
                "are none but previews', set janitor.require_applications: false"
            )
        return Listing(tuple(found), not whys, "; ".join(whys))

    # --- ClusterWriter

    def delete_namespace(self, namespace: Namespace, *, dry_run: bool = False) -> Answered:
        """See ClusterWriter."""
        path = f"{NAMESPACES}/{quote(namespace.name, safe='')}"
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": namespace.uid, "resourceVersion": namespace.resource_version},
            "propagationPolicy": "Background",
            **({"dryRun": ["All"]} if dry_run else {}),
        }
        response = self._send("DELETE", path, options)
        why = told(response)
        match response.status_code:
            case 200 | 202:
                return Answered(Deleted.ACCEPTED)
            case 404:
                return Answered(Deleted.GONE, why)
            case 409:
                return Answered(Deleted.CHANGED, why)
            case 403 | 422:
                return Answered(Deleted.REFUSED, why)
            case _:
                raise self._refusal(response, f"DELETE {path}")

    # --- lists

    def _list(self, path: str) -> _Listed:
        until = self._clock.monotonic_s() + self._limits.call_timeout_s
        why, at = "", None
        for _ in range(self._limits.restarts):
            try:
                return self._chunks(path, until)
            except _Expired as error:
                why, at = str(error.args[0]), error.args[1]
        assert at is not None  # noqa: S101 - at least one restart
        return _Listed((), False, f"{path}: {why}, {self._limits.restarts} times", at)

    def _chunks(self, path: str, until: float) -> _Listed:
        items: list[Mapping[str, Any]] = []
        token, version, at = "", "", None
        for _ in range(self._limits.pages_max):
            query = {"limit": str(self._limits.chunk), **({"continue": token} if token else {})}
            response = self._read(f"{path}?{urlencode(query)}", until)
            now = self._time(response, path)
            at = now if at is None else min(at, now)
            if response.status_code == 410:
                raise _Expired("its chunks expired (410)", at)
            if response.status_code == 404:
                raise Terminal(
                    f"{self._server}{path}: answered 404, so nothing is known of these objects; install Argo CD's "
                    "CRDs, or mend `janitor.server`"
                )
            made = objects.page(body_of(response, path), path)
            if version and made.resource_version != version:
                raise _Expired("its chunks are of different resourceVersions", at)
            version = made.resource_version
            items += made.items
            if not made.token:
                return _Listed(tuple(items), True, "", at)
            token = made.token
        return _Listed((), False, f"{path}: more than {self._limits.pages_max} pages", at or self._clock.now())

    def _time(self, response: requests.Response, path: str) -> datetime:
        """The server's clock: ages are counted by it, since objects are dated by it."""
        try:
            when = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            raise Unavailable(
                f"{self._server}{path}: the answer has no Date, and ages need the server's clock"
            ) from None
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
