"""Credentials, the command line, and the server's own behaviour."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.registry.access import Credentials
from reconciler.registry.server import Address, RegistryServer
from state.errors import ConfigError
from tests.fixtures.embedded import EMPTY_CONFIG, EmbeddedRegistry, ServeRegistry, sha256

USERS = {"ci": "right:horse", "ann": "second"}


def blob_post(registry: EmbeddedRegistry, auth: tuple[str, str] | None) -> int:
    path = f"/v2/org/app/blobs/uploads/?digest={sha256(EMPTY_CONFIG)}"
    return registry.call("POST", path, data=EMPTY_CONFIG, auth=auth).status_code


def test_with_credentials_nothing_is_answered_without_them(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(users=USERS)
    for method, path in (("GET", "/v2/"), ("HEAD", "/v2/a/manifests/b"), ("PUT", "/v2/a/manifests/b"), ("GET", "/x")):
        answer = registry.call(method, path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="ameide"')
        if method != "HEAD":
            assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("ci", "right:horse", 201),
        ("ann", "second", 201),
        ("ci", "second", 401),
        ("ci", "right", 401),
        ("ci", "", 401),
        ("nobody", "right:horse", 401),
        ("", "", 401),
    ],
)
def test_only_the_users_own_password_is_taken(
    serve_registry: ServeRegistry, user: str, password: str, status: int
) -> None:
    assert blob_post(serve_registry(users=USERS), (user, password)) == status


def test_anonymous_pull_reads_but_does_not_write(serve_registry: ServeRegistry) -> None:
    registry = serve_registry(users=USERS, anonymous_pull=True)
    digest = sha256(EMPTY_CONFIG)
    assert blob_post(registry, None) == 401
    assert blob_post(registry, ("ci", "right:horse")) == 201
    assert registry.call("GET", f"/v2/org/app/blobs/{digest}").content == EMPTY_CONFIG
    # An empty account counts as none, a wrong one does not.
    assert registry.call("GET", f"/v2/org/app/blobs/{digest}", auth=("", "")).status_code == 200
    assert registry.call("GET", f"/v2/org/app/blobs/{digest}", auth=("ci", "wrong")).status_code == 401
    bearer = {"Authorization": "Bearer x"}
    assert registry.call("GET", f"/v2/org/app/blobs/{digest}", headers=bearer).status_code == 401
    assert registry.call("DELETE", f"/v2/org/app/blobs/{digest}").status_code == 401
    location = registry.call("POST", "/v2/org/app/blobs/uploads/", auth=("ci", "right:horse")).headers["Location"]
    assert registry.call("GET", location).status_code == 401
    assert registry.call("GET", "/v2/").status_code == 401


def test_a_credentials_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("# people\n\nci:right:horse\n")
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            Credentials.load(path)
    path.chmod(0o600)
    loaded = Credentials.load(path)
    assert loaded.accept("ci", "right:horse")
    assert not loaded.accept("ci", "right")
    assert not loaded.accept("# people", "")


@pytest.mark.parametrize("text", ["", "# nobody\n", "sesame\n", "ci:\n", ":sesame\n", "ci:sesame\nci:sesame2\n"])
def test_a_malformed_credentials_file_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="user:password") as refused:
        Credentials.load(path)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:5000", True),
        ("127.9.9.9:1", True),
        ("localhost:0", True),
        ("[::1]:5000", True),
        ("0.0.0.0:5000", False),
        ("[::]:5000", False),
        ("10.0.0.1:5000", False),
        ("registry.example:5000", False),
        ("127.0.0.1.example:1", False),
    ],
)
def test_loopback_is_told_apart(tmp_path: Path, text: str, loopback: bool) -> None:
    address = Address.parse(text)
    assert (address.is_loopback, str(address)) == (loopback, text)


@pytest.mark.parametrize("text", ["", "5000", ":5000", "host:", "host:x", "host:70000", "host:-1"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        Address.parse(text)


def test_an_open_registry_listens_on_loopback_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--credentials"):
        RegistryServer(tmp_path, Address("0.0.0.0", 0))  # noqa: S104 - the point of the test
    with pytest.raises(ConfigError, match="anonymous-pull"):
        RegistryServer(tmp_path, Address("127.0.0.1", 0), anonymous_pull=True)
    assert list(tmp_path.iterdir()) == []


def test_an_address_in_use_is_a_clear_error(serve_registry: ServeRegistry, tmp_path: Path) -> None:
    port = serve_registry().server.address.port
    with pytest.raises(ConfigError, match="choose another address"):
        RegistryServer(tmp_path / "other", Address("127.0.0.1", port))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from reconciler.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-c", program, "registry", "serve", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def test_the_command_refuses_an_open_registry_for_everybody_with_exit_2(tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), "--listen", "0.0.0.0:0")
    assert (done.returncode, "--credentials" in done.stderr) == (2, True)
    assert "Example" in run("--help").stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    users = tmp_path / "users"
    users.write_text("ci:sesame\n")
    users.chmod(0o600)
    program = "import sys; from reconciler.cli import main; main(sys.argv[1:])"
    argv = [sys.executable, "-W", "error", "-c", program, "registry", "serve", "--root", str(tmp_path / "root")]
    options = ["--listen", "127.0.0.1:0", "--credentials", str(users), "--json"]
    with subprocess.Popen([*argv, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert line["root"] == str(tmp_path / "root")
        assert line["url"] == f"http://{line['host']}"
        host, port = line["host"].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as idle:
            idle.sendall(b"GET /v2/ HTTP/1.1\r\n")  # a client that never ends its request does not hold the stop up
            process.send_signal(number)
            out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (0, "", "")


def test_a_tls_client_is_answered_at_once(embedded_registry: EmbeddedRegistry) -> None:
    address = ("127.0.0.1", embedded_registry.server.address.port)
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert connection.recv(1000).startswith(b"HTTP/1.0 400 ")
        assert connection.recv(1000) == b""
    assert embedded_registry.call("GET", "/v2/").status_code == 200


def test_a_stop_ends_idle_and_half_sent_connections_and_frees_the_root(serve_registry: ServeRegistry) -> None:
    registry = serve_registry()
    registry.push_image("org/app", "main")
    half = socket.create_connection(("127.0.0.1", registry.server.address.port), timeout=10)
    with half:
        half.sendall(b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 2_000_000)
        registry.stop()
        registry.server.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "registry-server"]
    again = serve_registry(registry.root)
    assert again.call("GET", "/v2/org/app/tags/list").json()["tags"] == ["main"]


def test_every_answer_is_told_to_the_hook(embedded_registry: EmbeddedRegistry) -> None:
    embedded_registry.call("GET", "/v2/")
    embedded_registry.call("HEAD", "/v2/org/app/manifests/main")
    embedded_registry.call("POST", "/v2/")
    embedded_registry.call("GET", "/nothing")
    assert embedded_registry.answered == [
        ("GET", "/v2/", 200),
        ("HEAD", "/v2/org/app/manifests/main", 404),
        ("POST", "/v2/", 405),
        ("GET", "/nothing", 404),
    ]


def test_headers_name_the_api_and_not_the_software(embedded_registry: EmbeddedRegistry) -> None:
    answer = embedded_registry.call("GET", "/v2/")
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert "Server" not in answer.headers
    refused = embedded_registry.call("PATCH", "/v2/org/app/manifests/main")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "DELETE, GET, HEAD, PUT")
