"""The registry and its token server, over the world's tags: mutable or immutable tags, referrers API or tag schema.

Source: distribution-spec v1.1.1; distribution's token authentication (docs/spec/auth/token.md).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Final
from urllib.parse import parse_qs, urlsplit

from state.errors import InvalidValue
from state.oci import OCI_INDEX, Digest, Manifest, Repository, Tag
from tests.fixtures.registry_stub import Reply, Seen, error
from tests.simulation.content import HOST, RELEASES
from tests.simulation.faults import GET, SEND, Fault
from tests.simulation.ports import Steps
from tests.simulation.wire.network import Server
from tests.simulation.world import Several

AUTH_HOST: Final = "auth.example"
USER, PASSWORD = "puller", "hunter2-registry"
TOKEN_LIFE_S: Final = 300
_PAGE: Final = 3
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PATH: Final = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs|tags|referrers)/(?P<rest>.+|uploads/.*)")
_HTML: Final = b"<html>502</html>"
_CHALLENGE: Final = f'Bearer realm="https://{AUTH_HOST}/token",service="{HOST}"'


class TokenServer(Server):
    """Gives tokens for one scope each."""

    def __init__(self, steps: Steps) -> None:
        self._world = steps.world

    def answer(self, seen: Seen) -> Reply:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if seen.headers.get("authorization") != expected:
            return error(401, "UNAUTHORIZED", "who are you?")
        scope = parse_qs(seen.query).get("scope", [""])[0]
        tokens = self._world.registry.tokens
        token = f"hunter2-token-{len(tokens)}"
        tokens[token] = scope, self._world.time.monotonic + TOKEN_LIFE_S
        return Reply(
            200, {"Content-Type": "application/json"}, json.dumps({"token": token, "expires_in": 300}).encode()
        )


class RegistryServer(Server):
    """The registry, as one process reaches it: the checker is told who made a tag."""

    def __init__(self, steps: Steps, process: str, staleness: float) -> None:
        self._steps, self._process, self._staleness = steps, process, staleness
        self._world, self._check = steps.world, steps.check
        self._registry = steps.world.registry

    # --- faults

    def faults(self, seen: Seen) -> tuple[Fault, ...]:
        if seen.method not in {"GET", "HEAD"}:
            return (*SEND, *[Fault.PARTWAY] * 12) if "tag=" in seen.query else SEND
        if "/manifests/" in seen.path:
            # A 404 for a single tag would be a lie that nobody can see through; a whole repository is hidden instead.
            return (*GET, Fault.GARBLED) if seen.method == "GET" else GET
        return (*GET, Fault.MISSING)

    def altered(self, seen: Seen, reply: Reply | None, chance: Random) -> Reply:
        """Other bytes under the digest that was asked for, or announced for a tag; or some of several tags."""
        if reply is None:
            return self._partway(seen, chance)
        if reply.status != 200:
            return reply
        at = Repository(f"{HOST}/{_parts(seen)[0]}")
        others = [m.raw for (where, _), m in self._registry.manifests.items() if where == at and m.raw != reply.body]
        wrong = chance.choice((*others, reply.body[:-1], reply.body + b"\n", b"", _HTML))
        return Reply(200, reply.headers, wrong)

    # --- routes

    def answer(self, seen: Seen) -> Reply:
        name, kind, rest = _parts(seen)
        if (refused := self._refused(seen, name)) is not None:
            return refused
        if not name:
            return Reply(200, {"Content-Type": "application/json"}, b"{}")
        at = Repository(f"{HOST}/{name}")
        if at in self._registry.hidden:
            if seen.method in {"GET", "HEAD"}:
                return error(404, "NAME_UNKNOWN", "repository name not known to registry")
            return error(403, "DENIED", "requested access to the resource is denied")
        match seen.method, kind:
            case ("GET" | "HEAD", "manifests"):
                return self._manifest(at, rest, seen)
            case ("PUT", "manifests"):
                return self._put(at, rest, seen)
            case ("GET", "tags"):
                return self._tags(at, seen)
            case ("GET", "referrers") if self._registry.referrers_api:
                return self._referrers(at, rest)
            case ("GET" | "HEAD", "blobs"):
                raw = self._registry.blobs.get((at, Digest(rest)))
                return error(404, "BLOB_UNKNOWN") if raw is None else Reply(200, {}, raw)
            case ("POST", "blobs"):
                return Reply(202, {"Location": f"/v2/{name}/blobs/uploads/1"})
            case ("PUT", "blobs"):
                digest = Digest.of(seen.body)
                if parse_qs(seen.query)["digest"] != [digest]:
                    return error(400, "DIGEST_INVALID")
                self._registry.blobs[at, digest] = seen.body
                return Reply(201, {"Docker-Content-Digest": digest})
            case _:
                return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found")

    def _refused(self, seen: Seen, name: str) -> Reply | None:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        scope, until = self._registry.tokens.get(token, ("", 0.0))
        wanted = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}.get(seen.method, "push")
        granted = scope.rpartition(":")[2].split(",")
        fits = scope.startswith(f"repository:{name}:") and wanted in granted
        if until > self._world.time.monotonic and (fits or not name):
            return None
        return error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=_CHALLENGE)

    def _manifest(self, at: Repository, reference: str, seen: Seen) -> Reply:
        if seen.method == "HEAD" and not self._registry.heads:
            return error(405, "UNSUPPORTED")
        digest = (
            Digest(reference)
            if ":" in reference
            else self._registry.shown(at, Tag(reference), self._world.time.monotonic)
        )
        found = self._registry.manifests.get((at, digest)) if digest is not None else None
        if found is None or found.media_type not in seen.headers.get("accept", ""):
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return Reply(200, {"Content-Type": found.media_type, "Docker-Content-Digest": found.digest}, found.raw)

    def _put(self, at: Repository, reference: str, seen: Seen) -> Reply:
        manifest = Manifest.of(seen.headers["content-type"], seen.body)
        asked = parse_qs(seen.query).get("tag", [])
        tags = asked if ":" in reference else [reference]
        # Where release sets go tags are mutable: an accepted head gets another one.
        if (
            self._registry.immutable
            and at != RELEASES
            and any(_COMMIT.fullmatch(t) and self._registry.now(at, t) is not None for t in tags)
        ):
            return error(409, "TAG_INVALID", "the tag is immutable and exists")
        made, confirmed = self._several(tags) if asked else (tags, [])
        self._land(at, made, manifest)
        headers = {"Docker-Content-Digest": str(manifest.digest)}
        if confirmed:
            headers["OCI-Tag"] = ", ".join(confirmed)
        subject = _subject(manifest)
        if subject and self._registry.referrers_api:
            headers["OCI-Subject"] = subject
        return Reply(201, headers)

    def _several(self, tags: list[str]) -> tuple[list[str], list[str]]:
        some = [tag for tag in tags if self._world.rng.random() < 0.5] or tags[:1]
        match self._registry.several:
            case Several.UNKNOWN:
                return [], []
            case Several.ALL:
                return tags, tags
            case Several.SOME:
                return some, some
            case Several.SILENT:
                return tags, some

    def _partway(self, seen: Seen, chance: Random) -> Reply:
        """Some of several tags are made, and then the request is refused."""
        name, _, _ = _parts(seen)
        at = Repository(f"{HOST}/{name}")
        tags = parse_qs(seen.query)["tag"]
        if self._registry.several is not Several.UNKNOWN and at not in self._registry.hidden:
            manifest = Manifest.of(seen.headers["content-type"], seen.body)
            self._land(at, chance.sample(tags, chance.randrange(len(tags))), manifest)
        if chance.random() < 0.2:
            return error(500, "UNKNOWN", "one of the tags")
        if chance.random() < 0.5:
            self._registry.hidden.add(at)  # the permission is gone, for what comes next as well
        return error(403, "DENIED", "one of the tags")

    def _land(self, at: Repository, tags: Sequence[str], manifest: Manifest) -> None:
        registry, now = self._registry, self._world.time.monotonic
        registry.manifests[at, manifest.digest] = manifest
        for tag in tags:
            self._check.about_to_land(self._process, at, Tag(tag), manifest)
            if registry.now(at, tag) is None and not self._world.resting and self._world.rng.random() < self._staleness:
                registry.stale_until[at, tag] = now + self._world.rng.uniform(0, 80)
            registry.put(at, tag, manifest)
        self._check.groups += len(tags) > 1

    def _tags(self, at: Repository, seen: Seen) -> Reply:
        query = parse_qs(seen.query)
        tags = sorted(self._registry.any_tag(at))
        after = query.get("last", [""])[0]
        page = [tag for tag in tags if tag > after][:_PAGE]
        if not tags:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        more = bool(page) and page[-1] != tags[-1]
        link = {"Link": f'</v2/{at.path}/tags/list?last={page[-1]}&n=1000>; rel="next"'} if more else {}
        raw = json.dumps({"name": at.path, "tags": page}).encode()
        return Reply(200, {"Content-Type": "application/json", **link}, raw)

    def _referrers(self, at: Repository, subject: str) -> Reply:
        rows = []
        for (where, digest), manifest in sorted(self._registry.manifests.items()):
            if where == at and _subject(manifest) == subject:
                body = json.loads(manifest.raw)
                kind = body.get("artifactType") or body["config"]["mediaType"]
                rows.append(
                    {
                        "mediaType": manifest.media_type,
                        "digest": digest,
                        "size": len(manifest.raw),
                        "artifactType": kind,
                        "annotations": body.get("annotations", {}),
                    }
                )
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}).encode()
        return Reply(200, {"Content-Type": OCI_INDEX}, raw)


def _parts(seen: Seen) -> tuple[str, str, str]:
    found = _PATH.fullmatch(urlsplit(seen.path).path)
    return ("", "", "") if found is None else (found["name"], found["kind"], found["rest"])


def _subject(manifest: Manifest) -> str:
    try:
        subject = json.loads(manifest.raw).get("subject")
        return str(Digest(subject["digest"])) if subject else ""
    except (ValueError, InvalidValue):
        return ""
