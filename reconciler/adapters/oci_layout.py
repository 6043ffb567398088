"""An OCI image layout that a builder wrote: one image of one platform, every byte of it checked before it is used.

Source: OCI image-spec v1.1.1, image-layout.md, manifest.md, config.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from reconciler.evidence.finding import layers_of
from reconciler.evidence.found import Refused
from reconciler.producing.dockerfile import split_platform
from state.errors import IntegrityError, InvalidValue, Terminal
from state.oci import MANIFEST_MAX_BYTES, OCI_INDEX, OCI_MANIFEST, Descriptor, Digest, Manifest
from state.statement import parse_object

BLOBS_MAX: Final = 500
IMAGE_MAX_BYTES: Final = 16 * 1024 * 1024 * 1024
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024


class PlatformImage(NamedTuple):
    """An image of one platform. `blobs` are its configuration and layers, each with the file that holds it."""

    platform: str
    manifest: Manifest
    blobs: tuple[tuple[Descriptor, Path], ...]


def read_layout(folder: Path, platform: str) -> PlatformImage:
    """The one image in `folder`, with every blob hashed.

    Raises IntegrityError where bytes are not those that name them, Terminal where the layout is not one image of
    `platform` in OCI's own types, or is too large.
    """
    where = str(folder)
    index = _object(_read(folder / "index.json", MANIFEST_MAX_BYTES), f"{where}/index.json")
    rows = index.get("manifests")
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], dict):
        raise Terminal(f"{where}: expected an index of exactly one image")
    wanted = _descriptor(rows[0], where)
    if wanted.media_type != OCI_MANIFEST:
        raise Terminal(f"{where}: expected an image ({OCI_MANIFEST}), got {wanted.media_type[:100]}")
    manifest = Manifest.checked(OCI_MANIFEST, _read(_blob(folder, wanted), MANIFEST_MAX_BYTES), wanted.digest, where)
    try:
        config, *layers = layers_of(manifest)
    except Refused as refused:
        raise Terminal(f"{where}: {refused.text}") from refused
    parts = (config, *layers)
    if config.media_type != _CONFIG or not all(one.media_type.startswith(_LAYER) for one in layers):
        raise Terminal(f"{where}: expected a configuration and layers in OCI's own types")
    if len(parts) > BLOBS_MAX or any(one.size < 0 for one in parts) or sum(p.size for p in parts) > IMAGE_MAX_BYTES:
        raise Terminal(f"{where}: expected at most {BLOBS_MAX} blobs of {IMAGE_MAX_BYTES} bytes together")
    blobs = {one.digest: (one, _blob(folder, one)) for one in parts}
    for one, file in blobs.values():
        _check(one, file)
    said = _object(_read(_blob(folder, config), _CONFIG_MAX_BYTES), f"{where}: configuration")
    _check_platform(said, platform, where)
    return PlatformImage(platform, manifest, tuple(blobs.values()))


def image_index(images: tuple[PlatformImage, ...]) -> Manifest:
    """The index of several platforms, in their order: equal images give equal bytes."""
    rows = []
    for one in images:
        system, architecture, variant = split_platform(one.platform)
        platform = {"architecture": architecture, "os": system} | ({"variant": variant} if variant else {})
        made = one.manifest
        row = {"mediaType": made.media_type, "digest": made.digest, "size": len(made.raw), "platform": platform}
        rows.append(row)
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
    return Manifest.of(OCI_INDEX, json.dumps(body, separators=(",", ":")).encode())


def _check_platform(config: Mapping[str, Any], platform: str, where: str) -> None:
    system, architecture, _ = split_platform(platform)
    got = config.get("os"), config.get("architecture")
    if got != (system, architecture):
        raise Terminal(f"{where}: expected an image of {platform}, got one of {got[0]}/{got[1]}")


def _check(wanted: Descriptor, file: Path) -> None:
    hashed, size = hashlib.sha256(), 0
    with _open(file) as handle:
        while chunk := os.read(handle.fileno(), _CHUNK_BYTES):
            hashed.update(chunk)
            size += len(chunk)
            if size > wanted.size:
                break
    got = Digest(f"sha256:{hashed.hexdigest()}")
    if size != wanted.size or got != wanted.digest:
        raise IntegrityError(f"{file}: expected {wanted.size} bytes of {wanted.digest}, got other bytes; not used")


def _read(file: Path, max_bytes: int) -> bytes:
    with _open(file) as handle:
        raw = handle.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise Terminal(f"{file}: expected at most {max_bytes} bytes, got more")
    return raw


def _open(file: Path) -> BinaryIO:
    """A regular file, no link followed: what a build step left is not to be trusted. Raises Terminal."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Terminal(f"{file}: cannot be read: {error.strerror}; the builder's layout is not whole") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Terminal(f"{file}: expected a regular file, got another kind")
    return os.fdopen(handle, "rb")


def _blob(folder: Path, wanted: Descriptor) -> Path:
    return folder / "blobs" / "sha256" / wanted.digest.hex


def _object(raw: bytes, what: str) -> Mapping[str, Any]:
    try:
        return parse_object(raw, what, MANIFEST_MAX_BYTES)
    except InvalidValue as error:
        raise Terminal(str(error)) from error


def _descriptor(row: Mapping[str, Any], where: str) -> Descriptor:
    try:
        return Descriptor(str(row["mediaType"]), Digest(row["digest"]), int(row["size"]))
    except (KeyError, ValueError, TypeError) as error:
        raise Terminal(f"{where}: an index without a usable descriptor") from error
