"""What the demo's CI does: build a small multi-platform image and push it by the OCI distribution-spec."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import urljoin

import requests

from state.errors import Unavailable
from state.oci import OCI_INDEX, OCI_MANIFEST, Digest, Manifest, Repository, Tag

PLATFORMS: Final = (("linux", "amd64"), ("linux", "arm64"))
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_TIMEOUT_S: Final = (5, 30)


def build_and_push(repository: Repository, tag: Tag, source_revision: str) -> Digest:
    """Push an image index of two platforms under `tag`; its content is a function of name and source revision."""
    with requests.Session() as session:
        session.trust_env = False
        base = f"http://{repository.host}/v2/{repository.path}/"
        rows = []
        for os_name, architecture in PLATFORMS:
            manifest = _platform(session, base, f"{repository.path} {source_revision}", (os_name, architecture))
            _put(session, base, manifest.digest, manifest)
            rows.append({**_descriptor(manifest), "platform": {"architecture": architecture, "os": os_name}})
        annotations = {"org.opencontainers.image.revision": source_revision}
        index = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows, "annotations": annotations})
        made = Manifest.of(OCI_INDEX, index)
        _put(session, base, tag, made)
        return made.digest


def _platform(session: requests.Session, base: str, content: str, platform: tuple[str, str]) -> Manifest:
    os_name, architecture = platform
    layer = f"{content} for {os_name}/{architecture}\n".encode()
    config = _json(
        {
            "architecture": architecture,
            "config": {},
            "os": os_name,
            "rootfs": {"diff_ids": [Digest.of(layer)], "type": "layers"},
        }
    )
    blobs = [_upload(session, base, media_type, raw) for media_type, raw in ((_CONFIG, config), (_LAYER, layer))]
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[0], "layers": blobs[1:]}
    return Manifest.of(OCI_MANIFEST, _json(document))


def _upload(session: requests.Session, base: str, media_type: str, raw: bytes) -> dict[str, object]:
    digest = Digest.of(raw)
    started = _expect(session.post(urljoin(base, "blobs/uploads/"), timeout=_TIMEOUT_S), 202)
    location = urljoin(base, started.headers["Location"])
    joined = "&" if "?" in location else "?"
    headers = {"Content-Type": "application/octet-stream"}
    _expect(session.put(f"{location}{joined}digest={digest}", data=raw, headers=headers, timeout=_TIMEOUT_S), 201)
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}


def _put(session: requests.Session, base: str, reference: str, manifest: Manifest) -> None:
    headers = {"Content-Type": manifest.media_type}
    url = urljoin(base, f"manifests/{reference}")
    _expect(session.put(url, data=manifest.raw, headers=headers, timeout=_TIMEOUT_S), 201)


def _expect(answer: requests.Response, status: int) -> requests.Response:
    if answer.status_code != status:
        raise Unavailable(f"demo CI: {answer.request.method} {answer.url}: expected {status}, got {answer.status_code}")
    return answer


def _descriptor(manifest: Manifest) -> dict[str, object]:
    return {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.raw)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
