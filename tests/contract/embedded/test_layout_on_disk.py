"""What lies on disk is an OCI image layout per repository (image-spec v1.1.1), read back after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.registry.storage import Storage
from state.oci import OCI_INDEX, OCI_MANIFEST
from tests.fixtures.embedded import EMPTY_CONFIG, EmbeddedRegistry, ServeRegistry, descriptor, image, index, sha256

REF_NAME = "org.opencontainers.image.ref.name"


def check_layout(path: Path) -> dict[str | None, set[str]]:
    """Hold a directory to image-layout.md; the digests behind each ref name, None for untagged ones."""
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    body = json.loads((path / "index.json").read_bytes())
    assert (body["schemaVersion"], body["mediaType"]) == (2, OCI_INDEX)
    for blob in (path / "blobs" / "sha256").iterdir():
        assert sha256(blob.read_bytes()) == f"sha256:{blob.name}"
    names: dict[str | None, set[str]] = {}
    for row in body["manifests"]:
        raw = (path / "blobs" / row["digest"].replace(":", "/")).read_bytes()
        assert row["size"] == len(raw)
        assert row["mediaType"] == json.loads(raw)["mediaType"]
        names.setdefault(row.get("annotations", {}).get(REF_NAME), set()).add(row["digest"])
    assert all(len(digests) == 1 for name, digests in names.items() if name is not None)
    return names


def test_each_repository_is_a_layout_with_its_tags(embedded_registry: EmbeddedRegistry) -> None:
    raw = embedded_registry.push_image("org/app", "main", b"layer")
    embedded_registry.push("org/app", "f" * 40, raw)
    untagged = image(annotations={"un": "tagged"})
    embedded_registry.push("org/app", sha256(untagged), untagged)
    names = check_layout(embedded_registry.root / "org/app")
    assert names == {"main": {sha256(raw)}, "f" * 40: {sha256(raw)}, None: {sha256(untagged)}}
    embedded_registry.call("DELETE", "/v2/org/app/manifests/main")
    embedded_registry.call("DELETE", f"/v2/org/app/manifests/{'f' * 40}")
    assert check_layout(embedded_registry.root / "org/app") == {None: {sha256(raw), sha256(untagged)}}


def test_names_that_look_like_a_layouts_entries_do_not_collide(embedded_registry: EmbeddedRegistry) -> None:
    names = [
        "a",
        "a/blobs",
        "a/blobs/sha256",
        "a/index.json",
        "a/oci-layout",
        "a/b",
        "blobs",
        "manifests/blobs/uploads",
    ]
    pushed = {name: embedded_registry.push_image(name, "v1", annotations={"name": name}) for name in names}
    for name, raw in pushed.items():
        assert embedded_registry.call("GET", f"/v2/{name}/manifests/v1").content == raw
        assert embedded_registry.call("GET", f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["v1"]}
    for layout in [path.parent for path in embedded_registry.root.rglob("oci-layout") if path.is_file()]:
        check_layout(layout)


def test_everything_is_there_after_a_restart(serve_registry: ServeRegistry) -> None:
    first = serve_registry()
    raw = first.push_image("org/app", "main", b"layer")
    first.push("org/app", "release", raw)
    referrer = image(subject=descriptor(raw, OCI_MANIFEST))
    first.push("org/app", sha256(referrer), referrer)
    first.call("DELETE", "/v2/org/app/manifests/release")
    first.stop()
    second = serve_registry(first.root)
    assert second.call("GET", "/v2/org/app/tags/list").json()["tags"] == ["main"]
    assert second.call("GET", "/v2/org/app/manifests/main").content == raw
    assert second.call("GET", f"/v2/org/app/blobs/{sha256(b'layer')}").content == b"layer"
    listed = second.call("GET", f"/v2/org/app/referrers/{sha256(raw)}").json()["manifests"]
    assert [row["digest"] for row in listed] == [sha256(referrer)]
    # A tag that was read from disk can be deleted for good.
    second.call("DELETE", "/v2/org/app/manifests/main")
    second.stop()
    third = serve_registry(first.root)
    assert third.call("GET", "/v2/org/app/tags/list").json()["tags"] == []
    assert third.call("GET", f"/v2/org/app/manifests/{sha256(raw)}").content == raw


def test_a_layout_of_another_program_is_served_and_kept(serve_registry: ServeRegistry, tmp_path: Path) -> None:
    path = tmp_path / "registry/org/app"
    (path / "blobs/sha256").mkdir(parents=True)
    raw = image()
    for blob in (raw, EMPTY_CONFIG):
        (path / "blobs/sha256" / sha256(blob)[7:]).write_bytes(blob)
    rows = [
        {**descriptor(raw, OCI_MANIFEST), "annotations": {REF_NAME: "v1"}, "platform": {"os": "linux"}},
        {**descriptor(raw, OCI_MANIFEST), "annotations": {REF_NAME: "docker.io/no/tag:at-all"}},
    ]
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": rows}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    registry = serve_registry()
    assert registry.call("GET", "/v2/org/app/manifests/v1").content == raw
    registry.push("org/app", "v2", raw)
    kept = json.loads((path / "index.json").read_bytes())["manifests"]
    assert [row for row in kept if row["annotations"][REF_NAME] != "v2"] == rows


def test_an_index_with_platforms_is_stored_with_its_children(embedded_registry: EmbeddedRegistry) -> None:
    children = [image(annotations={"n": str(n)}) for n in range(2)]
    embedded_registry.push_blob("org/app", EMPTY_CONFIG)
    for child in children:
        embedded_registry.push("org/app", sha256(child), child)
    raw = index(*children)
    embedded_registry.push("org/app", "main", raw)
    assert check_layout(embedded_registry.root / "org/app") == {"main": {sha256(raw)}, None: {*map(sha256, children)}}


def test_no_two_names_share_a_directory(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        names = ["a/blobs", "a/blobs/x", "a/index.json", "a", "a/b", "a.b", "a_b", "a__b", "a-b"]
        assert len({storage.directory(name) for name in names}) == len(names)
        assert storage.directory("a/b") == tmp_path / "a/b"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"manifests":[{"digest":"x"}]}', b"[]"])
def test_an_unreadable_index_is_a_500_and_is_not_overwritten(
    embedded_registry: EmbeddedRegistry, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = embedded_registry.root / "org/app"
    path.mkdir(parents=True)
    (path / "oci-layout").write_text("{}")
    (path / "index.json").write_bytes(content)
    assert embedded_registry.call("GET", "/v2/org/app/tags/list").status_code == 500
    assert embedded_registry.push("org/app", "v1", b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX).status_code == 500
    assert (path / "index.json").read_bytes() == content
    assert "not the index of an image layout" in caplog.text
