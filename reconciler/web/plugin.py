"""The plugin generator of Argo CD's ApplicationSets: `POST /plugins/<repository name>/api/v1/getparams.execute`.

Configure `baseUrl: https://<host>/plugins/<repository name>`. Answers come from memory. Source: Argo CD documentation,
"Plugin Generator".
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound, Unauthorized
from werkzeug.wrappers import Request, Response

from reconciler.ports import Metrics
from state.errors import ConfigError
from state.git import CommitId

PREFIX: Final = "/plugins/"
_SUFFIX: Final = "/api/v1/getparams.execute"
_BODY_MAX_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 30


class Source(NamedTuple):
    """One repository's answer, and the tokens that may ask for it (ConfigError if there is none)."""

    answer: Callable[[], Mapping[int, CommitId] | str]
    read_tokens: Callable[[], tuple[str, ...]]


class Plugin:
    """Answers every repository's generator. Called by several threads."""

    def __init__(self, sources: Mapping[str, Source], metrics: Metrics) -> None:
        self._sources = dict(sources)
        self._metrics = metrics
        nobody = secrets.token_hex(32)
        self._nobody = Source(lambda: "no such repository", lambda: (nobody,))

    def handle(self, request: Request) -> Response:
        """200 with one element per pull request, 400, 401 for a wrong token or name, 405, 503 while unsure."""
        name = request.path.removeprefix(PREFIX).removesuffix(_SUFFIX)
        if request.path != f"{PREFIX}{name}{_SUFFIX}" or not name or "/" in name:
            raise NotFound
        if request.method != "POST":
            raise MethodNotAllowed(["POST"])
        source = self._sources.get(name, self._nobody)
        if not _may_ask(source, request.headers.get("Authorization", "")):
            raise Unauthorized
        if not isinstance(_body(request), dict):
            raise BadRequest
        found = source.answer()
        sure = not isinstance(found, str)
        self._metrics.count("plugin_answers", repository=name, result="served" if sure else "unsure")
        if isinstance(found, str):
            body = {"error": found, "status": 503}
            return _json(body, 503, {"Retry-After": str(RETRY_AFTER_S)})
        # Only what design §2 (5) lets into anything rendered; texts, as templates compare them.
        parameters = [{"head_sha": str(head), "number": str(number)} for number, head in sorted(found.items())]
        return _json({"output": {"parameters": parameters}}, 200, {})


def _may_ask(source: Source, header: str) -> bool:
    try:
        tokens = source.read_tokens()
    except ConfigError:
        return False
    sent = header.encode(errors="surrogateescape")
    fits = [hmac.compare_digest(f"Bearer {token}".encode(), sent) for token in tokens]
    return any(fits)


def _body(request: Request) -> object:
    raw = request.get_data(cache=False)
    if len(raw) > _BODY_MAX_BYTES:
        raise BadRequest
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest from None


def _json(body: object, status: int, headers: Mapping[str, str]) -> Response:
    return Response(json.dumps(body) + "\n", status, headers=dict(headers), content_type="application/json")
