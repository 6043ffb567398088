"""Image layouts that a builder wrote: nothing of them is believed that does not have its digest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.oci_layout import image_index, read_layout
from state.errors import IntegrityError, Terminal
from state.oci import OCI_INDEX, OCI_MANIFEST, Digest

PLATFORM = "linux/arm64"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def stored(folder: Path, raw: bytes, media_type: str) -> dict[str, Any]:
    digest = Digest.of(raw)
    (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / "sha256" / digest.hex).write_bytes(raw)
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}


def layout(folder: Path, architecture: str = "arm64", layer: bytes = b"layer", **changed: Any) -> Path:
    config = stored(folder, json.dumps({"os": "linux", "architecture": architecture}).encode(), CONFIG)
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [stored(folder, layer, LAYER)]}
    row = stored(folder, json.dumps({**body, **changed}).encode(), OCI_MANIFEST)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    return folder


def test_an_image_is_read_with_the_files_of_its_blobs(tmp_path: Path) -> None:
    made = read_layout(layout(tmp_path / "a"), PLATFORM)
    assert {Digest.of(file.read_bytes()) for _, file in made.blobs} == {one.digest for one, _ in made.blobs}
    assert len(made.blobs) == 2
    assert made.manifest.digest.matches(made.manifest.raw)


def test_the_index_of_platforms_is_a_function_of_them(tmp_path: Path) -> None:
    arm = read_layout(layout(tmp_path / "a"), PLATFORM)
    amd = read_layout(layout(tmp_path / "b", "amd64"), "linux/amd64")
    index = image_index((amd, arm._replace(platform="linux/arm64/v8")))
    assert index == image_index((amd, arm._replace(platform="linux/arm64/v8")))
    said = json.loads(index.raw)
    assert index.media_type == said["mediaType"] == OCI_INDEX
    assert [row["digest"] for row in said["manifests"]] == [amd.manifest.digest, arm.manifest.digest]
    assert said["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}


def _other_bytes(folder: Path) -> None:
    blob = folder / "blobs" / "sha256" / Digest.of(b"layer").hex
    blob.write_bytes(b"LAYER")


def _longer(folder: Path) -> None:
    with (folder / "blobs" / "sha256" / Digest.of(b"layer").hex).open("ab") as file:
        file.write(b"more")


def _manifest_changed(folder: Path) -> None:
    digest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
    with (folder / "blobs" / "sha256" / Digest(digest).hex).open("ab") as file:
        file.write(b" ")


@pytest.mark.parametrize("spoil", [_other_bytes, _longer, _manifest_changed])
def test_other_bytes_than_their_names_are_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(layout(tmp_path / "a"))
    with pytest.raises(IntegrityError):
        read_layout(tmp_path / "a", PLATFORM)


def _link(folder: Path) -> None:
    blob = folder / "blobs" / "sha256" / Digest.of(b"layer").hex
    blob.rename(folder / "elsewhere")
    blob.symlink_to(folder / "elsewhere")


def _pipe(folder: Path) -> None:
    blob = folder / "blobs" / "sha256" / Digest.of(b"layer").hex
    blob.unlink()
    os.mkfifo(blob)


def _gone(folder: Path) -> None:
    (folder / "blobs" / "sha256" / Digest.of(b"layer").hex).unlink()


def _two(folder: Path) -> None:
    said = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**said, "manifests": said["manifests"] * 2}))


def _index_of(text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "index.json").write_text(text)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _link, _pipe, _gone, _two, _index_of(""), _index_of("[]"), _index_of("{}"), _index_of("{" * 5000),
        _index_of('{"manifests":[3]}'), _index_of('{"manifests":[{"digest":"sha256:x"}]}'),
        _index_of(" " * (5 * 1024 * 1024)), lambda folder: (folder / "index.json").unlink(),
    ],
)  # fmt: skip
def test_what_is_no_whole_layout_of_one_image_is_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(layout(tmp_path / "a"))
    with pytest.raises(Terminal):
        read_layout(tmp_path / "a", PLATFORM)


FIVE = {"digest": Digest.of(b"layer"), "size": 5}
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": [{**FIVE, "mediaType": FOREIGN}]},
        {"layers": [{**FIVE, "mediaType": LAYER, "size": 1 << 50}]},
        {"layers": [{**FIVE, "mediaType": LAYER, "size": -1}]},
        {"config": {**FIVE, "mediaType": "text/plain"}},
        {"layers": "many"},
    ],
)
def test_manifests_of_another_kind_are_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(Terminal):
        read_layout(layout(tmp_path / "a", **changed), PLATFORM)


def test_an_image_of_another_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Terminal, match="expected an image of linux/arm64, got one of linux/s390x"):
        read_layout(layout(tmp_path / "a", "s390x"), PLATFORM)
