"""The reconciler's public listener, as an approver's machine asks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import requests

from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_errors import printable
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.approval.codes import MEANING, Code
from reconciler.approval.served import SERVED_MAX_BYTES, Missing, ServedPlan
from reconciler.ports import Clock
from reconciler.web.markers import PREFIX as MARKERS
from reconciler.web.plans import PREFIX as PLANS
from state import canonical
from state.errors import Denied, IntegrityError, InvalidValue, ReconcilerError, Terminal, Unavailable
from state.oci import Digest

_LIMITS: Final = ForgeLimits(connections=1, call_timeout_s=30)
_SHOWN_MAX: Final = 300


class ApprovalServer:
    """Fetches plans and posts markers."""

    def __init__(self, url: str, clock: Clock, ca_file: Path | None = None) -> None:
        self._url = url.rstrip("/")
        self._clock = clock
        verify: bool | str = True if ca_file is None else str(ca_file)
        self._transport = Transport(requests.Session(), Origin.of(url), _LIMITS, clock, verify)

    def close(self) -> None:
        """Close the pooled connection."""
        self._transport.close()

    def newest(self, repository: str, pull_request: int, target: str) -> ServedPlan | Missing | None:
        """The plan of the pull request's head now, or what is missing; None if the server knows no such thing.

        Raises IntegrityError if what comes is not what its digest says, Transient, Denied or Terminal.
        """
        query = urlencode({"repository": repository, "pull_request": pull_request, "target": target})
        return self._plan(f"{PLANS}?{query}", f"plan of {repository} #{pull_request} for {target}")

    def by_digest(self, digest: Digest) -> ServedPlan | None:
        """A plan that was recorded. Raises as `newest`."""
        found = self._plan(f"{PLANS}/{digest}", f"plan {digest}")
        if isinstance(found, Missing) or (found is not None and found.plan.digest() != digest):
            raise IntegrityError(f"{self._url}: asked for the plan {digest}, got another one")
        return found

    def post(self, repository: str, marker: bytes, token: str) -> Digest:
        """Bring a marker. Raises Denied for a token that does not count, Terminal for a bad marker, Transient."""
        path = MARKERS + quote(repository, safe="")
        call = Call("POST", self._url + path, f"{self._url}: POST", {"Content-Type": "application/json"}, marker)
        response = self._send(call, f"Bearer {token}")
        if response.status_code != 202:
            raise self._refusal(response)
        digest = Digest.of(marker)
        if f'"{digest}"'.encode() not in response.content:
            raise IntegrityError(f"{self._url}: does not say that it received the marker {digest}")
        return digest

    def _plan(self, path: str, what: str) -> ServedPlan | Missing | None:
        call = Call("GET", self._url + path, f"{self._url}: {what}", {}, max_bytes=SERVED_MAX_BYTES)
        response = self._send(call, None)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise self._refusal(response)
        try:
            value = canonical.loads_object(response.content, what=what, max_bytes=SERVED_MAX_BYTES)
            return Missing.from_json(value) if "missing" in value else ServedPlan.from_json(value)
        except InvalidValue as error:
            raise IntegrityError(f"{self._url}: {error}") from error

    def _send(self, call: Call, authorization: str | None) -> requests.Response:
        return self._transport.send(call, authorization, self._clock.monotonic_s() + _LIMITS.call_timeout_s)

    def _refusal(self, response: requests.Response) -> ReconcilerError:
        status = response.status_code
        try:
            said = json.loads(response.content)
            text, code = str(said.get("error")), said.get("code")
        except (ValueError, AttributeError, RecursionError):
            text, code = "", None
        words = f"{self._url}: {status}: {printable(text)[:_SHOWN_MAX]}"
        if isinstance(code, str) and code in set(Code):
            words = f"{words} ({code}); {MEANING[Code(code)].remedy}"
        if status in {401, 403}:
            return Denied(words)
        return Unavailable(words) if status == 429 or status >= 500 else Terminal(words)
