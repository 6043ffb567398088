"""`ameide registry probe` on real registries, and on one that is made to misbehave."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from reconciler.adapters.clock import SystemClock, SystemRandom
from reconciler.cli import root
from reconciler.registry_probe import measure as measuring
from reconciler.registry_probe.consequences import consequences
from reconciler.registry_probe.measured import Left, Measured
from reconciler.registry_probe.scratch import Scratch
from state.errors import ConfigError, Denied, RateLimited, Unavailable
from state.oci import Repository
from tests.contract.registry.support import Connect, ManualClock
from tests.fixtures.distribution import RegistryServer
from tests.fixtures.embedded import EmbeddedRegistry
from tests.fixtures.oci_images import push_image
from tests.fixtures.registry_stub import Reply, Seen, Stub, error
from tests.fixtures.token_server import PASSWORD, USER

_EVERYWHERE: Final = {
    "manifests.absent_tag_status": 404,
    "manifests.put_names_digest": True,
    "manifests.bytes_kept": True,
    "manifests.new_tag.shown": True,
    "docker_schema_2.media_type_kept": True,
    "docker_schema_2.bytes_kept": True,
    "immutability.same_digest_counts": True,
    "immutability.other_digest_moves": True,
    "conditional.put_if_match_honoured": False,
    "conditional.put_create_only_honoured": False,
    "deletion.digest_takes_tags": True,
}
_DISTRIBUTION: Final = {
    "referrers.mode": "tag-schema",
    "referrers.oci_subject": False,
    "referrers.tag_schema_moves": True,
    "conditional.get_status": 304,
    "conditional.head_status": 304,
    "multi_tag.confirmed": 0,
    "multi_tag.exist": 0,
}
SERVERS: Final[dict[str, dict[str, Any]]] = {
    "embedded_registry": {
        "referrers.mode": "api",
        "referrers.complete_descriptor": True,
        "referrers.filter_announced": True,
        "referrers.filter_applied": True,
        "paging.n_1": {"tags": 1, "more": True},
        "paging.next_page_continues": True,
        "paging.order": "case-insensitive",
        "deletion.tag_gone": True,
        "deletion.tag_spares_digest": True,
        "multi_tag.confirmed": 2,
        "multi_tag.exist": 2,
    },
    "distribution": {**_DISTRIBUTION, "deletion.tag_gone": None},
    "distribution_without_deletion": {
        **_DISTRIBUTION,
        "deletion.digest_status": 405,
        "deletion.digest_gone": None,
        "deletion.digest_takes_tags": None,
    },
}
"""What each server was seen to do, by path into `measured`; another registry is one line more."""


def _marked(name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.distribution] if name.startswith("distribution") else [])


@pytest.fixture(params=[_marked(name) for name in SERVERS])
def named_server(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The fixture's name and the registry's host."""
    return request.param, request.getfixturevalue(request.param).host


Probe = Callable[..., Scratch]


@pytest.fixture
def probe(client: Connect) -> Iterator[Probe]:
    def make(host: str, path: str = "scratch/probe", *, lag_max_s: float = 20, **more: Any) -> Scratch:
        clock = more.pop("clock", None) or SystemClock()
        sleep = getattr(clock, "sleep", lambda _: None)
        made = client(host, clock=clock, sleep=sleep, **more)
        return Scratch(
            made,
            Repository(f"{host}/{path}"),
            clock,
            SystemRandom(),
            sleep=sleep,
            total_s=300,
            lag_max_s=lag_max_s,
        )

    return make


def _both(scratch: Scratch) -> tuple[Measured, tuple[Left, ...]]:
    seen = measuring.measure(scratch)
    return seen, scratch.clean()


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def test_each_registry_is_measured_as_it_is(named_server: tuple[str, str], probe: Probe) -> None:
    name, host = named_server
    seen, _ = _both(probe(host))
    values = json.loads(json.dumps(asdict(seen)))
    expected = {**_EVERYWHERE, **SERVERS[name]}
    assert {path: _at(values, path) for path in expected} == expected
    assert len(consequences(seen)) == 13


def test_four_mebibytes_are_taken_by_the_embedded_registry_and_not_one_byte_more(
    embedded_registry: EmbeddedRegistry, probe: Probe
) -> None:
    seen, _ = _both(probe(embedded_registry.host))
    assert [(s.bytes, s.status, s.read_back) for s in seen.manifest_sizes[2:]] == [
        (4 * 1024 * 1024, 201, True),
        (4 * 1024 * 1024 + 1, 413, None),
    ]


