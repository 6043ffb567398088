"""Manifests, tags and referrers: end-3, end-7, end-8a, end-8b, end-9, end-12a, end-12b of distribution-spec v1.1.1.

Manifests are returned as they were stored, whatever `Accept` says. `?tag=` on a PUT by digest and its `OCI-Tag` answer
are from the unreleased specification (main, 2026).
"""

from __future__ import annotations

import json
from bisect import bisect_right
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from reconciler.registry.digests import ContentDigest, repository_name, tag_name
from reconciler.registry.errors import Code, WireError
from reconciler.registry.layout import tag_order
from reconciler.registry.manifests import media_type_of, parse
from reconciler.registry.service import Service, json_answer, not_modified
from state.canonical import Json
from state.oci import OCI_INDEX, Tag


def read_manifest(service: Service, request: Request, name: str, reference: str) -> Response:
    """end-3. The digest is checked against the bytes on every read, HEAD included."""
    layout = service.layout(name)
    wanted = _reference(reference)
    stored = None if wanted is None else layout.find(wanted)
    raw = None if stored is None else layout.read(stored)
    if stored is None or raw is None:
        raise WireError(Code.MANIFEST_UNKNOWN, f"manifest {reference[:150]!r} is not in {name}")
    if (unchanged := not_modified(request, stored.digest)) is not None:
        return unchanged
    answer = Response(raw, status=200, content_type=stored.media_type)
    answer.set_etag(stored.digest)
    answer.headers["Docker-Content-Digest"] = stored.digest
    return answer


def put_manifest(service: Service, request: Request, name: str, reference: str) -> Response:
    """end-7."""
    repository = repository_name(name)
    limit = service.limits.manifest_max_bytes
    raw = request.stream.read(limit + 1)
    if len(raw) > limit:
        raise WireError(Code.SIZE_INVALID, f"manifest: expected at most {limit} bytes", status=413)
    wanted = _reference(reference)
    if isinstance(wanted, ContentDigest):
        if not wanted.matches(raw):
            got = ContentDigest.of(raw, wanted.algorithm)
            raise WireError(Code.DIGEST_INVALID, f"manifest: expected {wanted}, got bytes of {got}")
        digest, tags = wanted, _tag_parameters(service, request)
    elif wanted is not None:
        digest, tags = ContentDigest.of(raw), [wanted]
    else:
        raise WireError(Code.MANIFEST_INVALID, f"reference: expected a tag or a digest, got {reference[:150]!r}")
    manifest = parse(media_type_of(request.headers.get("Content-Type", ""), raw), raw)
    service.storage.make(repository).put_manifest(digest, raw, manifest, tags)
    headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
    answer = Response(status=201, headers=headers)
    if manifest.subject is not None:
        answer.headers["OCI-Subject"] = manifest.subject
    if isinstance(wanted, ContentDigest):
        for tag in tags:
            answer.headers.add("OCI-Tag", tag)
    return answer


def delete_manifest(service: Service, request: Request, name: str, reference: str) -> Response:
    """end-9: a tag alone, or a manifest with every tag that points at it."""
    del request
    layout = service.layout(name)
    wanted = _reference(reference)
    if wanted is None:
        raise WireError(Code.MANIFEST_UNKNOWN, f"manifest {reference[:150]!r} is not in {name}")
    if isinstance(wanted, ContentDigest):
        layout.delete_manifest(wanted)
    else:
        layout.delete_tag(wanted)
    return Response(status=202)


def list_tags(service: Service, request: Request, name: str) -> Response:
    """end-8a, end-8b. A page is at most `tags_per_page` long, also without `n`; Link leads to the next one."""
    tags = service.layout(name).tags()
    last = request.args.get("last")
    if last is not None:
        tags = tags[bisect_right(tags, tag_order(last), key=tag_order) :]
    count = _count(request.args.get("n"), service.limits.tags_per_page)
    page = tags[:count]
    answer = json_answer({"name": name, "tags": list(page)})
    if page and len(tags) > count:
        query = urlencode({"n": count, "last": page[-1]})
        answer.headers["Link"] = f'</v2/{name}/tags/list?{query}>; rel="next"'
    return answer


def list_referrers(service: Service, request: Request, name: str, digest: str) -> Response:
    """end-12a, end-12b. Never a 404: what nobody refers to has an empty list, in an unknown repository too.

    A page is an index of at most `referrers_page_max_bytes`, with at least one descriptor; Link leads to the next.
    """
    subject = ContentDigest(digest)
    layout = service.storage.find(repository_name(name))
    wanted, last = request.args.get("artifactType"), request.args.get("last", "")
    rows: list[Json] = []
    size, more = 200, False
    for row in () if layout is None else layout.referrers(subject):
        if str(row["digest"]) <= last or (wanted is not None and row.get("artifactType") != wanted):
            continue
        size += len(json.dumps(row, ensure_ascii=False).encode()) + 2
        if rows and size > service.limits.referrers_page_max_bytes:
            more = True
            break
        rows.append(row)
    answer = json_answer({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}, media_type=OCI_INDEX)
    if wanted is not None:
        answer.headers["OCI-Filters-Applied"] = "artifactType"
    if more and isinstance(final := rows[-1], dict):
        query = {"last": str(final["digest"])} | ({} if wanted is None else {"artifactType": wanted})
        answer.headers["Link"] = f'</v2/{name}/referrers/{subject}?{urlencode(query)}>; rel="next"'
    return answer


def _reference(text: str) -> Tag | ContentDigest | None:
    """A tag, a digest, or None: `:` is in every digest and in no tag. Raises WireError DIGEST_INVALID."""
    return ContentDigest(text) if ":" in text else tag_name(text)


def _tag_parameters(service: Service, request: Request) -> list[Tag]:
    given = list(dict.fromkeys(request.args.getlist("tag")))
    limit = service.limits.tags_per_put
    if len(given) > limit:
        raise WireError(Code.UNSUPPORTED, f"tag: expected at most {limit} in one request, got {len(given)}", status=414)
    tags = []
    for text in given:
        if (tag := tag_name(text)) is None:
            raise WireError(Code.MANIFEST_INVALID, f"tag: {text[:150]!r} is not a tag; nothing was stored")
        tags.append(tag)
    return tags


def _count(text: str | None, limit: int) -> int:
    if text is None:
        return limit
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise WireError(Code.SIZE_INVALID, f"n: expected a number of tags, got {text[:40]!r}")
    return min(int(text), limit)
