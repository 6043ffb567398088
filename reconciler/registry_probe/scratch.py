"""The probe's own names in one repository: everything it writes goes through here, is unique, and is removed again.

Nothing foreign can be touched: tags carry the probe's random prefix, and every blob and manifest holds its nonce, so no
digest that is deleted here can be anybody else's (on GHCR deleting a digest takes all its tags).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urljoin

import requests

from reconciler.adapters.registry_errors import said
from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.ports import Clock, Random
from reconciler.registry_probe.measured import Lag, Left
from state.errors import Denied, RateLimited, ReconcilerError, Terminal, Unavailable
from state.oci import DOCKER_MANIFEST, MANIFEST_MEDIA_TYPES, OCI_INDEX, OCI_MANIFEST, Digest, Manifest, Repository, Tag

ACCEPT: Final = ", ".join(MANIFEST_MEDIA_TYPES)
PREFIX: Final = "ameide-probe-"
ARTIFACT_TYPE: Final = "application/vnd.ameide.probe.v1+json"
_POLL_S: Final = 0.2
_TYPES: Final = {
    OCI_MANIFEST: ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"),
    DOCKER_MANIFEST: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


class Scratch:
    """One probe's requests. `sleep` is what it waits with; after `total_s` seconds every request is Unavailable."""

    def __init__(
        self,
        client: OrasRegistry,
        repository: Repository,
        clock: Clock,
        random: Random,
        *,
        sleep: Callable[[float], None],
        total_s: float,
        lag_max_s: float,
    ) -> None:
        self.client = client
        self.repository = repository
        self.prefix = f"{PREFIX}{random.token()}"
        self._clock = clock
        self._sleep = sleep
        self._until = clock.monotonic_s() + total_s
        self._lag_max_s = lag_max_s
        self._tags: dict[Tag, Digest] = {}
        self._manifests: dict[Digest, None] = {}
        self._blobs: dict[Digest, None] = {}
        self._made = 0

    # --- requests

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> requests.Response:
        """One call below the repository, by the client's own session, authentication and retries.

        Raises what the client raises for an answer that says nothing (Unavailable, RateLimited).
        """
        if self._clock.monotonic_s() > self._until:
            raise Unavailable(f"{self.repository}: the probe took longer than it may; try again, or another time")
        url = f"{self.client.prefix}://{self.repository.host}/v2/{self.repository.path}/{path}"
        return self.client.do_request(url, method, data=body, headers=headers)

    def get(self, reference: str, **headers: str) -> requests.Response:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask("GET", f"manifests/{reference}", headers={"Accept": ACCEPT, **named})

    def head(self, reference: str, **headers: str) -> requests.Response:
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask("HEAD", f"manifests/{reference}", headers={"Accept": ACCEPT, **named})

    def reads(self, reference: str, digest: Digest) -> bool:
        """Whether a HEAD shows this very digest."""
        answer = self.head(reference)
        return answer.status_code == 200 and answer.headers.get("Docker-Content-Digest") == digest

    # --- making

    def tag(self, name: str) -> Tag:
        return Tag(f"{self.prefix}-{name}")

    def put(self, reference: str, manifest: Manifest, *, query: str = "", **headers: str) -> requests.Response:
        """PUT a manifest made here under one of our tags or its digest; what it makes is remembered first."""
        self._manifests[manifest.digest] = None
        if not reference.startswith("sha256:"):
            self._tags[Tag(reference)] = manifest.digest
        for name in query.split("&") if query else ():
            self._tags[Tag(name.removeprefix("tag="))] = manifest.digest
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        path = f"manifests/{reference}" + (f"?{query}" if query else "")
        return self.ask("PUT", path, body=manifest.raw, headers={"Content-Type": manifest.media_type, **named})

    def must_put(self, reference: str, manifest: Manifest) -> requests.Response:
        """The same, where nothing can be measured without it. Raises Denied or Terminal if it is refused."""
        return self.needed(self.put(reference, manifest), f"PUT {reference}")

    def image(self, what: str, *, media_type: str = OCI_MANIFEST, size: int = 0, **members: Any) -> Manifest:
        """A unique image manifest, oddly spaced, its blobs pushed; padded to `size` bytes if that is given."""
        config_type, layer_type = _TYPES[media_type]
        self._made += 1
        nonce = f"{self.prefix} {what} {self._made}"
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "comment": nonce, "rootfs": {"type": "layers", "diff_ids": []}}
        ).encode()
        layer = f"layer of {nonce}".encode()
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self._blob(config, config_type),
            "layers": [self._blob(layer, layer_type)],
            **members,
        }
        if size:
            body["annotations"] = {"pad": ""}
            body["annotations"]["pad"] = "x" * (size - len(_odd(body)))
        return Manifest.of(media_type, _odd(body))

    def index(self, *manifests: Manifest, **members: Any) -> Manifest:
        """A unique image index of manifests made here."""
        self._made += 1
        rows = [{"mediaType": m.media_type, "digest": m.digest, "size": len(m.raw), **members} for m in manifests]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
        return Manifest.of(OCI_INDEX, _odd({**body, "annotations": {"probe": f"{self.prefix} {self._made}"}}))

    def _blob(self, raw: bytes, media_type: str) -> dict[str, Any]:
        digest = Digest.of(raw)
        started = self.needed(self.ask("POST", "blobs/uploads/"), "an upload")
        where = urljoin(started.url, started.headers.get("Location", ""))
        self._blobs[digest] = None
        joined = f"{where}{'&' if '?' in where else '?'}digest={digest}"
        sent = self.client.do_request(joined, "PUT", data=raw, headers={"Content-Type": "application/octet-stream"})
        self.needed(sent, f"blob {digest.short}")
        return {"mediaType": media_type, "digest": digest, "size": len(raw)}

    def needed(self, answer: requests.Response, what: str) -> requests.Response:
        """The answer, if it is a success. Raises Denied for 401 and 403, Terminal else."""
        if answer.status_code in {200, 201, 202}:
            return answer
        told = f"{self.repository}: {what} answered {answer.status_code}" + (
            f" ({said(answer)})" if said(answer) else ""
        )
        if answer.status_code in {401, 403}:
            raise Denied(f"{told}; the probe needs a credential that may push here (`--credential-file`)")
        raise Terminal(f"{told}; nothing can be measured without it; some registries want the repository made first")

    # --- waiting

    def lag(self, shows: Callable[[], bool]) -> Lag:
        """Read until it shows, at most for the longest lag that is waited for."""
        began = self._clock.monotonic_s()
        reads = 0
        while True:
            reads += 1
            shown = shows()
            seconds = self._clock.monotonic_s() - began
            if shown or seconds >= self._lag_max_s:
                return Lag(shown, reads, round(seconds, 3))
            self._sleep(_POLL_S)

    # --- removing

    def clean(self, extra_s: float = 60) -> tuple[Left, ...]:
        """Remove everything that was made and say what is still there. Raises nothing of ours: the errors are told."""
        self._until = max(self._until, self._clock.monotonic_s() + extra_s)
        refused: dict[str, str] = {}
        for tag in self._tags:
            refused[tag] = self._delete(f"manifests/{tag}")
        for digest in reversed(self._manifests):
            refused[digest] = self._delete(f"manifests/{digest}")
        # A tag is gone with its manifest where tags cannot be deleted by themselves.
        by_manifest = {t: refused[d] and refused[t] for t, d in self._tags.items()}
        left = [Left("tag", t, refused[t] or "still read") for t in self._tags if self._there(t, by_manifest[t])]
        left += [Left("manifest", d, refused[d] or "still read") for d in self._manifests if self._there(d, refused[d])]
        left += [Left("blob", d, why) for d in self._blobs if (why := self._delete(f"blobs/{d}"))]
        return tuple(left)

    def _delete(self, path: str) -> str:
        """Empty if it is gone now, else why not."""
        try:
            answer = self.ask("DELETE", path)
        except ReconcilerError as error:
            return str(error)
        if answer.status_code in {200, 202, 204, 404}:
            return ""
        return f"DELETE answered {answer.status_code}" + (f" ({said(answer)})" if said(answer) else "")

    def _there(self, reference: str, refused: str) -> bool:
        """Whether it is still to be read; what cannot be asked is taken for there, so that it is told."""

        def gone() -> bool:
            return self.head(reference).status_code == 404

        try:
            return not (gone() if refused else self.lag(gone).shown)
        except ReconcilerError:
            return True


def attempt(run: Callable[[], requests.Response]) -> tuple[int, requests.Response | None]:
    """The status and answer of a request that a registry may choke on; 0 and None for no answer.

    Raises RateLimited: going on would measure the limit and not the registry.
    """
    try:
        answer = run()
    except RateLimited:
        raise
    except (Unavailable, Terminal):
        return 0, None
    return answer.status_code, answer


def _odd(body: dict[str, Any]) -> bytes:
    """JSON such as no encoder would write again, so that a round trip through one would show."""
    return b"{ " + json.dumps(body, indent=1, separators=(" ,", " : ")).encode()[1:] + b" \n"
