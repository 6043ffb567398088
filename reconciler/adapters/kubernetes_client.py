"""One Kubernetes API server over HTTP: one call, its bounds, its errors; and what an account may do there.

What is read and written of it is in `kubernetes_api` (the janitor's objects) and `kubernetes_lease`.
Source: Kubernetes API concepts; API conventions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from reconciler.adapters.forge_access import TokenFile
from reconciler.adapters.http_errors import printable, retry_after_header_s, shown_text
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.janitor.cluster import Right
from reconciler.ports import Clock
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Transient, Unavailable

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


class KubernetesClient:
    """Calls to one API server. Implements `ClusterRights`.

    Args:
        server: such as https://kubernetes.default.svc; nothing else ever gets the token.
        section: of the configuration, for messages.
        token_file: the projected token of a service account, read anew whenever it changed.
        ca_file: the only authorities that may vouch for the server; None for plain HTTP on a loopback host.
    """

    def __init__(
        self,
        server: str,
        section: str,
        *,
        token_file: Path,
        ca_file: Path | None,
        clock: Clock,
        limits: ClusterLimits,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._server = server.rstrip("/")
        self._section = section
        self._token = TokenFile(token_file)
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), Origin.of(self._server), self._limits, clock, verify)

    def close(self) -> None:
        """Close every pooled connection."""
        self._transport.close()

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
        answer = body_of(response, _REVIEWS)
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict) or not isinstance(status.get("allowed"), bool):
            raise Unavailable(f"{_REVIEWS}: the answer says nothing of `allowed`")
        return bool(status["allowed"])

    def version(self) -> str:
        """What answers at `/version`, in one line."""
        response = self._read("/version")
        body = body_of(response, "/version") if response.status_code == 200 else None
        found = body.get("gitVersion") if isinstance(body, dict) else None
        if not isinstance(found, str):
            raise Terminal(f"{self._server}/version: answered {response.status_code}; this is no Kubernetes API")
        return printable(found)[:80]

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
        text = f"{self._server}: {what} answered {status} ({told(response)})"
        if status in {401, 403}:
            return Denied(
                f"{text}; check `{self._section}.token_file` and the account's rights: `ameide doctor` names them"
            )
        pause_s = retry_after_header_s(response, self._clock.now())
        if status == 429:
            return RateLimited(text, retry_after_s=pause_s)
        if status in {408, 425} or status >= 500:
            return Unavailable(text, retry_after_s=pause_s)
        return Terminal(f"{text}; check `{self._section}.server`")


def body_of(response: requests.Response, where: str) -> object:
    """The JSON of an answer. Raises Unavailable."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        raise Unavailable(f"{where}: answered {response.status_code} with something that is no JSON") from None


def told(response: requests.Response) -> str:
    """The message of a Status object from a bounded body."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return "no reason"
    found = body.get("message") if isinstance(body, dict) else None
    return shown_text(found, response.request) if isinstance(found, str) and found else "no reason"