def test_nothing_is_left_where_deletion_is_allowed(named_server: tuple[str, str], probe: Probe) -> None:
    name, host = named_server
    scratch = probe(host)
    _, left = _both(scratch)
    there = scratch.client.tags(scratch.repository) or ()
    if name != "distribution_without_deletion":
        assert left == ()
        assert list(there) == []
        return
    assert {one.kind for one in left} == {"tag", "manifest", "blob"}
    assert all("405" in one.why or "UNSUPPORTED" in one.why or "400" in one.why for one in left)
    assert {one.name for one in left if one.kind == "tag"} == set(there)


def test_foreign_tags_and_referrers_are_never_touched(embedded_registry: EmbeddedRegistry, probe: Probe) -> None:
    host = embedded_registry.host
    main = push_image(host, "scratch/probe", "main")
    other = push_image(host, "scratch/probe", "ameide-probe-somebody", content="other")
    before = len(embedded_registry.answered)
    scratch = probe(host)
    seen, left = _both(scratch)
    assert seen.tags_before == 2
    assert left == ()
    assert scratch.client.manifest(scratch.repository, "main") == main
    assert scratch.client.manifest(scratch.repository, "ameide-probe-somebody") == other
    assert sorted(scratch.client.tags(scratch.repository)) == ["ameide-probe-somebody", "main"]
    written = {
        path.rpartition("/")[2]
        for method, path, _ in embedded_registry.answered[before:]
        if method in {"PUT", "DELETE"} and "/manifests/" in path
    }
    foreign = [name for name in written if not name.startswith((scratch.prefix, "sha256"))]
    assert foreign == []


# --- a registry that is made to misbehave: the embedded one behind a changed wire


@pytest.fixture
def relay(stub: Stub, embedded_registry: EmbeddedRegistry) -> Callable[[Callable[[Seen], Reply | None]], str]:
    """The embedded registry's answers, but for requests that `change` answers itself; the host to ask."""

    def passed_on(seen: Seen) -> Reply:
        path = seen.path + (f"?{seen.query}" if seen.query else "")
        headers = {k: v for k, v in seen.headers.items() if k not in {"host", "content-length", "connection"}}
        answer = embedded_registry.call(seen.method, path, data=seen.body, headers=headers)
        dropped = {"content-length", "transfer-encoding", "connection", "date", "server"}
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
        return Reply(answer.status_code, kept, answer.content)

    def start(change: Callable[[Seen], Reply | None]) -> str:
        stub.answer = lambda seen: change(seen) or passed_on(seen)
        return stub.url.partition("://")[2]

    return start


Relay = Callable[[Callable[[Seen], Reply | None]], str]


def test_a_lag_after_a_write_is_measured(relay: Relay, probe: Probe) -> None:
    hidden: dict[str, int] = {}

    def lagging(seen: Seen) -> Reply | None:
        if seen.method == "PUT" and seen.path.endswith("-plain"):
            hidden.setdefault(seen.path, 3)
        elif seen.method == "HEAD" and hidden.get(seen.path, 0) > 0:
            hidden[seen.path] -= 1
            return error(404, "MANIFEST_UNKNOWN")
        return None

    seen, _ = _both(probe(relay(lagging), clock=ManualClock()))
    assert (seen.manifests.new_tag.shown, seen.manifests.new_tag.reads) == (True, 4)
    assert seen.manifests.new_tag.seconds == pytest.approx(0.6)
    row = next(r for r in consequences(seen) if r.key == "settling")
    assert "tag-settling" in row.therefore


def test_a_registry_with_immutable_tags_is_told_apart(relay: Relay, probe: Probe) -> None:
    there: dict[str, bytes] = {}

    def immutable(seen: Seen) -> Reply | None:
        if seen.method != "PUT" or "/manifests/" not in seen.path or "/sha256:" in seen.path:
            return None
        if seen.path in there:
            return error(400, "TAG_INVALID", "the tag is immutable")
        there[seen.path] = seen.body
        return None

    seen, _ = _both(probe(relay(immutable), clock=ManualClock()))
    assert seen.manifests.moved_tag is None
    assert (seen.immutability.same_digest_status, seen.immutability.same_digest_counts) == (400, True)
    assert (seen.immutability.other_digest_status, seen.immutability.other_digest_moves) == (400, False)
    assert seen.conditional.put_if_match_honoured is None
    assert seen.conditional.put_create_only_honoured is None


def test_preconditions_that_are_honoured_are_seen(relay: Relay, probe: Probe) -> None:
    wrong = '"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"'
    there: set[str] = set()

    def honouring(seen: Seen) -> Reply | None:
        if seen.method != "PUT":
            return None
        if seen.headers.get("if-match") == wrong or (seen.headers.get("if-none-match") == "*" and seen.path in there):
            return error(412, "DENIED", "precondition failed")
        there.add(seen.path)
        return None

    seen, _ = _both(probe(relay(honouring)))
    assert seen.conditional.put_if_match_honoured is True
    assert seen.conditional.put_create_only_honoured is True


def _a_large_manifest(seen: Seen) -> bool:
    return len(seen.body) >= 1024 * 1024


