"""What the adapter makes of an API server that fails, lies or answers by halves. The simulation plays it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.kubernetes_api import ClusterLimits, KubernetesApi
from reconciler.janitor.cluster import Deleted
from state.errors import ConfigError, ReconcilerError, Terminal, Transient, Unavailable
from tests.fixtures.certificates import Certificate
from tests.fixtures.kubernetes_api import JANITOR, NAMESPACES, ApiServer, run_simulation
from tests.fixtures.registry_stub import Reply, Seen, Stub

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    with run_simulation() as made:
        made.hands.application("shop", "shop-dev")
        for number in range(1, 9):
            made.hands.namespace(f"pr-{number}")
        yield made


@pytest.fixture
def api(cluster: ApiServer, tmp_path: Path) -> Iterator[KubernetesApi]:
    with cluster.client(tmp_path) as made:
        yield made


def answering(cluster: ApiServer, path: str, reply: Reply | Callable[[Seen], Reply | None]) -> None:
    assert cluster.simulated is not None

    def fault(seen: Seen) -> Reply | None:
        if not seen.path.startswith(path) or "admin" in seen.headers.get("authorization", ""):
            return None
        return reply if isinstance(reply, Reply) else reply(seen)

    cluster.simulated.fault = fault


def test_chunks_that_expired_make_the_list_begin_anew(cluster: ApiServer, api: KubernetesApi) -> None:
    assert cluster.simulated is not None
    cluster.simulated.expire_at = lambda n: n == 2
    seen = api.look().namespaces
    assert seen.complete
    assert len(seen.items) == 8


def test_chunks_that_keep_expiring_are_no_complete_list(cluster: ApiServer, api: KubernetesApi) -> None:
    assert cluster.simulated is not None
    cluster.simulated.expire_at = lambda n: n % 2 == 0
    seen = api.look().namespaces
    assert not seen.complete
    assert "410" in seen.why
    assert seen.items == ()


def test_chunks_of_different_revisions_are_no_list(cluster: ApiServer, api: KubernetesApi) -> None:
    def shifted(seen: Seen) -> Reply | None:
        if "continue" not in seen.query:
            return None
        body = {"kind": "NamespaceList", "metadata": {"resourceVersion": "1"}, "items": []}
        return Reply(200, JSON, json.dumps(body).encode())

    answering(cluster, NAMESPACES, shifted)
    seen = api.look().namespaces
    assert not seen.complete
    assert "resourceVersion" in seen.why


def test_a_list_of_too_many_pages_is_not_complete(cluster: ApiServer, tmp_path: Path) -> None:
    with cluster.client(tmp_path, limits=ClusterLimits(chunk=3, pages_max=2)) as api:
        seen = api.look().namespaces
    assert not seen.complete
    assert "more than 2 pages" in seen.why


def test_without_argo_cds_types_nothing_is_known(cluster: ApiServer, api: KubernetesApi) -> None:
    assert cluster.simulated is not None
    cluster.simulated.installed = False
    with pytest.raises(Terminal, match="CRDs"):
        api.look()


@pytest.mark.parametrize(
    ("reply", "family"),
    [
        (Reply(200, JSON, b"<html>"), Unavailable),
        (Reply(200, JSON, b"[]"), Unavailable),
        (Reply(200, JSON, b'{"kind":"Status","metadata":{}}'), Unavailable),
        (Reply(200, JSON, b'{"kind":"NamespaceList","metadata":{},"items":[]}'), Unavailable),
        (Reply(200, JSON, b'{"kind":"NamespaceList","metadata":{"resourceVersion":"1"},"items":[{}]}'), Unavailable),
        (Reply(200, JSON, b'{"kind":"NamespaceList","metadata":{"resourceVersion":"1"},"items":["x"]}'), Unavailable),
        (Reply(500, JSON, b'{"message":"etcd"}'), Unavailable),
        (Reply(503), Unavailable),
        (Reply(429, {"Retry-After": "1"}), Transient),
        (Reply(302, {"Location": "http://127.0.0.1:1/"}), Terminal),
        (Reply(200, {**JSON, "Date": "yesterday"}, b'{"kind":"NamespaceList"}'), Unavailable),
        (Reply(drop=True), Unavailable),
        (Reply(200, JSON, b"{", announce=100), Unavailable),
        (Reply(418), Terminal),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else "",
)
def test_an_answer_that_cannot_be_used_is_never_an_empty_list(
    cluster: ApiServer, api: KubernetesApi, reply: Reply, family: type[ReconcilerError]
) -> None:
    answering(cluster, NAMESPACES, reply)
    with pytest.raises(family) as raised:
        api.look()
    assert JANITOR not in str(raised.value)


def test_an_outage_of_a_moment_is_outlived(cluster: ApiServer, api: KubernetesApi) -> None:
    left = [Reply(503), Reply(429, {"Retry-After": "1"})]
    answering(cluster, NAMESPACES, lambda _: left.pop() if left else None)
    assert api.look().namespaces.complete


def test_an_answer_that_is_too_large_is_not_read_to_its_end(cluster: ApiServer, tmp_path: Path) -> None:
    limits = ClusterLimits(page_max_bytes=1000)
    with cluster.client(tmp_path, limits=limits) as api, pytest.raises(Terminal, match="at most 1000"):
        api.look()


@pytest.mark.parametrize("reply", [Reply(500), Reply(drop=True), Reply(504)])
def test_a_delete_without_an_answer_is_sent_once_and_unknown(
    cluster: ApiServer, api: KubernetesApi, reply: Reply
) -> None:
    seven = api.namespace("pr-7")
    assert seven is not None
    sent: list[Seen] = []

    def fault(seen: Seen) -> Reply | None:
        if seen.method != "DELETE":
            return None
        sent.append(seen)
        return reply

    answering(cluster, NAMESPACES, fault)
    with pytest.raises(Transient):
        api.delete_namespace(seven)
    assert len(sent) == 1
    options: dict[str, Any] = json.loads(sent[0].body)
    assert options["preconditions"] == {"uid": seven.uid, "resourceVersion": seven.resource_version}
    assert options["propagationPolicy"] == "Background"


def test_an_admission_policy_refuses_with_its_words(cluster: ApiServer, api: KubernetesApi) -> None:
    assert cluster.simulated is not None
    cluster.simulated.admission = lambda _old, _options: "Application web-7 still targets pr-7"
    seven = api.namespace("pr-7")
    assert seven is not None
    answered = api.delete_namespace(seven)
    assert answered.deleted is Deleted.REFUSED
    assert "web-7 still targets pr-7" in answered.why


def test_the_servers_certificate_has_to_be_of_the_given_authority(
    tmp_path: Path, stubs: Callable[..., Stub], loopback_certificate: Certificate
) -> None:
    stub = stubs(loopback_certificate.server_context())
    token = tmp_path / "token"
    token.write_text(JANITOR)
    token.chmod(0o600)
    other = tmp_path / "other.pem"
    other.write_text(Path(loopback_certificate.certificate_file).read_text())
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=other", "-days", "1",
         "-keyout", str(tmp_path / "key.pem"), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    api = KubernetesApi(
        stub.url, token_file=token, ca_file=other, application_namespaces=("argocd",), clock=SystemClock()
    )
    with pytest.raises(ConfigError, match="certificate"):
        api.look()
    assert stub.requests == []
    api.close()
