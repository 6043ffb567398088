"""`POST /v1/markers/<repository name>` on the public listener: a way in for signed markers, and nothing more.

The token tells who carries a marker. Whether it counts is judged later, by facts that are read anew; so an answer says
that it was received, or what is wrong with its form, and never that anything is approved. Whoever asks for a name that
is not configured gets the answer of a bad token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from reconciler.approval.codes import Code, RefusedMarker
from reconciler.approval.envelopes import inspect
from reconciler.oidc import tokens
from reconciler.oidc.tokens import Carrier, Keys
from reconciler.ports import Clock, Metrics
from reconciler.web.webhooks import UNKNOWN
from state.approval import MARKER_MAX_BYTES
from state.errors import ReconcilerError, Transient
from state.oci import Digest

PREFIX: Final = "/v1/markers/"
RETRY_AFTER_S: Final = 30
_SCHEME: Final = "bearer"
_UNAUTHORIZED: Final = {"WWW-Authenticate": "Bearer"}


class Store(Protocol):
    """Where markers wait until they are looked at."""

    def put(self, raw: bytes) -> Digest:
        """Keep it; when this returns it is on disk. Raises Unavailable while too many wait."""


class Used(Protocol):
    """Which tokens were used."""

    def use(self, issuer: str, token_id: str, expires_at: int, now: int) -> bool:
        """Whether this is the first use. Raises Unavailable."""


class Inbox(NamedTuple):
    """One repository's way in."""

    carrier: Carrier
    keys: Keys
    store: Store


class MarkerInboxes:
    """Takes markers. Called by several threads."""

    def __init__(
        self,
        inboxes: Mapping[str, Inbox],
        used: Used,
        *,
        clock: Clock,
        metrics: Metrics,
        arrived: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`arrived(repository name)` hastens a look."""
        self._inboxes = dict(inboxes)
        self._used = used
        self._clock, self._metrics, self._arrived = clock, metrics, arrived

    def handle(self, request: Request) -> Response:
        """202 received, 400 a bad envelope, 401 a token that does not count, 413 too large, 503 cannot tell now."""
        name = request.path.removeprefix(PREFIX)
        if not name or "/" in name:
            raise NotFound
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        label = name if name in self._inboxes else UNKNOWN
        try:
            response = self._taken(name, request)
            result = "received"
        except RefusedMarker as refused:
            result = "refused"
            response = _refused(refused)
        except ReconcilerError as error:
            # What is wrong on our side is not told to strangers: the metric counts it.
            result = "failed"
            wait = error.retry_after_s if isinstance(error, Transient) and error.retry_after_s else RETRY_AFTER_S
            body = {"error": "this cannot be looked at now; try again", "status": 503}
            response = _json(body, 503, {"Retry-After": str(round(wait))})
        self._metrics.count("markers", repository=label, result=result)
        return response

    def _taken(self, name: str, request: Request) -> Response:
        now = int(self._clock.now().timestamp())
        token = _bearer(request.headers.get("Authorization", ""))
        inbox = self._inboxes.get(name)
        if inbox is None:
            raise RefusedMarker(Code.OIDC_BAD_TOKEN)
        accepted = tokens.check(token, inbox.carrier, inbox.keys, now)
        if (request.content_length or 0) > MARKER_MAX_BYTES:
            raise RefusedMarker(Code.TOO_LARGE)
        raw = request.get_data(cache=False)
        marker = inspect(raw)
        if not self._used.use(inbox.carrier.issuer, accepted.id, accepted.expires_at, now):
            raise RefusedMarker(Code.OIDC_REPLAYED)
        digest = inbox.store.put(raw)
        self._arrived(name)
        return _json({"id": marker.id, "marker": digest, "status": "received"}, 202, {})


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise RefusedMarker(Code.OIDC_MISSING)
    return token.strip()


def _refused(refused: RefusedMarker) -> Response:
    if refused.code.value.startswith("oidc-"):
        status, headers = 401, dict(_UNAUTHORIZED)
    else:
        status, headers = 413 if refused.code is Code.TOO_LARGE else 400, {}
    return _json({"code": refused.code.value, "error": refused.text, "status": status}, status, headers)


def _json(body: Mapping[str, object], status: int, headers: Mapping[str, str]) -> Response:
    # ASCII only, so that nothing that strangers wrote steers a terminal.
    return Response(json.dumps(body) + "\n", status, content_type="application/json", headers=dict(headers))
