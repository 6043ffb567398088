"""Blobs and uploads: end-2, end-4a, end-4b, end-5, end-6, end-10, end-11, end-13 of distribution-spec v1.1.1."""

from __future__ import annotations

from werkzeug.datastructures import Range
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from reconciler.registry.digests import ContentDigest, repository_name
from reconciler.registry.errors import Code, WireError
from reconciler.registry.service import Service, not_modified
from reconciler.registry.uploads import Upload

_BINARY = "application/octet-stream"


def read_blob(service: Service, request: Request, name: str, digest: str) -> Response:
    """end-2. One byte range is honoured (RFC 9110); several, or a malformed header, get the whole blob."""
    wanted = ContentDigest(digest)
    layout = service.layout(name)
    size = layout.blob_size(wanted)
    if size is None:
        raise _blob_unknown(name, wanted)
    if (unchanged := not_modified(request, wanted)) is not None:
        return unchanged
    answer = Response(status=200, content_type=_BINARY)
    answer.set_etag(wanted)
    answer.headers.update({"Docker-Content-Digest": wanted, "Accept-Ranges": "bytes"})
    start, end = 0, size
    if request.range is not None and (if_range := request.if_range).date is None and if_range.etag in (None, wanted):
        part = _part(request.range, size)
        if part is not None:
            start, end = part
            answer.status_code = 206
            answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    answer.content_length = end - start
    if request.method != "HEAD" and end > start:
        try:
            file = layout.blob_path(wanted).open("rb")
        except FileNotFoundError:
            raise _blob_unknown(name, wanted) from None  # deleted since its size was read
        file.seek(start)
        answer.response = wrap_file(request.environ, file)
        answer.direct_passthrough = True
    return answer


def delete_blob(service: Service, request: Request, name: str, digest: str) -> Response:
    """end-10."""
    del request
    wanted = ContentDigest(digest)
    service.layout(name).delete_blob(wanted)
    return Response(status=202, headers={"Docker-Content-Digest": wanted})


def start_upload(service: Service, request: Request, name: str) -> Response:
    """end-4a, end-4b with `digest`, end-11 with `mount`: a mount that cannot be done becomes an upload (202)."""
    repository = repository_name(name)
    mount, source = request.args.get("mount"), request.args.get("from")
    if mount is not None and source is not None:
        digest = ContentDigest(mount)
        other = service.storage.find(repository_name(source))
        if other is not None and service.storage.make(repository).mount_blob(other, digest):
            return _created(repository, digest)
    given = request.args.get("digest")
    wanted = None if given is None else ContentDigest(given)
    upload = service.uploads.start(repository)
    if wanted is None or mount is not None:
        return _session(repository, upload, 202)
    return _finish(service, request, repository, upload, wanted)


def upload_status(service: Service, request: Request, name: str, upload_id: str) -> Response:
    """end-13."""
    del request
    repository = repository_name(name)
    return _session(repository, service.uploads.get(repository, upload_id), 204)


def append_chunk(service: Service, request: Request, name: str, upload_id: str) -> Response:
    """end-5. Without Content-Range the body is appended (a streamed upload)."""
    repository = repository_name(name)
    upload = service.uploads.get(repository, upload_id)
    with upload.lock:
        _append(request, repository, upload)
        return _session(repository, upload, 202)


def finish_upload(service: Service, request: Request, name: str, upload_id: str) -> Response:
    """end-6. The body, which may be empty, is the last chunk."""
    repository = repository_name(name)
    upload = service.uploads.get(repository, upload_id)
    return _finish(service, request, repository, upload, ContentDigest(request.args.get("digest")))


def cancel_upload(service: Service, request: Request, name: str, upload_id: str) -> Response:
    """DELETE of a session: its bytes are forgotten."""
    del request
    repository = repository_name(name)
    upload = service.uploads.get(repository, upload_id)
    with upload.lock:
        service.uploads.forget(repository, upload)
    return Response(status=204)


def _finish(service: Service, request: Request, repository: str, upload: Upload, digest: ContentDigest) -> Response:
    with upload.lock:
        _append(request, repository, upload)
        try:
            upload.finish(digest, service.storage.make(repository))
        finally:
            service.uploads.forget(repository, upload)
    return _created(repository, digest)


def _append(request: Request, repository: str, upload: Upload) -> None:
    try:
        upload.append(request.stream, request.headers.get("Content-Range"), request.content_length)
    except WireError as error:
        # A chunk out of order leaves the session open: the client learns where to go on.
        error.headers.update({"Location": _location(repository, upload), "Range": upload.range})
        raise


def _part(asked: Range, size: int) -> tuple[int, int] | None:
    if asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    start, end = asked.ranges[0]
    if start < 0:
        start = max(size + start, 0)
    if start >= size:
        headers = {"Content-Range": f"bytes */{size}"}
        raise WireError(Code.SIZE_INVALID, f"Range: the blob has {size} bytes", status=416, headers=headers)
    return start, size if end is None else min(end, size)


def _created(repository: str, digest: ContentDigest) -> Response:
    headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(status=201, headers=headers)


def _session(repository: str, upload: Upload, status: int) -> Response:
    headers = {"Location": _location(repository, upload), "Range": upload.range, "Docker-Upload-UUID": upload.id}
    return Response(status=status, headers=headers)


def _location(repository: str, upload: Upload) -> str:
    return f"/v2/{repository}/blobs/uploads/{upload.id}"


def _blob_unknown(name: str, digest: str) -> WireError:
    return WireError(Code.BLOB_UNKNOWN, f"blob {digest} is not in {name}")
