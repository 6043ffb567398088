"""A registry client on oras-py: its session and upload helpers, none of its authentication, retries or manifest calls.

Source: distribution-spec v1.1.1. `oras.provider.Registry` keeps one token for every repository, never renews it, has no
timeouts, sleeps 131 s on a plain 403 and writes manifests back as other bytes. `do_request` is therefore replaced, with
the same signature, and what cannot be made sound that way is refused.
"""

from __future__ import annotations

import itertools
import json as jsonlib
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

import oras.provider
import requests

from reconciler.adapters.http_errors import shown_url
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.adapters.registry_answers import announced_digest, media_type, next_page, tag_page
from reconciler.adapters.registry_artifacts import Artifacts
from reconciler.adapters.registry_auth import Authorizer, Scope, challenges
from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_errors import refusal
from reconciler.adapters.registry_limits import Limits
from reconciler.adapters.registry_pacing import Pacer
from reconciler.adapters.registry_retry import Attempt, RefusedLater, Retrying
from reconciler.adapters.registry_token import Grant
from reconciler.ports import Clock, Metrics, Random
from state.errors import (
    ConfigError,
    IntegrityError,
    ReconcilerError,
    TagFixed,
    Terminal,
    Transient,
    Unavailable,
    Unsupported,
)
from state.oci import MANIFEST_MEDIA_TYPES, Digest, Manifest, Repository, Tag

_ACCEPT: Final = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES)}
"""One header with all four types, on GET and HEAD: without them a registry answers 404 for what it has."""
_REPOSITORY: Final = re.compile(r"/v2/(.+?)/(?:manifests|blobs|tags|referrers)/")
_HOST: Final = re.compile(r"[a-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?")
_IMMUTABLE: Final = re.compile(rb"immutable|TAG_INVALID")
"""What registries say of a tag that may not be moved; a status by itself has other reasons, too."""
_READS: Final = frozenset({"GET", "HEAD"})
_TAGS_PER_PAGE: Final = 1000
_ALL_ACTIONS: Final = "pull,push,delete"
_NOT_SEVERAL: Final = frozenset({400, 404, 405, 409, 412, 414, 501})
"""Refusals of a PUT of several tags that a PUT of one may not meet, or will tell more about."""
_REFUSED: Final = (
    "delete_tag", "delete_tags", "get_manifest", "get_tags", "login", "logout", "pull", "push", "upload_manifest",
)  # fmt: skip


