"""What every end point needs: the storage, the sessions and the limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from werkzeug.wrappers import Request, Response

from reconciler.registry.digests import repository_name
from reconciler.registry.errors import Code, WireError
from reconciler.registry.layout import Layout
from reconciler.registry.storage import Storage
from reconciler.registry.uploads import Uploads
from state.canonical import Json
from state.oci import MANIFEST_MAX_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of them together, may take."""

    blob_max_bytes: int = 1024**3
    manifest_max_bytes: int = MANIFEST_MAX_BYTES
    uploads_max: int = 256
    """Upload sessions that are open at a time."""
    upload_idle_s: float = 3600
    tags_per_page: int = 10_000
    referrers_page_max_bytes: int = MANIFEST_MAX_BYTES
    tags_per_put: int = 100
    """`?tag=` parameters of one manifest PUT."""
    drain_s: float = 10
    """How long a stop waits for the requests that are being answered."""


@dataclass(frozen=True, slots=True)
class Service:
    """The state behind the routes."""

    storage: Storage
    limits: Limits
    monotonic_s: Callable[[], float]
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        uploads = Uploads(
            self.storage.scratch,
            max_bytes=self.limits.blob_max_bytes,
            max_open=self.limits.uploads_max,
            idle_s=self.limits.upload_idle_s,
            monotonic_s=self.monotonic_s,
        )
        object.__setattr__(self, "uploads", uploads)

    def layout(self, name: str) -> Layout:
        """The repository of a read. Raises WireError NAME_INVALID or NAME_UNKNOWN."""
        found = self.storage.find(repository_name(name))
        if found is None:
            raise WireError(Code.NAME_UNKNOWN, f"repository {name} is not in this registry")
        return found


def json_answer(body: dict[str, Json], *, status: int = 200, media_type: str = "application/json") -> Response:
    """An answer with a JSON body."""
    return Response(json.dumps(body, ensure_ascii=False).encode(), status=status, content_type=media_type)


def not_modified(request: Request, digest: str) -> Response | None:
    """304 if the client has these bytes already (RFC 9110, If-None-Match)."""
    if not request.if_none_match.contains_weak(digest):
        return None
    answer = Response(status=304, headers={"Docker-Content-Digest": digest})
    answer.set_etag(digest)
    return answer
