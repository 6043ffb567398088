"""Blobs and attached artifacts of one registry host (ports ArtifactReader and ArtifactWriter).

No registry honours If-Match, so the index at `sha256-<hex>` can lose updates of other processes: within this one a lock
per subject keeps them apart, and each write is read back and merged again until the entry is there. Registries show an
old index for seconds after a write (facts F 21), so what was written a while ago is merged again with each write.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import requests
import urllib3.exceptions

from reconciler.adapters.http_errors import unanswered
from reconciler.adapters.http_transport import Call, FileBody, Origin, joined
from reconciler.adapters.registry_answers import announced_digest, next_page
from reconciler.adapters.registry_errors import said
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_referrers import ReferrersIndex, fallback_tag
from reconciler.ports import REFERRERS_MAX, Clock, Referrer
from state.errors import (
    Denied,
    IntegrityError,
    InvalidValue,
    RateLimited,
    ReconcilerError,
    Terminal,
    Transient,
    Unavailable,
)
from state.oci import OCI_INDEX, Descriptor, Digest, Manifest, Repository, Tag

API_UNKNOWN_AFTER_S: Final = 600
"""A host without the referrers API may learn it: its "no" is asked for again after so many seconds."""
_OWN_KEPT_S: Final = 600
_NO_DIGEST: Final = f"sha256:{'0' * 64}"
_ROUNDS: Final = 8
_PAGES_MAX: Final = 100
_CHUNK_BYTES: Final = 256 * 1024
_INDEX_MAX_BYTES: Final = 8 * 1024 * 1024


class Client(Protocol):
    """What artifacts need of the registry client."""

    limits: Limits

    def run(self, call: Call, until: float | None = None) -> requests.Response: ...
    def expect(self, response: requests.Response, where: str, *statuses: int) -> None: ...
    def url(self, path: str) -> str: ...
    def put_call(self, repository: Repository, reference: Tag | Digest, manifest: Manifest) -> Call: ...
    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None: ...
    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None: ...


class Artifacts:
    """Implements both ports over one client. Thread-safe."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._no_api_until: float | None = None
        self._seen_api = False
        self._asking = threading.Lock()
        self._guard = threading.Lock()
        self._locks: dict[tuple[Repository, Digest], threading.Lock] = {}
        self._own: dict[tuple[Repository, Digest], dict[Digest, tuple[float, Referrer]]] = {}
        """Until when (monotonic) each entry of ours is put back where a lagging read has lost it."""

    # --- reading

    def referrers(self, repository: Repository, subject: Digest) -> Sequence[Referrer]:
        """See ArtifactReader."""
        troubled: Transient | None = None
        try:
            listed = self._listed(repository, subject)
        except RateLimited as error:
            listed, troubled = None, error
        index = self._fallback(repository, subject)
        if troubled is not None and index is None:
            raise troubled
        merged = {r.descriptor.digest: r for r in listed or ()}
        for referrer in index.entries() if index is not None else ():
            merged.setdefault(referrer.descriptor.digest, referrer)
        if len(merged) > REFERRERS_MAX:
            raise Terminal(
                f"{repository}@{subject.short}: has {len(merged)} referrers, at most {REFERRERS_MAX} are read"
            )
        return tuple(merged.values())

    def blob(self, repository: Repository, digest: Digest, max_bytes: int) -> bytes | None:
        """See ArtifactReader."""
        where = f"{repository} blob {digest}"
        url = self._client.url(f"{repository.path}/blobs/{digest}")
        response = self._client.run(Call("GET", url, where, {}, max_bytes=max_bytes))
        if response.status_code == 404 and not response.history:
            return None
        self._client.expect(response, where, 200)
        if not digest.matches(response.content):
            raise IntegrityError(f"{where}: got bytes of {Digest.of(response.content)}; nothing was used")
        return response.content

    def save_blob(self, repository: Repository, wanted: Descriptor, target: Path, until_s: float) -> None:
        """See BlobReader."""
        where = f"{repository} blob {wanted.digest}"
        url = self._client.url(f"{repository.path}/blobs/{wanted.digest}")
        response = self._client.run(Call("GET", url, where, {}, max_bytes=wanted.size, stream=True))
        try:
            self._client.expect(response, where, 200)
            hashed, size = hashlib.sha256(), 0
            with target.open("xb") as file:
                while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                    hashed.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                    if size > wanted.size:
                        raise IntegrityError(f"{where}: expected {wanted.size} bytes, got more; nothing was used")
                    if self._clock.monotonic_s() > until_s:
                        raise Unavailable(f"{where}: did not end in time; {size} bytes had come")
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            raise unanswered(error, where) from error
        finally:
            response.close()
        if (got := Digest(f"sha256:{hashed.hexdigest()}")) != wanted.digest or size != wanted.size:
            raise IntegrityError(f"{where}: expected {wanted.size} bytes, got {size} of {got}; nothing was used")

    # --- writing

    def put_blob(self, repository: Repository, raw: bytes, confirm: Callable[[], None] | None = None) -> Descriptor:
        """See ArtifactWriter."""
        made = Descriptor("application/octet-stream", Digest.of(raw), len(raw))
        self._upload(repository, made, raw, confirm)
        return made

    def put_blob_file(
        self, repository: Repository, wanted: Descriptor, file: Path, until_s: float, confirm: Callable[[], None]
    ) -> None:
        """See ImageWriter."""
        self._upload(repository, wanted, FileBody(file, wanted.size), confirm, until_s)

    def put_untagged(self, repository: Repository, manifest: Manifest, confirm: Callable[[], None]) -> None:
        """See ImageWriter."""
        call = self._client.put_call(repository, manifest.digest, manifest)
        response = self._client.run(call._replace(confirm=confirm))
        self._client.expect(response, call.where, 200, 201)
        stored = announced_digest(response, call.where)
        if stored is not None and stored != manifest.digest:
            raise IntegrityError(f"{call.where}: sent {manifest.digest}, the registry says it stored {stored}")

    def _upload(
        self,
        repository: Repository,
        wanted: Descriptor,
        body: bytes | FileBody,
        confirm: Callable[[], None] | None,
        until: float | None = None,
    ) -> None:
        """Nothing if it is there. In one PUT: GHCR refuses chunks of more than 4 MiB."""
        digest = wanted.digest
        where = f"{repository} blob {digest}"
        client = self._client
        if client.run(Call("HEAD", client.url(f"{repository.path}/blobs/{digest}"), where, {})).status_code == 200:
            return
        started = client.run(Call("POST", client.url(f"{repository.path}/blobs/uploads/"), where, {}, confirm=confirm))
        client.expect(started, where, 202)
        target = self._upload_url(started, where)
        url = f"{target}{'&' if '?' in target else '?'}digest={digest}"
        headers = {"Content-Type": "application/octet-stream"}
        finished = client.run(Call("PUT", url, where, headers, body, confirm=confirm), until)
        client.expect(finished, where, 201)
        stored = announced_digest(finished, where)
        if stored is not None and stored != digest:
            raise IntegrityError(f"{where}: the registry says it stored {stored}")

    def may_push(self, repository: Repository) -> bool:
        """Whether the credential may begin an upload there; it is given up at once, and nothing of it stays."""
        where = f"{repository}: beginning an upload"
        client = self._client
        try:
            started = client.run(Call("POST", client.url(f"{repository.path}/blobs/uploads/"), where, {}))
            client.expect(started, where, 202)
        except Denied:
            return False
        with suppress(ReconcilerError):  # a registry that can't give it up forgets it by itself
            client.run(Call("DELETE", self._upload_url(started, where), where, {}))
        return True

    def may_delete(self, repository: Repository) -> bool | None:
        """Whether the credential may delete there, asked for a manifest that cannot be: its digest is all zeros.

        Who may is told that there is none; None where the registry says something else, as one that deletes nothing
        does (405). Source: distribution-spec v1.1, Deleting Manifests (end-9).
        """
        where = f"{repository}: asking to delete what is not there"
        client = self._client
        try:
            answer = client.run(Call("DELETE", client.url(f"{repository.path}/manifests/{_NO_DIGEST}"), where, {}))
            client.expect(answer, where, 202, 404)
        except Denied:
            return False
        except Terminal:
            return None
        return True

    def put_artifact(
        self,
        repository: Repository,
        manifest: Manifest,
        subject: Digest,
        referrer: Referrer,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        """See ArtifactWriter."""
        with self._lock(repository, subject):
            call = self._client.put_call(repository, manifest.digest, manifest)
            response = self._client.run(call._replace(confirm=confirm))
            self._client.expect(response, call.where, 200, 201)
            stored = announced_digest(response, call.where)
            if stored is not None and stored != manifest.digest:
                raise IntegrityError(f"{call.where}: sent {manifest.digest}, the registry says it stored {stored}")
            # The header alone is no proof: a registry sent it for years without having the API (facts F 26).
            if response.headers.get("OCI-Subject") == subject and self._listed(repository, subject) is not None:
                return
            self._merge(repository, subject, referrer, confirm)

    # --- the two lists

    def _listed(self, repository: Repository, subject: Digest) -> list[Referrer] | None:
        """What the API lists; None where the host has no such API."""
        if self._seen_api:
            return self._asked(repository, subject)
        with self._asking:  # until the host is known, one question is enough for all threads
            until = self._no_api_until
            if until is not None and self._clock.monotonic_s() < until:
                return None
            return self._asked(repository, subject)

    def _asked(self, repository: Repository, subject: Digest) -> list[Referrer] | None:
        where = f"{repository}@{subject.short} referrers"
        path = f"{repository.path}/referrers/{subject}"
        url: str | None = self._client.url(path)
        found: list[Referrer] = []
        seen: set[str] = set()
        for page in itertools.count():
            if url is None:
                break
            if url in seen or page >= _PAGES_MAX or len(found) > REFERRERS_MAX:
                raise Terminal(f"{where}: the pages do not end; nothing was used")
            seen.add(url)
            response = self._client.run(Call("GET", url, where, {"Accept": OCI_INDEX}, max_bytes=_INDEX_MAX_BYTES))
            if response.status_code in {401, 403}:
                self._client.expect(response, where, 200)
            index = _index(response)
            if index is None:
                if page:
                    raise Unavailable(f"{where}: page {page + 1} is no image index; nothing was used")
                # One odd answer of a host that has the API, or an unknown repository, says nothing about the host.
                if not self._seen_api and not said(response).startswith("NAME_UNKNOWN"):
                    self._no_api_until = self._clock.monotonic_s() + API_UNKNOWN_AFTER_S
                return None
            found += index.entries()
            url = next_page(response, self._client.url(""), path, where)
        self._no_api_until, self._seen_api = None, True
        return found

    def _fallback(self, repository: Repository, subject: Digest) -> ReferrersIndex | None:
        """The index at the tag; None where there is none, or something else is."""
        try:
            held = self._client.manifest(repository, fallback_tag(subject))
            return ReferrersIndex.parse(held.raw) if held is not None and _is_index(held, subject) else None
        except Denied:
            raise
        except Terminal:
            return None  # no index that anybody could read

    def _merge(
        self, repository: Repository, subject: Digest, referrer: Referrer, confirm: Callable[[], None] | None
    ) -> None:
        tag = fallback_tag(subject)
        before: Digest | None = None
        wrote = False
        ours = {**self._recent(repository, subject), referrer.descriptor.digest: referrer}
        for _ in range(_ROUNDS):
            held = self._client.manifest(repository, tag)
            index = self._mergeable(repository, subject, held)
            missing = [one for digest, one in ours.items() if not index.has(digest)]
            if not missing:
                return
            now = held.digest if held is not None else None
            if wrote and now == before:
                return  # our own 201 counts; the read only shows the old index still (facts F 21)
            before, wrote = now, True
            self._client.put_manifest(repository, tag, index.with_entries(missing), confirm)
            self._remember(repository, subject, ours)
        raise Unavailable(f"{repository}:{tag}: other writers replaced the index {_ROUNDS} times; try again")

    def _recent(self, repository: Repository, subject: Digest) -> dict[Digest, Referrer]:
        """What this client wrote into the index lately, oldest first."""
        with self._guard:
            now, entries = self._clock.monotonic_s(), self._own.get((repository, subject), {})
            return {digest: one for digest, (until, one) in entries.items() if now < until}

    def _remember(self, repository: Repository, subject: Digest, entries: dict[Digest, Referrer]) -> None:
        now = self._clock.monotonic_s()
        with self._guard:
            before = self._own.pop((repository, subject), {})
            self._own = {key: kept for key, kept in self._own.items() if any(now < until for until, _ in kept.values())}
            # An entry keeps its first time: whoever removes it later shall not have it put back for ever.
            self._own[repository, subject] = {
                digest: before.get(digest, (now + _OWN_KEPT_S, one)) for digest, one in entries.items()
            }

    def _mergeable(self, repository: Repository, subject: Digest, held: Manifest | None) -> ReferrersIndex:
        if held is None:
            return ReferrersIndex.empty()
        try:
            if _is_index(held, subject):
                return ReferrersIndex.parse(held.raw)
            why = f"it is {held.media_type}"
        except InvalidValue as error:
            why = str(error)
        raise Terminal(
            f"{repository}:{fallback_tag(subject)}: expected the index of what is attached to {subject.short}, but"
            f" {why}; it is not replaced: find out who wrote it, and remove the tag"
        )

    # --- parts

    def _upload_url(self, started: requests.Response, where: str) -> str:
        """Where the upload goes on: this registry, whatever scheme a proxy made it write."""
        location = started.headers.get("Location", "")
        if not location:
            raise Unavailable(f"{where}: an upload without Location, which is not a registry's answer")
        target = joined(started.url, location, where)
        ours = Origin.of(self._client.url(""))
        theirs = Origin.of(target)
        parts = urlsplit(target)
        if not parts.path.strip("/"):
            raise Unavailable(f"{where}: an upload at an address without a path, which is not a registry's answer")
        if theirs == ours:
            return target
        if theirs.host == ours.host and theirs.scheme == "http":
            query = f"?{parts.query}" if parts.query else ""
            return f"{self._client.url('').removesuffix('/v2/')}{parts.path}{query}"
        raise Terminal(f"{where}: the upload is to go to another host; nothing was sent there")

    def _lock(self, repository: Repository, subject: Digest) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault((repository, subject), threading.Lock())


def _index(response: requests.Response) -> ReferrersIndex | None:
    """The answer as an index; None for what a host without the API says, whatever its status."""
    bare = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status_code != 200 or response.history or bare != OCI_INDEX:
        return None
    try:
        return ReferrersIndex.parse(response.content)
    except InvalidValue:
        return None


def _is_index(held: Manifest, subject: Digest) -> bool:
    """Not the image itself, which a tag of this form may point at."""
    return held.media_type == OCI_INDEX and held.digest != subject
