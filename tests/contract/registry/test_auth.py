"""Challenges, tokens and where a login may go; on a stub, and on distribution with both kinds of authentication."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from reconciler.adapters.registry_auth import Challenge, challenges, is_loopback
from reconciler.adapters.registry_credential import Credential
from reconciler.adapters.registry_limits import Limits
from state.errors import ConfigError, Denied, RateLimited, Terminal, Unavailable
from state.oci import OCI_INDEX, Digest, Manifest, Repository, Tag
from tests.contract.registry.support import MANIFEST, TAG, Connect, ManualClock, repository
from tests.fixtures.certificates import Certificate
from tests.fixtures.distribution import RegistryServer
from tests.fixtures.oci_images import push_image
from tests.fixtures.registry_stub import Reply, Seen, Stub, error
from tests.fixtures.token_server import PASSWORD, USER, basic

OK = Reply(200, {"Content-Type": OCI_INDEX, "Docker-Content-Digest": MANIFEST.digest}, MANIFEST.raw)
CREATED = Reply(201, {"Docker-Content-Digest": MANIFEST.digest})


def login_file(folder: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    path = folder / "config.json"
    packed = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": packed}}}))
    path.chmod(0o600)
    return path


class TokenRegistry:
    """A registry and its token server in one stub; only tokens of `good` are taken."""

    def __init__(self, stub: Stub, **grant: object) -> None:
        self.stub = stub
        self.grant = grant
        self.good: set[str] = set()
        self.honours_fresh = True
        self.issued = 0
        self.realm = f"{stub.url}/token"
        self.key = "token"
        self.refusal = 401
        self.extra = ""
        self.challenged: threading.Barrier | None = None
        stub.answer = self.answer

    def answer(self, seen: Seen) -> Reply:
        if seen.path == "/token":
            self.issued += 1
            scope = parse_qs(seen.query or seen.body.decode()).get("scope", [""])[0]
            token = f"{scope}#{self.issued}".replace(" ", "")
            if self.honours_fresh:
                self.good.add(token)
            body = {self.key: token, **self.grant}
            return Reply(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        wanted = "pull" if seen.method in {"GET", "HEAD"} else "pull,push"
        name = seen.path.removeprefix("/v2/").rsplit("/", 2)[0]
        if token in self.good and token.startswith(f"repository:{name}:{wanted}"):
            return CREATED if seen.method == "PUT" else OK
        if self.challenged:
            self.challenged.wait(20)
        challenge = f'Bearer realm="{self.realm}",service="svc",scope="repository:else/where:delete"{self.extra}'
        return error(self.refusal, "UNAUTHORIZED", WWW_Authenticate=challenge)

    def asked(self) -> list[dict[str, list[str]]]:
        return [parse_qs(r.query) for r in self.stub.requests if r.path == "/token"]


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_our_own_scope_once_per_repository_and_actions(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub)
    registry = client(stub.host)
    for _ in range(2):
        for path in ("acme/orders", "acme/billing"):
            assert registry.resolve(repository(stub.host, path), TAG) == MANIFEST.digest
            registry.put_manifest(repository(stub.host, path), TAG, MANIFEST)
    assert [q["scope"][0] for q in server.asked()] == [
        "repository:acme/orders:pull",
        "repository:acme/orders:pull,push",
        "repository:acme/billing:pull",
        "repository:acme/billing:pull,push",
    ]
    assert {q["service"][0] for q in server.asked()} == {"svc"}
    # After the first challenge no further 401 was needed.
    assert len([r for r in stub.requests if "authorization" not in r.headers and r.path != "/token"]) == 1


def test_sixteen_threads_cause_one_token_request(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub)
    server.challenged = threading.Barrier(16)  # every thread meets the challenge before any is answered
    registry = client(stub.host)
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: registry.resolve(repository(stub.host), TAG), range(16)))
    assert set(found) == {MANIFEST.digest}
    assert server.issued == 1


def test_a_token_is_renewed_before_it_expires(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub, expires_in=100)
    clock = ManualClock()
    registry = client(stub.host, clock=clock)
    registry.resolve(repository(stub.host), TAG)
    clock.advance(89)
    registry.resolve(repository(stub.host), TAG)
    assert server.issued == 1
    clock.advance(2)
    registry.resolve(repository(stub.host), TAG)
    assert server.issued == 2
    assert len([r for r in stub.requests if "authorization" not in r.headers and r.path != "/token"]) == 1


@pytest.mark.parametrize("grant", [{}, {"expires_in": None}, {"expires_in": "300"}, {"expires_in": -5}])
def test_a_token_without_a_lifetime_is_good_for_a_minute(stub: Stub, client: Connect, grant: dict[str, object]) -> None:
    server = TokenRegistry(stub, **grant)
    clock = ManualClock()
    registry = client(stub.host, clock=clock)
    for wait in (0, 49, 2):
        clock.advance(wait)
        registry.resolve(repository(stub.host), TAG)
    assert server.issued == 2


def test_a_token_that_is_taken_back_is_renewed_once(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub)
    registry = client(stub.host)
    registry.resolve(repository(stub.host), TAG)
    server.good.clear()
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    assert server.issued == 2


def test_a_401_to_a_fresh_token_is_denied(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub)
    server.honours_fresh = False
    with pytest.raises(Denied, match="401"):
        client(stub.host).resolve(repository(stub.host), TAG)
    assert server.issued == 1


def test_an_access_token_is_a_token(stub: Stub, client: Connect) -> None:
    TokenRegistry(stub).key = "access_token"
    assert client(stub.host).resolve(repository(stub.host), TAG) == MANIFEST.digest


def test_a_403_for_a_wrong_scope_gets_one_fresh_token(stub: Stub, client: Connect) -> None:
    server = TokenRegistry(stub)
    server.refusal, server.extra = 403, ',error="insufficient_scope"'
    registry = client(stub.host)
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    server.good.clear()
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    assert server.issued == 2


def test_a_403_without_permission_is_denied_at_once(stub: Stub, client: Connect) -> None:
    clock = ManualClock()
    stub.script(error(403, "DENIED", "requested access to the resource is denied"))
    with pytest.raises(Denied, match=r"403 \(DENIED: requested access"):
        client(stub.host, clock=clock).manifest(repository(stub.host), TAG)
    assert (stub.methods(), clock.slept) == (["GET"], [])


def test_a_head_that_is_forbidden_asks_by_get_what_was_meant(stub: Stub, client: Connect) -> None:
    stub.script(error(403, "DENIED", "You have exceeded a secondary rate limit"))
    with pytest.raises(RateLimited):
        client(stub.host).resolve(repository(stub.host), TAG)
    stub.script(Reply(403), error(403, "DENIED", "no"))
    with pytest.raises(Denied, match="DENIED: no"):
        client(stub.host).resolve(repository(stub.host, "beta/x"), TAG)


def test_a_token_server_that_refuses_is_asked_once(stub: Stub, client: Connect) -> None:
    registry_answer = error(401, "UNAUTHORIZED", WWW_Authenticate=f'Bearer realm="{stub.url}/token"')
    stub.answer = lambda seen: error(401, "UNAUTHORIZED", "bad login") if seen.path == "/token" else registry_answer
    registry = client(stub.host)
    for _ in range(3):
        with pytest.raises(Denied, match=rf"token for repository:acme/orders:pull from {stub.url}/token.*bad login"):
            registry.resolve(repository(stub.host), TAG)
    assert [r.path for r in stub.requests].count("/token") == 1


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (Reply(200, {}, b"<html>"), Unavailable),
        (Reply(200, {}, b"{}"), Unavailable),
        (Reply(200, {}, b'{"token":"a b\\r\\nX: y"}'), Unavailable),
        (Reply(200, {}, b'{"token":"' + b"x" * 70000 + b'"}'), Terminal),
        (Reply(502), Unavailable),
        (error(403, "DENIED"), Denied),
        (error(403, "DENIED", "rate limit exceeded"), RateLimited),
        (error(429, "TOOMANYREQUESTS"), RateLimited),
        (Reply(302, {"Location": "/other"}), Terminal),
        (Reply(400), Terminal),
    ],
)
def test_a_token_answer_that_is_none_is_an_error(
    stub: Stub, client: Connect, reply: Reply, raised: type[Exception]
) -> None:
    challenge = error(401, "UNAUTHORIZED", WWW_Authenticate=f'Bearer realm="{stub.url}/token"')
    stub.answer = lambda seen: reply if seen.path == "/token" else challenge
    with pytest.raises(raised, match=f"token for repository:acme/orders:pull from {stub.url}/token"):
        client(stub.host).manifest(repository(stub.host), TAG)
    assert not [r for r in stub.requests if r.path == "/other"]


def test_a_401_without_a_challenge_is_denied(stub: Stub, client: Connect) -> None:
    stub.script(error(401, "UNAUTHORIZED"))
    with pytest.raises(Denied):
        client(stub.host).resolve(repository(stub.host), TAG)
    assert stub.methods() == ["HEAD"]


# --- logins ----------------------------------------------------------------------------------------------------------


def test_a_login_is_sent_first_after_the_first_basic_challenge(stub: Stub, client: Connect, tmp_path: Path) -> None:
    def answer(seen: Seen) -> Reply:
        challenge = error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="x"')
        return OK if seen.headers.get("authorization") == basic() else challenge

    stub.answer = answer
    registry = client(stub.host, credential=Credential(login_file(tmp_path, stub.host), stub.host))
    for _ in range(3):
        assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    assert ["authorization" in r.headers for r in stub.requests] == [False, True, True, True]


def test_a_basic_challenge_without_a_login_is_denied(stub: Stub, client: Connect) -> None:
    stub.script(error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="x"'))
    with pytest.raises(Denied, match="no credential is configured"):
        client(stub.host).resolve(repository(stub.host), TAG)


def test_a_login_that_changes_on_disk_is_used_at_once(stub: Stub, client: Connect, tmp_path: Path) -> None:
    server = TokenRegistry(stub)
    path = login_file(tmp_path, stub.host, password="old")
    registry = client(stub.host, credential=Credential(path, stub.host))
    registry.resolve(repository(stub.host), TAG)
    login_file(tmp_path, stub.host, password="a-new-one")
    registry.resolve(repository(stub.host), TAG)
    sent = [r.headers["authorization"] for r in stub.requests if r.path == "/token"]
    assert sent == [basic(password="old"), basic(password="a-new-one")]
    assert server.issued == 2


def test_an_identity_token_is_posted(stub: Stub, client: Connect, tmp_path: Path) -> None:
    server = TokenRegistry(stub)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {stub.host: {"identitytoken": "refresh-me"}}}))
    path.chmod(0o600)
    registry = client(stub.host, credential=Credential(path, stub.host))
    assert registry.resolve(repository(stub.host), TAG) == MANIFEST.digest
    posted = next(r for r in stub.requests if r.path == "/token")
    form = parse_qs(posted.body.decode())
    assert posted.method == "POST"
    assert "authorization" not in posted.headers
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh-me"])
    assert form["scope"] == ["repository:acme/orders:pull"]
    assert server.issued == 1


def test_a_login_never_goes_with_a_plain_http_registry_off_this_machine(client: Connect, tmp_path: Path) -> None:
    host = "registry.example:5000"
    with pytest.raises(ConfigError, match="unprotected"):
        client(host, credential=Credential(login_file(tmp_path, host), host))


@pytest.mark.parametrize(
    "realm", ["http://token.example/t", "https://", "", "ftp://127.0.0.1/t", "http://u:p@127.0.0.1/t", "http://["]
)
def test_a_realm_that_is_not_safe_gets_nothing(stub: Stub, client: Connect, tmp_path: Path, realm: str) -> None:
    TokenRegistry(stub).realm = realm
    registry = client(stub.host, credential=Credential(login_file(tmp_path, stub.host), stub.host))
    with pytest.raises(Terminal, match=r"realm|not on https"):
        registry.resolve(repository(stub.host), TAG)


def test_an_https_registry_may_not_name_a_plain_http_realm(
    stubs: Callable[..., Stub], client: Connect, tmp_path: Path, loopback_certificate: Certificate
) -> None:
    plain, secure = stubs(), stubs(loopback_certificate.server_context())
    TokenRegistry(secure).realm = f"{plain.url}/token"
    registry = client(
        secure.host,
        plain_http=False,
        ca_file=loopback_certificate.certificate_file,
        credential=Credential(login_file(tmp_path, secure.host), secure.host),
    )
    with pytest.raises(Terminal, match="its token server is not"):
        registry.resolve(repository(secure.host), TAG)
    assert plain.requests == []


def test_an_https_registry_may_name_another_https_host_as_realm(
    stubs: Callable[..., Stub], client: Connect, tmp_path: Path, loopback_certificate: Certificate
) -> None:
    context = loopback_certificate.server_context()
    issuer, secure = stubs(context), stubs(context)
    server = TokenRegistry(secure)
    server.realm = f"https://localhost:{issuer.port}/token"
    issuer.answer = server.answer
    registry = client(
        secure.host,
        plain_http=False,
        ca_file=loopback_certificate.certificate_file,
        credential=Credential(login_file(tmp_path, secure.host), secure.host),
    )
    assert registry.resolve(repository(secure.host), TAG) == MANIFEST.digest
    assert [r.headers["authorization"] for r in issuer.requests] == [basic()]


def test_authorization_stays_with_the_registry_on_a_redirect(
    stubs: Callable[..., Stub], client: Connect, tmp_path: Path
) -> None:
    front, storage = stubs(), stubs()
    storage.script(OK)

    def answer(seen: Seen) -> Reply:
        if seen.headers.get("authorization") != basic():
            return error(401, "UNAUTHORIZED", WWW_Authenticate="Basic")
        where = f"{storage.url}/blob" if seen.path == "/hop" else "/hop"
        return Reply(307, {"Location": where})

    front.answer = answer
    registry = client(front.host, credential=Credential(login_file(tmp_path, front.host), front.host))
    assert registry.manifest(repository(front.host), TAG) == MANIFEST
    assert [r.headers.get("authorization") for r in front.requests] == [None, basic(), basic()]
    assert ["authorization" in r.headers for r in storage.requests] == [False]


def test_a_challenge_after_a_redirect_is_not_answered(
    stubs: Callable[..., Stub], client: Connect, tmp_path: Path
) -> None:
    front, other = stubs(), stubs()
    front.script(Reply(307, {"Location": f"{other.url}/x"}))
    other.script(error(401, "UNAUTHORIZED", WWW_Authenticate="Basic"))
    registry = client(front.host, credential=Credential(login_file(tmp_path, front.host), front.host))
    with pytest.raises(Denied):
        registry.manifest(repository(front.host), TAG)
    assert len(front.requests) == len(other.requests) == 1


def test_an_error_repeats_no_secret_that_the_registry_echoes(stub: Stub, client: Connect, tmp_path: Path) -> None:
    def answer(seen: Seen) -> Reply:
        if sent := seen.headers.get("authorization"):
            return error(403, "DENIED", f"{sent} {sent[6:]} is {PASSWORD}, eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln")
        return error(401, "UNAUTHORIZED", WWW_Authenticate="Basic")

    stub.answer = answer
    registry = client(stub.host, credential=Credential(login_file(tmp_path, stub.host), stub.host))
    with pytest.raises(Denied) as caught:
        registry.manifest(repository(stub.host), TAG)
    for secret in (PASSWORD, basic(), basic()[6:], "eyJ"):
        assert secret not in str(caught.value)


# --- parsing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("Basic", (Challenge("basic", {}),)),
        ('Bearer realm="https://a/b?c,d",x="y z"', (Challenge("bearer", {"realm": "https://a/b?c,d", "x": "y z"}),)),
        ('BEARER Realm="a\\"b" , Error=some', (Challenge("bearer", {"realm": 'a"b', "error": "some"}),)),
        ('Basic realm="x", Bearer a="y"', (Challenge("basic", {"realm": "x"}), Challenge("bearer", {"a": "y"}))),
        ("Negotiate, Basic realm=x", (Challenge("negotiate", {}), Challenge("basic", {"realm": "x"}))),
        ('Bearer realm="unterminated', (Challenge("bearer", {}), Challenge("realm", {}))),
    ],
)  # fmt: skip
def test_challenges_are_read_as_the_standard_writes_them(header: str, expected: tuple[Challenge, ...]) -> None:
    assert challenges(header) == expected


def test_loopback_is_an_address_or_localhost_only() -> None:
    assert [is_loopback(h) for h in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(h) for h in ("127.0.0.1.example", "localhost.example", "10.0.0.1", "")] == [False] * 4


# --- distribution ----------------------------------------------------------------------------------------------------


def test_token_authentication_with_distribution(
    distribution_token: RegistryServer, token_server: Stub, client: Connect, tmp_path: Path
) -> None:
    host = distribution_token.host
    registry = client(host, credential=Credential(login_file(tmp_path, host), host))
    for path in ("acme/orders", "acme/billing"):
        repo = Repository(f"{host}/{path}")
        container = registry.get_container(f"{repo}:x")
        for raw in (b"{}", b"layer"):
            (tmp_path / "blob").write_bytes(raw)
            layer = {"digest": Digest.of(raw), "size": len(raw), "mediaType": "application/octet-stream"}
            assert registry.upload_blob(str(tmp_path / "blob"), container, layer).status_code in {200, 201}
        assert registry.resolve(repo, TAG) is None
    scopes = [parse_qs(r.query)["scope"][0] for r in token_server.requests]
    assert sorted(scopes) == [
        f"repository:acme/{name}:{actions}" for name in ("billing", "orders") for actions in ("pull", "pull,push")
    ]
    assert registry.check().endswith("bearer authentication")


def test_basic_authentication_with_distribution(
    distribution_basic: RegistryServer, client: Connect, tmp_path: Path
) -> None:
    host = distribution_basic.host
    repo = Repository(f"{host}/acme/orders")
    pushed = push_image(host, "acme/orders", "main", auth=(USER, PASSWORD))
    registry = client(host, credential=Credential(login_file(tmp_path, host), host))
    registry.put_manifest(repo, TAG, pushed)
    assert registry.resolve(repo, TAG) == pushed.digest
    assert set(registry.tags(repo) or ()) == {Tag("main"), TAG}
    (tmp_path / "wrong").mkdir()
    wrong = Credential(login_file(tmp_path / "wrong", host, password="wrong"), host)
    with pytest.raises(Denied, match="401"):
        client(host, credential=wrong, limits=Limits(writes_per_s=None)).resolve(repo, TAG)


def test_token_authentication_over_tls_with_distribution(
    distribution_tls: RegistryServer, client: Connect, loopback_certificate: Certificate, tmp_path: Path
) -> None:
    host = distribution_tls.host
    repo = Repository(f"{host}/acme/orders")
    login = Credential(login_file(tmp_path, host), host)
    registry = client(host, plain_http=False, ca_file=loopback_certificate.certificate_file, credential=login)
    empty = Manifest.of(OCI_INDEX, f'{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}'.encode())
    registry.put_manifest(repo, TAG, empty)
    assert registry.manifest(repo, TAG) == empty
    with pytest.raises(ConfigError, match="ca_file"):
        client(host, plain_http=False, credential=login).resolve(repo, TAG)
    with pytest.raises(Denied, match="401"):
        client(host, plain_http=False, ca_file=loopback_certificate.certificate_file).resolve(repo, TAG)
