"""The WSGI application: access, routes, and what an error becomes on the wire."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response

from reconciler.registry import blob_routes, manifest_routes
from reconciler.registry.access import Access
from reconciler.registry.errors import Code, WireError, error_body
from reconciler.registry.service import Service, json_answer
from state.errors import ReconcilerError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

OnRequest = Callable[[str, str, int], None]
_log: Final = logging.getLogger(__name__)


class _Name(BaseConverter):
    """Everything up to the last words of the path; the handlers hold it to the grammar of names.

    The words and the number of components after the name tell the rules apart, so a repository may be called
    `blobs/uploads` or `a/manifests`.
    """

    regex = "[^/].*"
    part_isolating = False


Handler = Callable[..., Response]
_ROUTES: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/v2/<name:name>/tags/list": {"GET": manifest_routes.list_tags},
    "/v2/<name:name>/referrers/<digest>": {"GET": manifest_routes.list_referrers},
    "/v2/<name:name>/manifests/<reference>": {
        "GET": manifest_routes.read_manifest,
        "PUT": manifest_routes.put_manifest,
        "DELETE": manifest_routes.delete_manifest,
    },
    "/v2/<name:name>/blobs/uploads/": {"POST": blob_routes.start_upload},
    "/v2/<name:name>/blobs/uploads/<upload_id>": {
        "GET": blob_routes.upload_status,
        "PATCH": blob_routes.append_chunk,
        "PUT": blob_routes.finish_upload,
        "DELETE": blob_routes.cancel_upload,
    },
    "/v2/<name:name>/blobs/<digest>": {"GET": blob_routes.read_blob, "DELETE": blob_routes.delete_blob},
}


def _api_root(service: Service, request: Request) -> Response:
    """end-1."""
    del service, request
    return json_answer({})


class RegistryApp:
    """The registry as a WSGI application; thread-safe."""

    def __init__(self, service: Service, access: Access, on_request: OnRequest | None = None) -> None:
        """`on_request` gets method, path and status of every answer, in the thread that gives it."""
        self._service = service
        self._access = access
        self._on_request = on_request
        rules = [Rule("/v2/", endpoint=_api_root, methods=["GET"], strict_slashes=False)]
        for pattern, handlers in _ROUTES.items():
            rules += [Rule(pattern, endpoint=handler, methods=[method]) for method, handler in handlers.items()]
        self._map = Map(rules, converters={"name": _Name}, merge_slashes=False, strict_slashes=False)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        answer = self._answer(request)
        answer.headers["Docker-Distribution-API-Version"] = "registry/2.0"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if self._on_request is not None:
            self._on_request(request.method, request.path, answer.status_code)
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            self._access.check(request)
            endpoint, arguments = self._map.bind_to_environ(request.environ).match()
            made = endpoint(self._service, request, **arguments)
            if not isinstance(made, Response):
                raise TypeError(f"{endpoint}: expected a Response")
        except WireError as error:
            answer = json_answer(error_body(error.code, str(error)), status=error.status)
            answer.headers.update(error.headers)
            return answer
        except HTTPException as error:
            status = error.code or 500
            code = Code.UNSUPPORTED if isinstance(error, MethodNotAllowed) else Code.NAME_UNKNOWN
            answer = json_answer(error_body(code, f"no such end point: {request.method}"), status=status)
            if isinstance(error, MethodNotAllowed) and error.valid_methods:
                answer.headers["Allow"] = ", ".join(sorted(error.valid_methods))
            return answer
        except (ReconcilerError, OSError) as error:
            # What is wrong with our own disk is for the operator's eyes; the client only learns that it got nothing.
            _log.error("request_failed: %s %s: %s", request.method, request.path, error)
            return json_answer(error_body("UNKNOWN", "the registry could not do this; see its log"), status=500)
        return made
