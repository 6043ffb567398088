"""`GET /v1/plans/<digest>` and `GET /v1/plans?repository=&pull_request=&target=` on the public listener.

Read only. A plan is named by its digest, so whoever fetches it can check what came; what it pins is checked against
the signed release set by whoever approves it.
"""

from __future__ import annotations

from typing import Final

from werkzeug.exceptions import BadRequest, MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from reconciler.approval.served import Missing, Plans, ServedPlan
from state import canonical
from state.errors import InvalidValue
from state.oci import Digest

PREFIX: Final = "/v1/plans"
_QUERY: Final = frozenset({"repository", "pull_request", "target"})
_NUMBER_MAX_CHARS: Final = 10


class PlanPages:
    """Answers for every repository. Called by several threads."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    def handle(self, request: Request) -> Response:
        """200 with the plan or with what is missing, 304, 400, 404, 405."""
        rest = request.path.removeprefix(PREFIX)
        if rest and (not rest.startswith("/") or "/" in rest[1:] or not rest[1:]):
            raise NotFound
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(["GET", "HEAD"])
        found = self._newest(request) if not rest else self._by_digest(request, rest[1:])
        if found is None:
            raise NotFound
        body = canonical.dumps(found.to_json())
        response = Response(body, 200, content_type="application/json")
        # Of the whole answer: the current values may change while the plan stays.
        response.set_etag(Digest.of(body).hex)
        response.headers["Cache-Control"] = "no-cache"
        return response.make_conditional(request)

    def _by_digest(self, request: Request, text: str) -> ServedPlan | None:
        if request.args:
            raise BadRequest
        try:
            return self._plans.by_digest(Digest(text))
        except InvalidValue:
            raise NotFound from None

    def _newest(self, request: Request) -> ServedPlan | Missing | None:
        given = dict(request.args.lists())
        if given.keys() != _QUERY or any(len(values) != 1 for values in given.values()):
            raise BadRequest
        number = given["pull_request"][0]
        if len(number) > _NUMBER_MAX_CHARS or not (number.isascii() and number.isdecimal()) or int(number) < 1:
            raise BadRequest
        return self._plans.newest(given["repository"][0], int(number), given["target"][0])
