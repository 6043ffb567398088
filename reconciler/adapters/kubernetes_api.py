"""The Kubernetes API over HTTP, as the janitor needs it: two lists, one read, one delete, one question of rights.

A list is read in chunks of one resourceVersion. A chunk that is gone (410) makes the list begin anew, a few times;
after that it is not complete. resourceVersion is never given, so that each list is the newest state, not a cache's.
Source: Kubernetes API concepts ("Retrieving large results sets in chunks", "Preconditions"); API conventions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import requests

from reconciler.adapters import kubernetes_objects as objects
from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.http_errors import printable, retry_after_header_s, shown_text
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.janitor.cluster import Answered, Application, Deleted, Listing, Namespace, Right, Sight
from reconciler.ports import Clock
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Transient, Unavailable

T = TypeVar("T")

NAMESPACES: Final = "/api/v1/namespaces"
APPLICATIONS: Final = "/apis/argoproj.io/v1alpha1/namespaces/{}/applications"
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_MIB: Final = 1024 * 1024
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """Bounds of the client."""

    connections: int = 2
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    """For each single read from the socket."""
    call_timeout_s: float = 120
    """For one list with all its chunks and restarts, or any other call."""
    chunk: int = 500
    """Objects a page; the server may give fewer."""
    page_max_bytes: int = 64 * _MIB
    pages_max: int = 200
    restarts: int = 3
    """How often a list whose chunks expired begins anew."""
    attempts: int = 3
    """How often a read is sent, the first time included. A delete is sent once."""
    pause_max_s: float = 5
    """A server that asks for a longer pause is not waited for."""
    redirects: int = 0
    error_max_bytes: int = 16 * 1024


class _Expired(Exception):
    """The chunks of a list do not go together: 410, or another resourceVersion."""


class _Listed(NamedTuple):
    items: tuple[Mapping[str, Any], ...]
    complete: bool
    why: str
    at: datetime


class KubernetesApi:
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
        self._server = server.rstrip("/")
        self._token = TokenFile(token_file)
        self._limits = limits or ClusterLimits()
        self._clock = clock
        self._sleep = sleep
        self._application_namespaces = application_namespaces
        self._require_applications = require_applications
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), Origin.of(self._server), self._limits, clock, verify)

    def close(self) -> None:
        """Close every pooled connection."""
        self._transport.close()

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
        return None if response.status_code == 404 else objects.namespace(_body(response, path), path)

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
        told = _told(response)
        match response.status_code:
            case 200 | 202:
                return Answered(Deleted.ACCEPTED)
            case 404:
                return Answered(Deleted.GONE, told)
            case 409:
                return Answered(Deleted.CHANGED, told)
            case 403 | 422:
                return Answered(Deleted.REFUSED, told)
            case _:
                raise self._refusal(response, f"DELETE {path}")

    # --- ClusterRights

    def may(self, right: Right) -> bool:
        """See ClusterRights. Every account may ask about itself (`system:basic-user`)."""
        attributes = {key: value for key, value in right._asdict().items() if value}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        response = self._send("POST", _REVIEWS, body)
        if response.status_code not in {200, 201}:
            raise self._refusal(response, f"POST {_REVIEWS}")
        answer = _body(response, _REVIEWS)
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict) or not isinstance(status.get("allowed"), bool):
            raise Unavailable(f"{_REVIEWS}: the answer says nothing of `allowed`")
        return bool(status["allowed"])

    def version(self) -> str:
        """What answers at `/version`, in one line."""
        response = self._read("/version")
        body = _body(response, "/version") if response.status_code == 200 else None
        found = body.get("gitVersion") if isinstance(body, dict) else None
        if not isinstance(found, str):
            raise Terminal(f"{self._server}/version: answered {response.status_code}; this is no Kubernetes API")
        return printable(found)[:80]

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
            made = objects.page(_body(response, path), path)
            if version and made.resource_version != version:
                raise _Expired("its chunks are of different resourceVersions", at)
            version = made.resource_version
            items += made.items
            if not made.token:
                return _Listed(tuple(items), True, "", at)
            token = made.token
        return _Listed((), False, f"{path}: more than {self._limits.pages_max} pages", at or self._clock.now())

    # --- one call

    def _read(self, path: str, until: float | None = None) -> requests.Response:
        """A GET whose answer is usable, or a 404 or 410, which the caller judges."""
        until = self._clock.monotonic_s() + self._limits.call_timeout_s if until is None else until
        shown = path.partition("?")[0]
        call = self._call("GET", path)
        for number in range(1, self._limits.attempts + 1):
            try:
                response = self._transport.send(call, self._authorization(), until)
                if response.status_code in {200, 404, 410}:
                    return response
                raise self._refusal(response, f"GET {shown}")
            except Transient as error:
                pause_s = error.retry_after_s or 0.2 * number
                late = self._clock.monotonic_s() + pause_s > until
                if number == self._limits.attempts or pause_s > self._limits.pause_max_s or late:
                    raise
            self._sleep(pause_s)
        raise AssertionError("unreachable: the last try returns or raises")

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> requests.Response:
        until = self._clock.monotonic_s() + self._limits.call_timeout_s
        raw = json.dumps(body, separators=(",", ":")).encode()
        call = self._call(method, path)._replace(body=raw)
        return self._transport.send(
            call._replace(headers={**call.headers, "Content-Type": _JSON}), self._authorization(), until
        )

    def _call(self, method: str, path: str) -> Call:
        where = f"{self._server}: {method} {path.partition('?')[0]}"
        return Call(method, f"{self._server}{path}", where, {"Accept": _JSON}, max_bytes=self._limits.page_max_bytes)

    def _authorization(self) -> str:
        return f"Bearer {self._token.token()}"

    def _refusal(self, response: requests.Response, what: str) -> ReconcilerError:
        status = response.status_code
        text = f"{self._server}: {what} answered {status} ({_told(response)})"
        if status in {401, 403}:
            return Denied(f"{text}; check `janitor.token_file` and the account's rights: `ameide doctor` names them")
        pause_s = retry_after_header_s(response, self._clock.now())
        if status == 429:
            return RateLimited(text, retry_after_s=pause_s)
        if status in {408, 425} or status >= 500:
            return Unavailable(text, retry_after_s=pause_s)
        return Terminal(f"{text}; check `janitor.server`")

    def _time(self, response: requests.Response, path: str) -> datetime:
        """The server's clock: ages are counted by it, since objects are dated by it."""
        try:
            when = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            raise Unavailable(
                f"{self._server}{path}: the answer has no Date, and ages need the server's clock"
            ) from None
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def _body(response: requests.Response, where: str) -> object:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        raise Unavailable(f"{where}: answered {response.status_code} with something that is no JSON") from None


def _told(response: requests.Response) -> str:
    """The message of a Status object from a bounded body."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return "no reason"
    told = body.get("message") if isinstance(body, dict) else None
    return shown_text(told, response.request) if isinstance(told, str) and told else "no reason"
