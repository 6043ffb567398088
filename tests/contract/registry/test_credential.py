"""The credential file: explicit, strict, read again when it changes, never printed."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from reconciler.adapters.registry_credential import Credential, Login
from state.errors import ConfigError

HOST = "ghcr.io"
PACKED = base64.b64encode(b"robot:hush").decode()


def write(folder: Path, value: object, mode: int = 0o600) -> Path:
    path = folder / "config.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("key", ["ghcr.io", "https://ghcr.io", "https://ghcr.io/v1/", "https://ghcr.io/v2/"])
@pytest.mark.parametrize("entry", [{"auth": PACKED}, {"username": "robot", "password": "hush"}])
def test_a_login_is_found_in_every_spelling(tmp_path: Path, key: str, entry: dict[str, str]) -> None:
    path = write(tmp_path, {"auths": {key: entry, "other.example": {"auth": "x"}}})
    assert Credential(path, HOST).login() == Login("robot", "hush")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "not acceptable JSON"),
        ("[]", "expected a JSON object"),
        ({}, "expected an object `auths`"),
        ({"auths": {}}, "found 0"),
        ({"auths": {"ghcr.io/acme": {"auth": PACKED}}}, "found 0"),
        ({"auths": {"evil-ghcr.io": {"auth": PACKED}}}, "found 0"),
        ({"auths": {HOST: {"auth": PACKED}, f"https://{HOST}": {"auth": PACKED}}}, "found 2"),
        ({"auths": {HOST: {"auth": PACKED}}, "credHelpers": {HOST: "ecr-login"}}, "helpers"),
        ({"auths": {HOST: {"auth": PACKED}}, "credsStore": "desktop"}, "helpers"),
        ({"auths": {HOST: {}}}, "expected `auth`, username and password"),
        ({"auths": {HOST: {"auth": "hush!"}}}, "base64 of user:password"),
        ({"auths": {HOST: {"auth": base64.b64encode(b"hush").decode()}}}, "base64 of user:password"),
        ({"auths": {HOST: {"auth": base64.b64encode(b"a:hush\r\nX: y").decode()}}}, "base64 of user:password"),
        ({"auths": {HOST: {"username": "a:b", "password": "hush"}}}, "no colon"),
        ({"auths": {HOST: {"username": "a", "password": 7}}}, "printable string"),
        ({"auths": {HOST: {"registrytoken": "hush"}}}, "registrytoken"),
        ('{"auths":{},"auths":{}}', "twice"),
        (" " * (1024 * 1024 + 1), "at most"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_its_name(tmp_path: Path, value: object, why: str) -> None:
    path = write(tmp_path, value)
    with pytest.raises(ConfigError, match=why) as caught:
        Credential(path, HOST).login()
    assert str(path) in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("mode", "refused"), [(0o600, False), (0o644, False), (0o620, True), (0o602, True)])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    credential = Credential(write(tmp_path, {"auths": {HOST: {"auth": PACKED}}}, mode), HOST)
    if refused:
        with pytest.raises(ConfigError, match="chmod go-w"):
            credential.login()
    else:
        assert credential.login().username == "robot"


def test_a_file_that_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read \(No such file"):
        Credential(tmp_path / "none.json", HOST).login()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match=r"regular file|Is a directory"):
            Credential(path, HOST).login()


def test_a_file_is_read_again_when_it_is_written_or_swapped(tmp_path: Path) -> None:
    path = write(tmp_path, {"auths": {HOST: {"auth": PACKED}}})
    credential = Credential(path, HOST)
    first = credential.login()
    assert credential.login() is first
    write(tmp_path, {"auths": {HOST: {"username": "robot", "password": "2nd!"}}})
    assert credential.login().password == "2nd!"
    (tmp_path / "new").mkdir()
    swapped = write(tmp_path / "new", {"auths": {HOST: {"username": "robot", "password": "3rd!"}}})
    swapped.replace(path)
    assert credential.login().password == "3rd!"


def test_a_login_is_never_printed() -> None:
    assert "hush" not in repr(Login("robot", "hush", "hush-token"))