def _the_last_request_that_measures(seen: Seen) -> bool:
    return seen.method == "DELETE" and "/sha256:" in seen.path


@pytest.mark.parametrize("last", [_a_large_manifest, _the_last_request_that_measures])
def test_a_registry_that_goes_away_is_not_measured_as_one_that_cannot(
    relay: Relay, probe: Probe, last: Callable[[Seen], bool]
) -> None:
    gone: list[Seen] = []

    def dying(seen: Seen) -> Reply | None:
        if gone or last(seen):
            gone.append(seen)
            return Reply(503)
        return None

    scratch = probe(relay(dying), clock=ManualClock())
    with pytest.raises(Unavailable):
        measuring.measure(scratch)
    left = scratch.clean()
    assert any(one.kind == "tag" and "503" in one.why for one in left)


def test_a_rate_limit_ends_the_probe_and_it_still_cleans_up(
    relay: Relay, probe: Probe, embedded_registry: EmbeddedRegistry
) -> None:
    def limiting(seen: Seen) -> Reply | None:
        if seen.path.endswith("-docker") and seen.method == "PUT":
            return error(429, "TOOMANYREQUESTS", Retry_After="1")
        return None

    scratch = probe(relay(limiting), clock=ManualClock())
    with pytest.raises(RateLimited):
        measuring.measure(scratch)
    assert scratch.clean() == ()
    assert embedded_registry.call("GET", "/v2/scratch/probe/tags/list").json()["tags"] == []


# --- the command


def _run(*arguments: str) -> Any:
    return CliRunner().invoke(root, ["registry", "probe", *arguments], standalone_mode=False)


def test_the_command_prints_stable_keys(embedded_registry: EmbeddedRegistry) -> None:
    done = _run(f"{embedded_registry.host}/scratch/probe", "--plain-http", "--max-writes-per-s", "1000", "--json")
    assert done.exception is None, done.output
    assert done.return_value == 0
    said = json.loads(done.stdout)
    assert list(said) == ["version", "repository", "prefix", "measured", "consequences", "left"]
    assert [row["key"] for row in said["consequences"]] == [
        "write", "absence", "settling", "paging", "referrers", "immutability", "conditional_reads",
        "conditional_writes", "tag_deletion", "digest_deletion", "docker_schema_2", "manifest_size", "multi_tag",
    ]  # fmt: skip
    assert said["left"] == []


def test_the_command_prints_a_table_for_people(embedded_registry: EmbeddedRegistry) -> None:
    done = _run(f"{embedded_registry.host}/scratch/probe", "--plain-http", "--max-writes-per-s", "1000")
    assert done.return_value == 0
    for text in ("Read after write", "API with OCI-Subject", "Cleaned up: nothing named ameide-probe-"):
        assert text in done.stdout


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("127.0.0.1:5000/scratch/probe:v1", "got a tag too"),
        ("127.0.0.1:5000/scratch/probe@sha256:" + "0" * 64, "got a digest too"),
        ("127.0.0.1:5000", "expected host"),
        ("scratch/probe", "registry host"),
        ("https://127.0.0.1:5000/scratch/probe", "expected host"),
        ("registry.example/scratch/probe", "plain_http is only for a loopback host"),
    ],
)
def test_a_reference_that_is_no_scratch_repository_is_refused(ref: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        raise _run(ref, "--plain-http").exception


@pytest.mark.distribution
def test_a_refused_credential_is_bad_input(distribution_basic: RegistryServer, tmp_path: Path) -> None:
    ref = f"{distribution_basic.host}/scratch/probe"
    assert isinstance(_run(ref, "--plain-http").exception, Denied)
    login = tmp_path / "login.json"
    login.write_text(json.dumps({"auths": {distribution_basic.host: {"username": USER, "password": "wrong-one"}}}))
    done = _run(ref, "--plain-http", "--credential-file", str(login))
    assert isinstance(done.exception, Denied)
    assert "wrong-one" not in str(done.exception)


@pytest.mark.distribution
def test_deleting_asks_for_a_token_that_may_delete(
    distribution_token: RegistryServer, probe: Probe, tmp_path: Path
) -> None:
    from reconciler.adapters.registry_credential import Credential

    login = tmp_path / "login.json"
    login.write_text(json.dumps({"auths": {distribution_token.host: {"username": USER, "password": PASSWORD}}}))
    scratch = probe(distribution_token.host, credential=Credential(login, distribution_token.host))
    seen, left = _both(scratch)
    assert seen.deletion.digest_status == 202
    assert left == ()


def test_a_registry_that_does_not_answer_is_a_failed_dependency(unused_port: int) -> None:
    done = _run(f"127.0.0.1:{unused_port}/scratch/probe", "--plain-http")
    assert isinstance(done.exception, Unavailable)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