class OrasRegistry(oras.provider.Registry):  # type: ignore[misc]  # oras ships no types
    """RegistryReader and -Writer, ArtifactReader and -Writer, ImageWriter for one registry host. Thread-safe.

    `credential` None is anonymous; nothing else is ever looked for. `ca_file` replaces the built-in CA bundle. `sleep`
    is what every wait goes through: it may raise to end a call early. `pace` is for the waits between paced
    writes alone.

    Raises ConfigError for a malformed host, or a credential with a plain-http registry that is not on loopback.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool = False,
        credential: Credential | None = None,
        ca_file: Path | None = None,
        limits: Limits | None = None,
        clock: Clock,
        random: Random,
        metrics: Metrics | None = None,
        sleep: Callable[[float], None] = time.sleep,
        pace: Callable[[float], None] | None = None,
    ) -> None:
        if not _HOST.fullmatch(host):
            raise ConfigError(f"registry host: expected host or host:port in lower case, got {host[:80]!r}")
        if ca_file is not None and not ca_file.is_file():
            raise ConfigError(f"registry {host}: the CA file {ca_file} is not a file")
        verify = str(ca_file) if ca_file else True
        super().__init__(hostname=host, insecure=plain_http, tls_verify=verify)
        self.auth = None  # oras' own: any use of it shall fail loudly
        self.limits = limits or Limits()
        self._clock = clock
        self._metrics = metrics
        origin = Origin.of(self._url(""))
        self._transport = Transport(self.session, origin, self.limits, clock, verify)
        self._authorizer = Authorizer(
            origin,
            credential,
            clock,
            fetch=self._transport.once,
            check=self._check_token,
            token_max_bytes=self.limits.token_max_bytes,
        )
        self.pacer = Pacer(host, self.limits, clock, pace or sleep)
        self._several: bool | None = None
        """Whether the host takes several tags in one PUT; None until its first answer to one."""
        self._learning = threading.Lock()
        self._retrying = Retrying(self.limits, clock, random, sleep, self.pacer, again=self._count_retry)
        artifacts = Artifacts(_Calls(self), clock)
        self.referrers = artifacts.referrers
        self.blob = artifacts.blob
        self.save_blob = artifacts.save_blob
        self.put_blob = artifacts.put_blob
        self.put_blob_file = artifacts.put_blob_file
        self.put_untagged = artifacts.put_untagged
        self.may_push = artifacts.may_push
        self.may_delete = artifacts.may_delete
        self.put_artifact = artifacts.put_artifact

    # --- RegistryReader ----------------------------------------------------------------------------------------------

    def resolve(self, repository: Repository, tag: Tag) -> Digest | None:
        """See RegistryReader. A HEAD that is refused or says too little is followed by one bounded GET."""
        response = self._run(self._manifest_call("HEAD", repository, tag))
        if response.status_code == 404:
            _check_absent(response, self._where(repository, tag))
            return None
        # A HEAD has no body, so only a GET can tell a rate limit from a missing permission; some refuse HEAD at all.
        if response.status_code in {403, 405}:
            return self._digest_by_get(repository, tag)
        where = self._where(repository, tag)
        self._expect(response, where, 200)
        if not response.headers.get("Content-Type"):
            return self._digest_by_get(repository, tag)
        media_type(response, where)
        return announced_digest(response, where) or self._digest_by_get(repository, tag)

    def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """See RegistryReader. Docker schema 1 is Unsupported."""
        response = self._run(self._manifest_call("GET", repository, reference))
        if response.status_code == 404:
            _check_absent(response, self._where(repository, reference))
            return None
        where = self._where(repository, reference)
        self._expect(response, where, 200)
        made = Manifest.of(media_type(response, where), response.content)
        for name, digest in (
            ("asked for", reference if isinstance(reference, Digest) else None),
            ("announced", announced_digest(response, where)),
        ):
            if digest is not None and not digest.matches(made.raw):
                raise IntegrityError(f"{where}: {name} {digest}, got bytes of {made.digest}; nothing was used")
        return made

    def tags(self, repository: Repository) -> Sequence[Tag] | None:
        """See RegistryReader. Only the whole listing is ever returned: a 404 on a later page is Unavailable."""
        where = f"{repository} tags"
        until = self._clock.monotonic_s() + self.limits.listing_timeout_s
        url: str | None = self._url(f"{repository.path}/tags/list?n={_TAGS_PER_PAGE}")
        found: dict[Tag, None] = {}
        seen: set[str] = set()
        left = self.limits.tags_max_bytes
        for pages in itertools.count():
            if url is None:
                break
            if url in seen:
                raise Unavailable(f"{where}: the pages go round in a loop; nothing was used")
            if pages >= self.limits.tags_max_pages:
                raise Terminal(f"{where}: more than {self.limits.tags_max_pages} pages; nothing was used")
            seen.add(url)
            response = self._run(Call("GET", url, where, {"Accept": "application/json"}, max_bytes=left), until)
            if response.status_code == 404 and pages == 0:
                _check_absent(response, where)
                return None
            self._expect(response, where, 200)
            left -= len(response.content)
            found.update(dict.fromkeys(tag_page(response, where, self.limits.tags_max_bytes)))
            url = next_page(response, self._url(""), f"{repository.path}/tags/list", where)
        return tuple(found)

    # --- RegistryWriter ----------------------------------------------------------------------------------------------

    def put_manifest(
        self, repository: Repository, tag: Tag, manifest: Manifest, confirm: Callable[[], None] | None = None
    ) -> None:
        """See RegistryWriter. A registry with immutable tags that holds this very digest counts as written.

        Where the 201 names no digest, the tag is read back.
        """
        where = self._where(repository, tag)
        try:
            response = self._run(self._put_call(repository, tag, manifest)._replace(confirm=confirm))
        except RefusedLater as error:
            with suppress(Terminal, Transient):  # what cannot be read leaves it open
                if _may_be_immutable(error.response) and self.resolve(repository, tag) == manifest.digest:
                    return
            raise
        if _may_be_immutable(response):
            there = self.resolve(repository, tag)
            if there == manifest.digest:
                return
            if there is None:  # of a request that was delivered twice, the answer to the second
                raise Unavailable(f"{where}: refused as a tag that exists, which does not show yet")
            if _IMMUTABLE.search(response.content):
                raise TagFixed(
                    f"{where}: refused ({response.status_code}): expected to put {manifest.digest}, it has {there}, "
                    "and the registry moves no tag here; let the repository's tags be moved"
                )
        self._expect(response, where, 200, 201)
        stored = announced_digest(response, where)
        if stored is None:
            stored = self.resolve(repository, tag)
            if stored is None:
                raise Unavailable(f"{where}: stored, but the registry names no digest and does not show the tag yet")
        if stored != manifest.digest:
            raise IntegrityError(f"{where}: sent {manifest.digest}, the registry says it stored {stored}")

    def put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None = None,
    ) -> frozenset[Tag] | None:
        """See RegistryWriter. The first answer to such a request tells whether this host is asked again."""
        if self._several is None:
            with self._learning:
                if self._several is None:
                    confirmed = self._put_tags(repository, tags, manifest, confirm)
                    self._several = bool(confirmed)
                    return confirmed
        return self._put_tags(repository, tags, manifest, confirm) if self._several else None

    def _put_tags(
        self,
        repository: Repository,
        tags: Sequence[Tag],
        manifest: Manifest,
        confirm: Callable[[], None] | None,
    ) -> frozenset[Tag]:
        call = self._put_call(repository, manifest.digest, manifest)._replace(confirm=confirm)
        response = self._run(call._replace(url=f"{call.url}?{urlencode([('tag', tag) for tag in tags])}"))
        if response.status_code in _NOT_SEVERAL:
            return frozenset()
        self._expect(response, call.where, 200, 201)
        stored = announced_digest(response, call.where)
        if stored is not None and stored != manifest.digest:
            raise IntegrityError(f"{call.where}: sent {manifest.digest}, the registry says it stored {stored}")
        confirmed = {text.strip() for text in response.headers.get("OCI-Tag", "").split(",")}
        return frozenset(tag for tag in tags if tag in confirmed)

    def untag(self, repository: Repository, tag: Tag, confirm: Callable[[], None] | None = None) -> bool:
        """See TagRemover. Sent once."""
        call = self._manifest_call("DELETE", repository, tag)._replace(confirm=confirm, max_bytes=64 * 1024)
        response = self._run(call)
        if response.status_code in {400, 405, 501}:
            raise Unsupported(f"{call.where}: DELETE of a tag answered {response.status_code}; it stays")
        if response.status_code != 404:
            self._expect(response, call.where, 200, 202, 204)
        return response.status_code != 404

    # --- for `ameide doctor` and oras' helpers -----------------------------------------------------------------------

    def check(self) -> str:
        """One line about what answers at `/v2/`. Raises what any call raises; Unsupported if it is no registry."""
        where = f"{self.hostname}/v2/"
        response = self._run(Call("GET", self._url(""), where, {}, max_bytes=64 * 1024))
        if response.status_code == 404:
            raise Unsupported(f"{where}: answered 404; this host is no OCI registry")
        self._expect(response, where, 200)
        return f"{self.hostname}: OCI distribution API, {self._authorizer.scheme or 'no'} authentication"

    def token_grants(self, repository: Repository) -> tuple[Grant, ...] | None:
        """What the token says it grants that the last deletion, or question for one, was sent with.

        It was asked for all there is (pull, push, delete). None where there was none, or it does not say.
        """
        return self._authorizer.grants(Scope(repository.path, _ALL_ACTIONS))

    def do_request(  # noqa: PLR0917  # the signature is oras'
        self,
        url: str,
        method: str = "GET",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> requests.Response:
        """What oras' own helpers call: same signature, our authentication, bounds and retries.

        `data` is bytes, so that it can be sent again. A good answer has at most `Limits.manifest_max_bytes` unless it
        is streamed. Unlike oras, it raises the error families after the last try instead of returning a 429 or 5xx.
        """
        if json is not None:
            data, headers = jsonlib.dumps(json).encode(), {"Content-Type": "application/json", **(headers or {})}
        if data is not None and not isinstance(data, bytes):
            raise TypeError(f"do_request: data is bytes, got {type(data).__name__}")
        parts = urlsplit(url)
        if self.prefix == "https" and parts.scheme != "https":
            raise Terminal(f"{parts.hostname}{parts.path}: a registry on https led to {parts.scheme}; nothing was sent")
        where = f"{parts.hostname}{parts.path}"
        return self._run(
            Call(method.upper(), url, where, dict(headers or {}), data, self.limits.manifest_max_bytes, stream)
        )

    def close(self) -> None:
        """Close the pooled connections."""
        self._transport.close()
        self.session.close()

    # --- how a call is made ------------------------------------------------------------------------------------------

    def _run(self, call: Call, until: float | None = None) -> requests.Response:
        deadline = self._clock.monotonic_s() + self.limits.call_timeout_s if until is None else until
        scope = self._scope(call)
        owner = scope.repository.partition("/")[0] if scope else ""
        return self._retrying.run(
            call, owner, lambda attempt: self._authorised(call, scope, attempt, deadline), until=deadline
        )

    def _authorised(self, call: Call, scope: Scope | None, attempt: Attempt, until: float) -> requests.Response:
        """Send once; where the registry asks for another login or scope, once more with a fresh one."""
        sent = self._authorizer.header(scope, until) if scope else None
        response = self._counted(call, sent, attempt, until)
        if scope and response.status_code in {401, 403} and Origin.of(response.url) == self._transport.origin:
            asked = response.headers.get("WWW-Authenticate", "")
            if response.status_code == 401 or _wrong_scope(asked):
                fresh = self._authorizer.renewed(scope, asked, sent, until)
                if fresh is not None:
                    return self._counted(call, fresh, attempt, until)
        return response

    def _counted(self, call: Call, authorization: str | None, attempt: Attempt, until: float) -> requests.Response:
        if call.confirm is not None:
            call.confirm()
        attempt.sent = True
        status = "none"
        try:
            response = self._transport.send(call, authorization, until)
            status = f"{response.status_code // 100}xx"
        finally:
            if self._metrics is not None:
                self._metrics.count("registry_requests", host=str(self.hostname), method=call.method, status=status)
        return response

    def _count_retry(self, reason: str) -> None:
        if self._metrics is not None:
            self._metrics.count("registry_retries", host=str(self.hostname), reason=reason)

    def _scope(self, call: Call) -> Scope | None:
        """Our own scope for a call, by its path and method; None for another host, which is told nothing."""
        if Origin.of(call.url) != self._transport.origin:
            return None
        found = _REPOSITORY.match(urlsplit(call.url).path)
        if not found:
            return Scope("", "")
        if call.method == "DELETE":  # distribution grants `delete` apart from `push` (token.md)
            return Scope(found[1], _ALL_ACTIONS)
        return Scope(found[1], "pull" if call.method in _READS else "pull,push")

    def _manifest_call(self, method: str, repository: Repository, reference: Tag | Digest) -> Call:
        if repository.host != self.hostname:
            raise ConfigError(f"{repository}: this client is for {self.hostname}; route by the repository's host")
        url = self._url(f"{repository.path}/manifests/{reference}")
        return Call(method, url, self._where(repository, reference), _ACCEPT, max_bytes=self.limits.manifest_max_bytes)

    def _put_call(self, repository: Repository, reference: Tag | Digest, manifest: Manifest) -> Call:
        where = self._where(repository, reference)
        if manifest.media_type not in MANIFEST_MEDIA_TYPES:
            raise Unsupported(f"{where}: {manifest.media_type} is not a manifest type this program writes")
        if not manifest.digest.matches(manifest.raw):
            raise IntegrityError(f"{where}: the manifest's bytes are not of {manifest.digest}; nothing was sent")
        if len(manifest.raw) > self.limits.manifest_max_bytes:
            raise Terminal(f"{where}: the manifest has {len(manifest.raw)} bytes; nothing was sent")
        return self._manifest_call("PUT", repository, reference)._replace(
            headers={"Content-Type": manifest.media_type}, body=manifest.raw, max_bytes=64 * 1024
        )

    def _digest_by_get(self, repository: Repository, tag: Tag) -> Digest | None:
        found = self.manifest(repository, tag)
        return found.digest if found else None

    def _expect(self, response: requests.Response, where: str, *statuses: int) -> None:
        if response.status_code not in statuses:
            raise self._refusal(response, where)

    def _refusal(self, response: requests.Response, where: str) -> ReconcilerError:
        return refusal(response, where, now=self._clock.now(), cooldown_s=self.limits.cooldown_s)

    def _check_token(self, response: requests.Response, where: str) -> None:
        self._expect(response, where, 200)

    def _url(self, path: str) -> str:
        return f"{self.prefix}://{self.hostname}/v2/{path}"

    @staticmethod
    def _where(repository: Repository, reference: Tag | Digest) -> str:
        return f"{repository}{'@' if isinstance(reference, Digest) else ':'}{reference}"


class _Calls:
    """The client as `registry_artifacts` uses it."""

    def __init__(self, client: OrasRegistry) -> None:
        self.limits = client.limits
        self.run = client._run
        self.expect = client._expect
        self.url = client._url
        self.put_call = client._put_call
        self.manifest = client.manifest
        self.put_manifest = client.put_manifest


def _check_absent(response: requests.Response, where: str) -> None:
    """Pass, if the registry itself says so: a 404 after a redirect may be anybody's. Raises Unavailable."""
    if response.history:
        raise Unavailable(f"{where}: 404 after a redirect to {shown_url(response.url)}, which proves nothing")


def _wrong_scope(header: str) -> bool:
    """Whether a 403 asks for another token rather than refusing us. Source: RFC 6750 §3.1."""
    return any(c.scheme == "bearer" and c.params.get("error") == "insufficient_scope" for c in challenges(header))


def _may_be_immutable(response: requests.Response) -> bool:
    """Whether a PUT was refused because the tag may not be written again (ECR: even with the same digest)."""
    if response.status_code in {400, 403}:
        return _IMMUTABLE.search(response.content) is not None
    return response.status_code in {409, 412}


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: object) -> NoReturn:
        raise Unsupported(f"oras' {name} is not sound here (see the module's head); use the registry port")

    return refused


for _name in _REFUSED:
    setattr(OrasRegistry, _name, _refuse(_name))
