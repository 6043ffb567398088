"""The two WSGI applications. They share no route and no state, so that the public one cannot serve a private path."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.wrappers import Request, Response

from reconciler.events import Emitter, Event

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Handler: TypeAlias = "Callable[[Request], Response]"

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_INDEX: Final = "ameide\n\n/healthz  is the process alive\n/readyz   may it be relied on\n/metrics  Prometheus\n"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}


class HealthSource(Protocol):
    """What the loop says of itself. Both answers come at once: no outside call is made for a probe."""

    def live(self) -> bool:
        """Whether the loop still turns. Never depends on the outside: an outage must not restart the process."""

    def ready(self) -> tuple[bool, str]:
        """Whether it may be relied on, and the reason in one line."""


def private_app(
    health: HealthSource, metrics: Callable[[], bytes], emitter: Emitter, pages: Handler | None = None
) -> WSGIApplication:
    """`/healthz`, `/readyz`, `/metrics`, and everything else by `pages`; without those, a plain index."""

    def live(_: Request) -> Response:
        alive = health.live()
        return _text("ok" if alive else "the loop stands still", 200 if alive else 503)

    def ready(_: Request) -> Response:
        is_ready, reason = health.ready()
        return _text(reason, 200 if is_ready else 503)

    routes: dict[str, Handler] = {
        "/healthz": live,
        "/readyz": ready,
        "/metrics": lambda _: Response(metrics(), 200, content_type=METRICS_TYPE),
    }
    if pages is None:
        routes["/"] = lambda _: _text(_INDEX.strip(), 200)

    def handle(request: Request) -> Response:
        handler = routes.get(request.path, pages)
        if handler is None:
            raise NotFound
        if request.method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(["GET", "HEAD"])
        return handler(request)

    return _application(handle, emitter)


def public_app(emitter: Emitter, below: Mapping[str, Handler] | None = None) -> WSGIApplication:
    """What the outside may reach: `below` names the handler of each path prefix, anything else is 404."""
    handlers = dict(below or {})

    def handle(request: Request) -> Response:
        for prefix, handler in handlers.items():
            if request.path.startswith(prefix):
                return handler(request)
        raise NotFound

    return _application(handle, emitter)


def _application(handle: Handler, emitter: Emitter) -> WSGIApplication:
    """A WSGI application whose errors are JSON, and which tells the client nothing about a fault of its own."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = handle(request)
        except HTTPException as error:
            response = _error(error.code or 500, error.name)
            if isinstance(error, MethodNotAllowed):
                response.headers["Allow"] = ", ".join(error.valid_methods or ())
        except Exception as error:  # noqa: BLE001 - one faulty request must not end the host; the line names the fault
            emitter.emit(Event.REQUEST_FAILED, path=request.path, error=f"{type(error).__name__}: {error}")
            response = _error(500, "Internal Server Error")
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response(environ, start_response)

    return app


def _text(body: str, status: int) -> Response:
    # A reason may quote what strangers wrote, and these answers are read in terminals.
    spelt = "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in body)
    return Response(spelt + "\n", status, content_type="text/plain; charset=utf-8")


def _error(status: int, name: str) -> Response:
    return Response(json.dumps({"error": name, "status": status}) + "\n", status, content_type="application/json")
