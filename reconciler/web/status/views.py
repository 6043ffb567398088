"""A page as HTML or JSON, with the headers that keep a browser from doing anything but showing it."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Final, NamedTuple

import jinja2
from werkzeug.exceptions import NotFound, ServiceUnavailable
from werkzeug.wrappers import Request, Response

from reconciler import __version__
from reconciler.matrix import State
from state.canonical import Json

GZIP_MIN_BYTES: Final = 8192
RENDERS_MAX: Final = 3
"""Pages that are made at once. The listener has more threads than this: probes are answered while pages are made."""
_PACKAGE: Final = "reconciler.web.status"
ASSETS: Final = "/assets/"
_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
SIGNS: Final[Mapping[State, str]] = {
    State.RETAGGED: "✓",
    State.BUILT: "◆",
    State.WAITING: "◷",
    State.PLANNED: "▷",
    State.HELD: "✕",
    State.NOT_PREVIEWED: "–",
}
"""One shape a state, so that colour is never all that tells them apart."""


class Frame(NamedTuple):
    """What stands around a page. As it is made without arguments it tells nothing of ours: for whoever may not read."""

    sites: tuple[str, ...] = ()
    """The names of the repositories."""
    site: str | None = None
    """Of which this page is."""
    page: str = ""
    ready: bool | None = None
    why: str = ""
    mode: str | None = None
    user: str | None = None
    """Who reads it, where an identity proxy says so."""
    json_query: str = "?format=json"
    """Of this page for a machine."""


class Built(NamedTuple):
    """What a page says: for a template, and for a machine."""

    template: str
    context: Mapping[str, Any]
    json: Mapping[str, Json]


class Page(NamedTuple):
    """A page that is made only if it is not what the reader has. `facts` are all that it depends on besides the
    address; None where only making it tells."""

    facts: tuple[object, ...] | None
    build: Callable[[], Built]


class Views:
    """Templates and assets, read once. Called by several threads."""

    def __init__(self) -> None:
        self._assets: dict[str, tuple[bytes, str]] = {}
        names: dict[str, str] = {}
        files = sorted((f for f in (resources.files(_PACKAGE) / "assets").iterdir()), key=lambda f: f.name)
        seal = hashlib.sha256(__version__.encode())
        for file in files:
            raw = file.read_bytes()
            stem, _, ending = file.name.rpartition(".")
            path = f"{ASSETS}{stem}.{hashlib.sha256(raw).hexdigest()[:16]}.{ending}"
            self._assets[path] = (raw, _TYPES[ending])
            names[file.name] = path
            seal.update(path.encode())
        loader = jinja2.PackageLoader(_PACKAGE)
        self._env = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._env.globals |= {"assets": names, "version": __version__, "signs": SIGNS, "State": State}
        self._env.filters |= {"clock": clock, "iso": iso, "hex12": hex12, "ticks": _ticks}
        for name in loader.list_templates():
            seal.update((resources.files(_PACKAGE) / "templates" / name).read_bytes())
            self._env.get_template(name)  # what is wrong with a template is found at the start
        self._seal = seal.hexdigest()
        """Of everything that makes a page besides facts: another version of the program makes another page."""
        self._renders = threading.BoundedSemaphore(RENDERS_MAX)

    def asset(self, request: Request) -> Response:
        """A stylesheet, script or icon by the name that has its digest in it. Raises NotFound."""
        found = self._assets.get(request.path)
        if found is None:
            raise NotFound
        response = Response(found[0], content_type=found[1])
        response.headers.update({**HEADERS, "Cache-Control": _FOR_EVER})
        return response

    def answer(self, request: Request, page: Page, frame: Frame, *, as_json: bool) -> Response:
        """200 with the page, 304 where the reader has it, or 503 while too many others are made."""
        where = (self._seal, as_json, request.path, request.query_string, frame)
        etag = None
        if page.facts is not None:
            etag = hashlib.sha256(repr((where, page.facts)).encode()).hexdigest()[:32]
            if request.if_none_match.contains_weak(etag):
                return self._sealed(Response(status=304), etag)
        if not self._renders.acquire(blocking=False):
            raise ServiceUnavailable("Too many pages are being made right now; ask again in a second.")
        try:
            response = self._made(page.build(), frame, as_json=as_json)
        finally:
            self._renders.release()
        if etag is None:
            etag = hashlib.sha256(response.get_data()).hexdigest()[:32]
            if request.if_none_match.contains_weak(etag):
                response = Response(status=304)
        return self._sealed(_packed(request, response), etag)

    def error(self, status: int, sentence: str, frame: Frame, *, as_json: bool) -> Response:
        """A page that says what is wrong."""
        made = Built("error.html", {"status": status, "sentence": sentence}, {"error": sentence, "status": status})
        response = self._made(made, frame, as_json=as_json)
        response.status_code = status
        response.headers.update(HEADERS)
        return response

    def _made(self, built: Built, frame: Frame, *, as_json: bool) -> Response:
        if as_json:
            # ASCII only, so that nothing in it steers a terminal.
            return Response(json.dumps(built.json, sort_keys=True) + "\n", content_type="application/json")
        body = self._env.get_template(built.template).render({**frame._asdict(), **built.context})
        return Response(body, content_type="text/html; charset=utf-8")

    def _sealed(self, response: Response, etag: str) -> Response:
        response.headers.update(HEADERS)
        response.set_etag(etag, weak=True)
        return response


def _packed(request: Request, response: Response) -> Response:
    """Compressed where it is large and the reader takes that: a matrix shrinks to a tenth. No page holds a secret that
    its length could tell of."""
    body = response.get_data()
    if len(body) >= GZIP_MIN_BYTES and request.accept_encodings["gzip"] > 0:
        response.set_data(gzip.compress(body, compresslevel=1, mtime=0))
        response.content_encoding = "gzip"
    return response


def wants_json(request: Request) -> bool:
    """`?format=json`, or an Accept header that prefers it to HTML."""
    if request.args.get("format") == "json":
        return True
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]


def clock(at: str | datetime | None) -> str:
    """A time for a person: `2026-01-31 23:59:59 UTC`."""
    text = iso(at)
    return f"{text[:10]} {text[11:19]} UTC" if text else "never"


def iso(at: str | datetime | None) -> str:
    """The same for a machine: `2026-01-31T23:59:59Z`; empty for None."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(at, datetime) else at or ""


def hex12(value: str | None) -> str:
    """The first twelve digits of a commit id or of a digest."""
    return (value or "").rpartition(":")[2][:12]


def _ticks(text: str) -> list[tuple[bool, str]]:
    """A remedy in pieces: (whether it is code, the piece), as backticks say."""
    return [(bool(n % 2), piece) for n, piece in enumerate(text.split("`")) if piece]
