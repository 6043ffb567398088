"""`POST /webhooks/<repository name>` on the public listener.

Whoever asks without the right signature gets the same answer for the same work, whether there is such a repository or
not. A delivery is never kept: it marks its pull request for a look, and a hundred of them mark it once.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound, Unauthorized, UnsupportedMediaType
from werkzeug.wrappers import Request, Response

from reconciler.events import Emitter, Event
from reconciler.ports import Clock, Metrics
from reconciler.webhooks.hints import hint_of
from reconciler.webhooks.signatures import Sender, is_signed
from state.errors import ConfigError, InvalidValue

PREFIX: Final = "/webhooks/"
UNKNOWN: Final = "unknown"
"""The metric's label for names that are not configured."""


class Hook(NamedTuple):
    """One repository's deliveries.

    Args:
        repository_id: the forge's, None while it is not known; deliveries about others (an organisation's webhook) are
            let go.
        read_secrets: the secrets that count now. Raises ConfigError if there is none.
    """

    sender: Sender
    repository_id: Callable[[], int | None]
    read_secrets: Callable[[], tuple[str, ...]]


class Webhooks:
    """Takes deliveries and calls `hint(repository name, pull request number or None)`. Called by several threads."""

    def __init__(
        self,
        hooks: Mapping[str, Hook],
        hint: Callable[[str, int | None], None],
        *,
        clock: Clock,
        metrics: Metrics,
        emitter: Emitter,
    ) -> None:
        self._hooks = dict(hooks)
        self._hint = hint
        self._clock, self._metrics, self._emitter = clock, metrics, emitter
        nobody = secrets.token_hex(32)
        self._nobody = Hook(Sender.GITHUB, lambda: None, lambda: (nobody,))
        self._lock = threading.Lock()
        self._refusing: set[str] = set()

    def handle(self, request: Request) -> Response:
        """202 taken, 400 no JSON, 401 not signed by us, 405, 415 not sent as JSON. Too large is 413 by the listener."""
        name = request.path.removeprefix(PREFIX)
        if not name or "/" in name:
            raise NotFound
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        hook = self._hooks.get(name, self._nobody)
        label = name if name in self._hooks else UNKNOWN
        body = request.get_data(cache=False)
        headers = {key.lower(): value for key, value in request.headers.items()}
        try:
            signed = is_signed(hook.sender, hook.read_secrets(), headers, body, self._clock.now())
            problem = "not signed with a secret that counts"
        except ConfigError as error:
            signed, problem = False, str(error)
        if not signed:
            self._refuse(label, problem)
            raise Unauthorized
        if request.mimetype != "application/json":
            self._count(label, "malformed")
            raise UnsupportedMediaType
        try:
            found = hint_of(hook.sender, body)
        except InvalidValue:
            self._count(label, "malformed")
            raise BadRequest from None
        with self._lock:
            self._refusing.discard(label)
        own = hook.repository_id()
        if own is not None and found.repository_id not in {None, own}:
            self._count(label, "other_repository")
        else:
            self._count(label, "taken")
            self._hint(name, found.pull_request if own is not None and found.repository_id == own else None)
        return Response("", 202)

    def _refuse(self, label: str, problem: str) -> None:
        """Strangers may send as many as they like: the first of a row gets a line, the metric counts them all."""
        self._count(label, "refused")
        with self._lock:
            first = label not in self._refusing
            self._refusing.add(label)
        if first:
            self._emitter.emit(Event.WEBHOOK_REFUSED, repository=label, error=problem)

    def _count(self, label: str, result: str) -> None:
        self._metrics.count("webhooks", repository=label, result=result)
