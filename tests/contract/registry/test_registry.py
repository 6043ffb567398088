"""The contract of RegistryReader and RegistryWriter, on every real registry."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.adapters.registry_oras import OrasRegistry
from reconciler.adapters.registry_router import Registries
from reconciler.ports import TAGS_PER_PUT
from state.errors import ConfigError, IntegrityError, Terminal, Unsupported
from state.oci import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Digest, Manifest, Repository, Tag
from tests.contract.registry.conftest import Server
from tests.contract.registry.support import TAG, Connect, CountingMetrics, repository
from tests.fixtures.distribution import run_distribution
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.oci_images import push_image
from tools import go_tools

KINDS = {
    OCI_INDEX: {},
    OCI_MANIFEST: {"single": True},
    DOCKER_MANIFEST_LIST: {"docker": True},
    DOCKER_MANIFEST: {"docker": True, "single": True},
}


@pytest.fixture
def repo(registry_server: Server) -> Repository:
    return Repository(f"{registry_server.host}/acme/r{uuid.uuid4().hex[:12]}")


@pytest.fixture
def registry(registry_server: Server, client: Connect) -> OrasRegistry:
    return client(registry_server.host)


@pytest.mark.parametrize("odd_spacing", [False, True])
@pytest.mark.parametrize("media_type", KINDS)
def test_a_retag_keeps_bytes_and_media_type(
    registry: OrasRegistry, repo: Repository, media_type: str, odd_spacing: bool
) -> None:
    pushed = push_image(repo.host, repo.path, "main", odd_spacing=odd_spacing, **KINDS[media_type])
    seen = registry.manifest(repo, Tag("main"))
    assert seen == pushed
    assert seen.media_type == media_type
    registry.put_manifest(repo, TAG, seen)
    assert registry.manifest(repo, TAG) == pushed
    assert registry.manifest(repo, pushed.digest) == pushed
    assert registry.resolve(repo, TAG) == registry.resolve(repo, Tag("main")) == pushed.digest


def test_what_is_not_there_is_none(registry: OrasRegistry, repo: Repository) -> None:
    assert registry.resolve(repo, TAG) is None
    assert registry.tags(repo) is None
    push_image(repo.host, repo.path, "main")
    assert registry.resolve(repo, TAG) is None
    assert registry.manifest(repo, TAG) is None
    assert registry.manifest(repo, Digest.of(b"nothing")) is None


def test_every_tag_is_listed_once(registry: OrasRegistry, repo: Repository) -> None:
    pushed = push_image(repo.host, repo.path, "main")
    names = [Tag(f"t{n}") for n in range(25)]
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda tag: registry.put_manifest(repo, tag, pushed), names))
    listed = registry.tags(repo)
    assert listed is not None
    assert sorted(listed) == sorted([*names, Tag("main")])


def test_of_several_tags_in_one_put_those_confirmed_are_there_and_no_others(
    registry: OrasRegistry, repo: Repository, registry_server: Server
) -> None:
    pushed = push_image(repo.host, repo.path, "main")
    names = [Tag(f"{n:040x}") for n in range(TAGS_PER_PUT)]
    confirmed = registry.put_tags(repo, names, pushed)
    assert set(registry.tags(repo) or ()) == {*confirmed, Tag("main")}
    assert confirmed == (frozenset(names) if isinstance(registry_server, EmbeddedRegistry) else frozenset())


@pytest.mark.distribution3
def test_every_page_of_a_registry_that_pages_is_read(tmp_path: Path, client: Connect) -> None:
    program = str(go_tools.path_of("distribution3"))
    with run_distribution(tmp_path, "tags: {maxtags: 4}\n", program=program) as server:
        repo = repository(server.host)
        pushed = push_image(repo.host, repo.path, "main")
        metrics = CountingMetrics()
        registry = client(server.host, metrics=metrics)
        names = [Tag(f"t{n}") for n in range(8)]
        for tag in names:
            registry.put_manifest(repo, tag, pushed)
        assert sorted(registry.tags(repo) or ()) == sorted([*names, Tag("main")])
        gets = metrics.counted["registry_requests", f"host={server.host}", "method=GET", "status=2xx"]
        assert gets == 3


def test_writing_moves_a_tag_that_exists(registry: OrasRegistry, repo: Repository) -> None:
    push_image(repo.host, repo.path, TAG, content="old")
    new = push_image(repo.host, repo.path, "main", content="new")
    registry.put_manifest(repo, TAG, new)
    assert registry.resolve(repo, TAG) == new.digest


def test_a_manifest_that_is_not_its_digest_is_not_sent(registry: OrasRegistry, repo: Repository) -> None:
    pushed = push_image(repo.host, repo.path, "main")
    forged = Manifest(pushed.media_type, pushed.raw + b" ", pushed.digest)
    with pytest.raises(IntegrityError, match="nothing was sent"):
        registry.put_manifest(repo, TAG, forged)
    assert registry.resolve(repo, TAG) is None


def test_a_manifest_of_another_kind_or_size_is_not_sent(registry: OrasRegistry, repo: Repository) -> None:
    with pytest.raises(Unsupported, match="text/html"):
        registry.put_manifest(repo, TAG, Manifest.of("text/html", b"{}"))
    with pytest.raises(Terminal, match="4194305 bytes"):
        registry.put_manifest(repo, TAG, Manifest.of(OCI_INDEX, b" " * (4 * 1024 * 1024 + 1)))
    assert registry.tags(repo) is None


def test_a_manifest_that_the_registry_refuses_is_terminal_and_says_why(
    registry: OrasRegistry, repo: Repository
) -> None:
    pushed = push_image(repo.host, repo.path, "main")
    with pytest.raises(Terminal, match=rf"{repo}:{TAG}: PUT answered 400 \(MANIFEST"):
        registry.put_manifest(repo, TAG, Manifest.of(pushed.media_type, b"{"))


def test_the_check_names_host_and_authentication(registry: OrasRegistry, registry_server: Server) -> None:
    assert registry.check() == f"{registry_server.host}: OCI distribution API, no authentication"


def test_oras_own_upload_works_through_our_request(registry: OrasRegistry, repo: Repository, tmp_path: object) -> None:
    file = Path(str(tmp_path)) / "blob"
    file.write_bytes(b"a layer")
    layer = {"digest": Digest.of(b"a layer"), "size": 7, "mediaType": "application/octet-stream"}
    container = registry.get_container(f"{repo}:x")
    assert registry.upload_blob(str(file), container, layer).status_code in {200, 201}
    assert registry.get_blob(container, layer["digest"]).content == b"a layer"


def test_a_router_serves_configured_hosts_only(registry: OrasRegistry, repo: Repository) -> None:
    pushed = push_image(repo.host, repo.path, "main")
    both = Registries({repo.host: registry})
    both.put_manifest(repo, TAG, pushed)
    assert both.resolve(repo, TAG) == pushed.digest
    assert both.manifest(repo, TAG) == pushed
    assert set(both.tags(repo) or ()) == {TAG, "main"}
    other = Repository("ghcr.io/acme/orders")
    with pytest.raises(ConfigError, match=r"registry host ghcr\.io is not configured .*add it"):
        both.resolve(other, TAG)
    with pytest.raises(ConfigError, match="this client is for"):
        registry.resolve(other, TAG)
